"""Great Expectations: the suites of bronze, silver and gold tables, and the Data Docs of a run.

A middle floor, so that every stage may ask and none imports another to do so. Nothing else imports the library.
"""
