"""The gate: challenger against champion, one verdict, one row in the record.

evidence.py (the frozen rows) -> metrics.py, significance.py (arithmetic) -> compare.py (section 6) -> ladder.py
(the fixed order of section 4) -> decide.py (the stage). signoff.py and force.py are the two ways in which a person
decides. Section numbers are those of promotion.md.
"""
