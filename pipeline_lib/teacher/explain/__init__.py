"""What the teacher says about its own predictions. Everything here runs after training, on a finished teacher.

The journey: ``view`` takes the causal expert apart from the rest; ``attribution`` says which of its columns moved it,
and ``quality`` whether that can be believed; ``ood`` says how far a row lies from what was learnt, ``probes`` try that
on rows that cannot exist; ``faithfulness`` tests whether the gate weights tell which experts the prediction used.
``sparse_codes`` and ``evidential`` are side heads for study, off by default. ``stage`` runs all of it, ``tables``
writes what leaves the stage, ``figures`` draws. Source: teacher.md 14 and 17.

No head can change a prediction: the teacher is in evaluation mode, its parameters get no gradient, random numbers
come from generators of our own, and each head has its own optimiser.
"""
