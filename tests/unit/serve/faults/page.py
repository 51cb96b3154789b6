"""The fault table for the docs: ``python -m tests.unit.serve.faults.page`` prints it."""

from __future__ import annotations

from tests.unit.serve.faults import models, sinks, table, tables

FAMILIES = (models, tables, sinks)
"""Importing them fills the table."""

if __name__ == "__main__":
    print(table.page())
