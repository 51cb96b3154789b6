"""What each part of the teacher is worth, measured: scenarios, seeds, intervals, and a gate before any conclusion.

    scenario  = the teacher's policy with overrides, or another model, on the same rows      (settings.ablation)
    material  rows, labels and inputs of a scenario                                           material.py
    run       one scenario, one seed -> one Record and one table of answers                   run.py
    campaign  all scenarios and seeds of a family; what is done is not repeated               campaign.py
    effects   paired differences with intervals, a noise floor, Holm                          effects.py
    sanity    may anything be concluded at all?                                               sanity.py
    report    Markdown and HTML with pictures                                                 report.py

Every scenario trains in the teacher's own loop: the same losses, weighting, order of rows and number of steps.
Source: teacher.md sections 18 and 19.
"""
