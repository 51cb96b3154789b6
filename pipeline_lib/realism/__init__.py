"""How real the synthetic bank is, measured and drawn: fidelity, transfer, self-replication and difficulty.

Reads finished stages of two banks and, for the difficulty, their ground truth; nothing in the weekly run reads it
but the leakage rule L30. Source: data.md 8.6 and 9.
"""
