"""Sequence encoders of the temporal expert: one paper, one file."""
