"""Bad input, for every source alike: the error says where, what was found and what was expected; nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.ingest.adapters import santander
from pipeline_lib.ingest.source_tables import SourceTables
from tests.unit.ingest.family import FAMILY, Member, policy

Damage = Callable[[Member, Path], None]


def _changed(member: Member, folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    member.put(folder, change(member.table(folder)))


def _column_missing(member: Member, folder: Path) -> None:
    _changed(member, folder, lambda rows: rows.drop(member.drop))


def _column_undeclared(member: Member, folder: Path) -> None:
    _changed(member, folder, lambda rows: rows.with_columns(score_v2=pl.lit("1")))


def _wrong_type(member: Member, folder: Path) -> None:
    _changed(member, folder, lambda rows: rows.with_columns(pl.lit(member.wrong).alias(member.number)))


def _key_repeated(member: Member, folder: Path) -> None:
    def twice(rows: pl.DataFrame) -> pl.DataFrame:
        again = rows.head(1).with_columns(rows.get_column(member.differs).slice(1, 1) if not member.is_text else other)
        return pl.concat([rows, again])

    other = pl.lit("99999.0").alias(member.differs)
    _changed(member, folder, twice)


def _date_in_the_future(member: Member, folder: Path) -> None:
    assert member.future
    last = pl.int_range(pl.len()) == pl.len() - 1
    new = [pl.when(last).then(pl.lit(v)).otherwise(pl.col(c)).alias(c) for c, v in member.future.items()]
    kept = member.table(folder).schema
    _changed(member, folder, lambda rows: rows.with_columns(new).cast({c: kept[c] for c in member.future or ()}))


def _truncated(member: Member, folder: Path) -> None:
    data = (folder / member.file).read_bytes()
    (folder / member.file).write_bytes(data[: len(data) * 2 // 3])


def _another_encoding(member: Member, folder: Path) -> None:
    """As a spreadsheet saves it: UTF-16 with its mark, or that text under the name of a binary file."""
    text = member.table(folder).write_csv()
    (folder / member.file).write_bytes(text.encode("utf-16"))


def _no_rows(member: Member, folder: Path) -> None:
    _changed(member, folder, lambda rows: rows.clear())


def _no_bytes(member: Member, folder: Path) -> None:
    (folder / member.file).write_bytes(b"")


def _file_missing(member: Member, folder: Path) -> None:
    (folder / member.file).unlink()


DAMAGES: dict[str, tuple[Damage, str]] = {
    "column_missing": (_column_missing, "(?s)missing.*{drop}"),
    "column_undeclared": (_column_undeclared, "score_v2"),
    "wrong_type": (_wrong_type, "{number}"),
    "key_repeated": (_key_repeated, "(?s)repeats in 1 rows, first in row|conflicting rows.*first {file} line"),
    "date_in_the_future": (_date_in_the_future, "2199"),
    "truncated": (_truncated, "not a readable"),
    "another_encoding": (_another_encoding, "not a readable|not UTF-8"),
    "no_rows": (_no_rows, "found 0 rows"),
    "no_bytes": (_no_bytes, "found 0 bytes|header has 1 columns"),
    "file_missing": (_file_missing, "missing files|found no"),
}
WITHOUT_TIME_OR_KEY = {("census", "key_repeated"), ("census", "date_in_the_future")}
CASES = [(m, d) for m in FAMILY for d in DAMAGES if (m, d) not in WITHOUT_TIME_OR_KEY]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The good folder of a member, written once."""

    @cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        FAMILY[name].make(folder)
        return folder

    return make


@pytest.fixture
def raw(request: pytest.FixtureRequest, good: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(good(request.param), tmp_path / "raw"))


def test_every_source_of_files_and_every_benchmark_set_is_a_member() -> None:
    with_files = {name for name in settings.source_names() if policy(name).source.needs_files}
    assert set(FAMILY) == with_files | set(settings.benchmark_names())


def test_only_a_set_without_time_lacks_a_key_or_a_date() -> None:
    lacking = {name for name, member in FAMILY.items() if not member.key or member.future is None}
    assert lacking == set(settings.benchmark_names()) == {name for name, _ in WITHOUT_TIME_OR_KEY}


@pytest.mark.parametrize(("raw", "damage"), CASES, indirect=["raw"])
def test_bad_input_is_refused_by_name(raw: Path, damage: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    member = FAMILY[request.node.callspec.params["raw"]]
    do, says = DAMAGES[damage]
    do(member, raw)
    with pytest.raises(SchemaError) as caught:
        member.load(raw, tmp_path / "home", member.weeks[1])
    text = str(caught.value)
    where = raw.name if damage == "file_missing" and member.is_text else member.file
    assert where.removesuffix(".parquet") in text
    assert "expected" in text.lower()
    assert "found" in text or " is " in text or "has" in text
    pattern = says.format(drop=member.drop, number=member.number, file=member.file)
    assert pl.Series([text]).str.contains(pattern).item(), text


@pytest.mark.parametrize("name", FAMILY)
def test_source_without_its_folder_says_which_variable_to_set(name: str, tmp_path: Path) -> None:
    member = FAMILY[name]
    with pytest.raises(SettingsError, match="PIPELINE_SOURCE: expected a folder, found"):
        member.load(tmp_path / "nowhere", tmp_path / "home", member.weeks[0])


def stored(home: Path) -> dict[str, bytes]:
    """Every object of the store, and the restricted index beside it."""
    return {str(p.relative_to(home)): p.read_bytes() for p in sorted((home / "store").rglob("*")) if p.is_file()}


@pytest.mark.parametrize("raw", [n for n in FAMILY if n in settings.source_names()], indirect=True)
def test_refused_week_leaves_the_week_before_in_use(raw: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    member = FAMILY[request.node.callspec.params["raw"]]
    home = tmp_path / "home"
    good = member.load(raw, home, member.weeks[0])
    champion = home / "store/registry/pointer/champion.json"
    champion.parent.mkdir(parents=True)
    champion.write_text('{"version": "v1"}')
    before = stored(home)
    assert any(key.endswith("ingest/manifest.json") for key in before)
    _key_repeated(member, raw)
    with pytest.raises(SchemaError, match=f"nothing of this load is kept, the load of {member.weeks[0]} stays in use"):
        member.load(raw, home, member.weeks[1])
    assert stored(home) == before
    for name in good.names():
        good.path(name)
    with pytest.raises(SchemaError, match=f"the load of {member.weeks[0]} stays in use"):
        member.load(raw, home, member.weeks[0])
    assert stored(home) == before, "the same week loaded again from a file that went bad"


@pytest.mark.parametrize("raw", ["santander"], indirect=True)
def test_utf_8_with_its_mark_is_the_same_file(raw: Path, tmp_path: Path) -> None:
    file, parts = FAMILY["santander"].file, []
    data = (raw / file).read_bytes()
    for mark in (b"", b"\xef\xbb\xbf"):
        (raw / file).write_bytes(mark + data)
        out = SourceTables(tmp_path / f"parts{len(mark)}")
        out.folder.mkdir()
        santander.read(policy("santander").source, raw, FAMILY["santander"].weeks[0], out)
        parts.append(pl.read_parquet(out.parts("snapshot/2015-02-28")).sort("customer_id"))
    assert parts[0].height == 20
    assert parts[0].equals(parts[1])
