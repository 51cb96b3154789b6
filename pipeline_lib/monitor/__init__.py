"""From served answers in the record to nightly readings: ``drift.nightly`` and ``fairness.nightly``."""
