"""Hidden states of a customer's weeks and months: journey, lifecycle, behavior.

``observations`` makes the sequences, ``em`` learns a model from train sequences, ``model`` infers states,
``columns`` turns states into 16 columns, ``groups`` wires the three modes. Source: features.md 5.
"""
