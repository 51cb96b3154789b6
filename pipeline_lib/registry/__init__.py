"""The registry: what versions exist, which one serves, and who decided it.

    versions/<version>/...       immutable signed packages                     versions.py, package.py
    state/<version>.json         where each version is in its life              states.py
    proposed/<id>.json           a verdict about to be recorded                 decisions.py
    decisions/<id>.json          every verdict with its receipt, create-only    decisions.py
    effects/<id>.json            decisions that moved the pointer               decisions.py
    closed/<id>.json             decisions that will never take effect          decisions.py
    judged/...                   which verdict a run got, for reruns            decisions.py
    evidence/<digest>/           the rows a verdict was computed from           (the gate)
    approvals/<decision id>.json what a human was asked                         (the gate)
    pointer/champion.json        the only truth about what serves, signed       pointer.py

Only ``pointer.swap`` and ``pointer.restore`` write the pointer, and both want a receipt from the record.
"""
