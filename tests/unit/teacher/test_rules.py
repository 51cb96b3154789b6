"""Every regression rule of teacher.md section 20 has a test, and a planted defect that this test finds."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from scripts.mutants import ROOT, Mutant, mutants

RULES = [f"R{n:02d}" for n in range(1, 41)]
HOME = Path(__file__).parent


PLANTED = mutants()


@cache
def marked(folder: Path) -> set[str]:
    """Rules that some test is marked with."""
    found: set[str] = set()
    for file in folder.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.rule":
                found |= {str(ast.literal_eval(argument)) for argument in node.args}
    return found


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_test(rule: str) -> None:
    assert rule in marked(HOME)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_planted_defect(rule: str) -> None:
    assert [m for m in PLANTED if m.rule == rule]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda m: f"{m.rule}: {m.defect[:40]}")
def test_a_defect_can_be_planted_where_it_says(mutant: Mutant) -> None:
    """One place in the file, and a test that exists: otherwise `make mutants` would prove nothing."""
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.find) == 1, mutant.file
    file, _, name = mutant.test.partition("::")
    assert f"def {name.split('[')[0].split('::')[-1]}(" in (ROOT / file).read_text(encoding="utf-8")
