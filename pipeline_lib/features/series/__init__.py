"""Classical statistics of a customer's own series, and the group ``model_derived`` that carries them.

One definition and one code path each; oracles are statsmodels and the textbook loops of the tests.
Source: features.md 11.2.
"""
