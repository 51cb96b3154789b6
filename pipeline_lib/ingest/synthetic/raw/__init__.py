"""The synthetic bank as raw files, in the form in which a bank would deliver them: contracts A and B.

    snapshots  a block at one month as the 48 text columns of contract A, clean
    events     a block's events as contract B
    dirt       the known dirt of the real files, at its rates, and what it destroys
    hostile    files that must be refused
    writer     the loop: a CSV per month, a Parquet file of events per month

Source: data.md 2, 4 and 8.7.
"""
