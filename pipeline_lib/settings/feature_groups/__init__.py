"""Policy of single feature groups: one Section class a module, one field of ``Features`` each."""
