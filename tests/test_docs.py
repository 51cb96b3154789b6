"""README, CHANGELOG and docs name only what exists: links, files, make targets, commands, options, DAGs, codes."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest

import local_airflow
from pipeline_lib import cli
from pipeline_lib.serve import __main__ as serve
from pipeline_lib.settings import Place

REPO = Path(__file__).resolve().parent.parent
PAGES = [REPO / "README.md", REPO / "CHANGELOG.md", *sorted((REPO / "docs").glob("*.md"))]
FOLDERS = ("dags", "docs", "pipeline_lib", "plugins", "scripts", "sql", "tests", "benchmarks", ".ci")
SOURCES = ("*.py", "*.yaml", "*.yml", "*.sql", "*.toml", "Makefile", "Dockerfile*")

FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./<>-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*<>-]*)")
TOP_FILE = re.compile(
    r"(?<![\w./<>*-])([A-Z]+\.md|[a-z-]+\.(?:toml|yml)|constraints\.txt|Makefile|Dockerfile(?:\.gpu)?)(?![\w/])"
)
MAKE = re.compile(r"(?<![\w./-])make ([a-z][a-z-]*)((?: +[A-Z]+=(?:\"[^\"]*\"|\S+))*)")
PIPELINE = re.compile(r"(?<![\w-])(?:\.venv/bin/)?pipeline ((?:-v |--verbose )?)([a-z][a-z-]*)([^\n|`#]*)")
LOCAL = re.compile(r"scripts/local_airflow\.py((?: --(?:dataset|source|port) \S+)*) ([a-z]+)([^\n|`#]*)")
SERVE = re.compile(r"python -m pipeline_lib\.serve([^\n|`#]*)")
DAG = re.compile(r"(?:dags (?:trigger|test|unpause|pause|list-runs|state)|--dag-id|/dags/)(?: *)([a-z][a-z_]+)")
COMMENT = re.compile(r"(?:^| )#[^\n]*", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
VARIABLE = re.compile(r"\b(PIPELINE_[A-Z_]+)\b")
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+|[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    assert list(problems(page.read_text(encoding="utf-8"), page.parent)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nowhere.md)", "link"),
        ("![a](docs/img/nowhere.png)", "link"),
        ("[a](docs/artefacts.md#no-such-heading)", "heading"),
        ("[a](#no-such-heading)", "heading"),
        ("`dags/nowhere.py`", "path"),
        ("`sql/ingest/nowhere_*.sql`", "path"),
        ("```\nnowhere.toml\n```", "path"),
        ("`make nowhere`", "make target"),
        ("```bash\nmake run DATASETS=berka\n```", "make variable"),
        ("`pipeline nowhere`", "pipeline verb"),
        ("`.venv/bin/pipeline verify --nowhere`", "option"),
        ("`pipeline promote force --nowhere`", "option"),
        ("`scripts/local_airflow.py --dataset berka nowhere`", "local_airflow verb"),
        ("`scripts/local_airflow.py backfill --nowhere 2026-01-05`", "option"),
        ("`python -m pipeline_lib.serve --nowhere`", "option"),
        ("`scripts/local_airflow.py exec dags trigger nowhere_dag`", "DAG"),
        ("`PIPELINE_NOWHERE`", "variable"),
        ("`NO_SUCH_CODE_ANYWHERE`", "name"),
        ("`no_such_name_anywhere`", "name"),
    ],
)
def test_a_page_that_names_what_does_not_exist_is_found(text: str, problem: str) -> None:
    assert [found.split(":")[0] for found in problems(f"# Title\n{text}\n", REPO)] == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "`make run DATASET=berka SOURCE=<folder>` and `pipeline keys init` and `pipeline_lib/cli.py`",
        "```bash\nPIPELINE_DATASET=berka .venv/bin/pipeline -v stage student.next_mcc --date 2026-11-16\n```",
        "`scripts/local_airflow.py exec dags trigger force_promote`, `sql/ingest/berka_*.sql`, [a](docs/artefacts.md)",
        "`pipeline_lib/ingest/adapters/<name>.py`, `var/<dataset>/store/`, `runs/<dataset>/x.parquet`",
    ],
)
def test_a_page_that_names_what_exists_passes(text: str) -> None:
    assert list(problems(text, REPO)) == []


def problems(text: str, folder: Path) -> Iterator[str]:
    """What a page names and is not there: ``kind: what``."""
    blocks = FENCE.findall(text)
    prose = FENCE.sub("", text)
    spans = SPAN.findall(prose)
    yield from _broken_links(prose, text, folder)
    for code in [*blocks, *spans]:
        yield from _missing_paths(code)
        yield from _unknown_commands(COMMENT.sub("", code).replace("\\\n", " "))
    for span in spans:
        if NAME.fullmatch(span) and not span.startswith("PIPELINE_") and span not in _source_text():
            yield f"name: {span}"


def _broken_links(prose: str, text: str, folder: Path) -> Iterator[str]:
    for target in LINK.findall(prose):
        path, _, heading = target.partition("#")
        if "://" in path:
            continue
        file = folder / path
        if path and not file.exists():
            yield f"link: {target}"
        elif heading and heading not in _headings(file.read_text(encoding="utf-8") if path else text):
            yield f"heading: {target}"


def _headings(text: str) -> list[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles]


def _missing_paths(code: str) -> Iterator[str]:
    for found in [*PATH.findall(code), *TOP_FILE.findall(code)]:
        name = found.rstrip(".")
        if "<" not in name and not any(REPO.glob(name.rstrip("/"))):
            yield f"path: {name}"


def _unknown_commands(code: str) -> Iterator[str]:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for target, given in MAKE.findall(code):
        if not re.search(rf"^{target}:", makefile, re.MULTILINE):
            yield f"make target: {target}"
        for variable in re.findall(r"([A-Z]+)=", given):
            if f"$({variable})" not in makefile:
                yield f"make variable: {variable}"
    for _, verb, rest in PIPELINE.findall(code):
        yield from _unknown(cli.main, "pipeline verb", verb, rest)
    for _, verb, rest in LOCAL.findall(code):
        yield from _unknown(_local, "local_airflow verb", verb, "" if verb == "exec" else rest)
    for rest in SERVE.findall(code):
        yield from _missing_options(_help(serve.main, ()), rest)
    for dag in DAG.findall(code):
        if not (REPO / f"dags/{dag}.py").is_file():
            yield f"DAG: {dag}"
    for variable in VARIABLE.findall(code):
        if variable.removeprefix("PIPELINE_").lower() not in Place.model_fields:
            yield f"variable: {variable}"


def _unknown(main: Callable[[list[str]], object], kind: str, verb: str, rest: str) -> Iterator[str]:
    text = _help(main, (verb,))
    if text is None:
        yield f"{kind}: {verb}"
    action = rest.split()[:1]  # the options of an action are in its own help
    if text is not None and action and not action[0].startswith("-"):
        text = _help(main, (verb, *action)) or text
    yield from _missing_options(text, rest)


def _missing_options(text: str | None, rest: str) -> Iterator[str]:
    for option in OPTION.findall(rest):
        if text is not None and not re.search(rf"(?<![\w-]){option}(?![\w-])", text):
            yield f"option: {option}"


@cache
def _help(main: Callable[[list[str]], object], before: tuple[str, ...]) -> str | None:
    """What the program prints for ``--help``; None when it refuses the words before."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as ended:
        main([*before, "--help"])
    return out.getvalue() if ended.value.code == 0 else None


def _local(arguments: list[str]) -> object:
    """``scripts/local_airflow.py`` takes its arguments from the command line."""
    before = sys.argv
    sys.argv = ["local_airflow.py", *arguments]
    try:
        return local_airflow.main()
    finally:
        sys.argv = before


@cache
def _source_text() -> str:
    """Everything that is not documentation, this file aside."""
    folders = [REPO / folder for folder in FOLDERS if folder != "docs"]
    files = [
        path for pattern in SOURCES for path in [*REPO.glob(pattern), *(f for d in folders for f in d.rglob(pattern))]
    ]
    mine = Path(__file__).resolve()
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.resolve() != mine)
