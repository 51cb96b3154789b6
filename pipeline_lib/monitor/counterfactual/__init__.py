"""What would have become of the answers that were given, had another model given them. Source: promotion.md 10.

    logged.py      the record's answers with their propensities, and what became of them   -> stage ``logged``
    outcomes.py    the feed that says which recommended items were accepted
    trials.py      answers and both models' probabilities side by side, as arrays
    weights.py     importance weights: clipping, effective sample size, support
    estimate.py    IPS, SNIPS, doubly robust: each a ratio of two sums over answers
    rewards.py     the reward model behind doubly robust, cross-fitted by customer
    bootstrap.py   customers resampled, both models on the same ones
    fairness.py    acceptance and opportunity per protected group; what would be shown, without weights
    judge.py       all of it on one set of trials, and the verdict
    page.py        the finding for people                stage.py   -> stage ``counterfactual``

Nothing here guesses a propensity: answers whose rank 1 was not drawn say nothing about another model, and then the
verdict is UNAVAILABLE. The models' probabilities come from the serving code (stage ``replay``).
"""
