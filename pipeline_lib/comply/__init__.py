"""From the verified record to the five documents that regulators and the public read.

``quarterly.freeze`` fixes a checkpoint, ``quarterly.generate`` makes one report of it, ``on_promotion.assess`` three
for a new champion, ``trace.trace`` leads a printed number back to its entries.
"""
