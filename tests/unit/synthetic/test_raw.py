"""Raw files written and read back: clean files give the bank, dirty ones give it but for what dirt destroys."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.ingest.adapters import santander, synthetic
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.ingest.synthetic.raw import dirt, hostile, snapshots
from pipeline_lib.ingest.synthetic.raw.writer import write
from pipeline_lib.keys import KeyFolder
from pipeline_lib.runs import RunContext
from pipeline_lib.settings.source import Source

from .conftest import MakeSource

SANTANDER = settings.load("santander").source
UNTIL = date(2015, 10, 5)
PARAMS: dict[str, Any] = {"customers": 1200, "world_start": "2015-01-28", "min_months": 1, "event_rate_scale": 0.2}
RATES: dict[str, Any] = {"profile_absent": 0.05, "sent_again": 0.01, "age_impossible": 0.02, "income_zero": 0.2}
"""Rare dirt made frequent enough for 1,200 customers."""
KEYS = ["snapshot_date", "customer_id"]


@pytest.fixture(scope="module")
def source(make_source: MakeSource) -> Source:
    return make_source(**PARAMS, blocks={"customers": 500}, dirt={**RATES, "blank": _blanks(make_source)})


def _blanks(make_source: MakeSource) -> dict[str, float]:
    generator = make_source().generator
    assert generator is not None
    return {**generator.dirt.blank, "sexo": 0.01}


@pytest.fixture(scope="module")
def folders(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in ("none", "realistic"):
        found[kind] = tmp_path_factory.mktemp(kind)
        write(source, found[kind], UNTIL, kind)  # type: ignore[arg-type]
    return found


def read(adapter: Any, source: Source, folder: Path | None, scratch: Path) -> SourceTables:
    scratch.mkdir(exist_ok=True)
    out = SourceTables(scratch)
    adapter.read(source, folder, UNTIL, out)
    return out


def silver(out: SourceTables) -> pl.DataFrame:
    """All snapshots with their segment, one row per customer and month."""
    parts = []
    for day in out.months("snapshot"):
        rows, segments = (
            pl.concat([pl.read_parquet(p) for p in out.parts(f"{t}/{day}")]) for t in ("snapshot", "segment")
        )
        parts.append(rows.join(segments, on="customer_id", validate="1:1").with_columns(snapshot_date=pl.lit(day)))
    return pl.concat(parts).sort(KEYS)


def events(out: SourceTables) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for m in out.months("event") for p in out.parts(f"event/{m}")]).sort(
        "event_id"
    )


@pytest.fixture(scope="module")
def bank(source: Source, tmp_path_factory: pytest.TempPathFactory) -> SourceTables:
    return read(synthetic, source, None, tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def clean(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SourceTables:
    return read(santander, SANTANDER, folders["none"], tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def dirty(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> SourceTables:
    return read(santander, SANTANDER, folders["realistic"], tmp_path_factory.mktemp("dirty"))


@pytest.fixture(scope="module")
def raw(folders: dict[str, Path]) -> pl.DataFrame:
    """The dirty text, copies taken out."""
    rows = pl.concat([pl.read_csv(p, infer_schema=False) for p in sorted(folders["realistic"].glob("*.csv"))])
    return rows.unique().rename({"fecha_dato": "snapshot_date", "ncodpers": "customer_id"}).sort(KEYS)


def test_clean_files_read_back_are_the_bank(bank: SourceTables, clean: SourceTables) -> None:
    assert silver(clean).equals(silver(bank).select(silver(clean).columns))
    assert {what: n for what, n in clean.counts.items() if n} == {}


def test_events_read_back_are_the_banks_and_stamped_synthetic(bank: SourceTables, clean: SourceTables) -> None:
    assert events(clean).equals(events(bank))
    assert clean.event_origin == "synthetic"


def test_dirty_files_read_back_are_the_bank_but_for_what_dirt_destroys(
    bank: SourceTables, dirty: SourceTables, raw: pl.DataFrame
) -> None:
    found, want = silver(dirty), silver(bank)
    assert found.select(KEYS).equals(want.select(KEYS))
    assert found.select(KEYS).equals(raw.select(KEYS))
    age = pl.col("age").str.strip_chars().cast(pl.Int64, strict=False)
    hit = {
        "profile absent": pl.col("ind_empleado").is_null(),
        "early profile frozen": pl.col("snapshot_date") < "2015-07",
        "age impossible": age.is_not_null() & ~age.is_between(18, 100),
        "relation blank": pl.col("tiprel_1mes").is_null(),
        "channel blank": pl.col("canal_entrada").is_null(),
        "sex blank": pl.col("sexo").is_null(),
    }
    masks = {kind: raw.select(mask).to_series() for kind, mask in hit.items()}
    assert masks.keys() == dirt.LOST.keys()
    assert all(mask.any() for mask in masks.values())
    for column in found.columns:
        differs = found.get_column(column).ne_missing(want.get_column(column))
        for kind, mask in masks.items():
            if column in dirt.LOST[kind]:
                differs &= ~mask
        assert not differs.any(), (column, found.filter(differs).head(3), want.filter(differs).head(3))


def test_dirt_destroys_something_of_every_kind(bank: SourceTables, dirty: SourceTables) -> None:
    found, want = silver(dirty), silver(bank)
    for column in {column for columns in dirt.LOST.values() for column in columns} - {"is_deceased"}:
        assert found.get_column(column).ne_missing(want.get_column(column)).any(), column


def test_dirty_files_have_the_forms_of_the_real_ones(raw: pl.DataFrame, dirty: SourceTables) -> None:
    def seen(column: str) -> set[str | None]:
        return set(raw.get_column(column))

    assert " NA" in seen("age")
    assert {"     NA", dirt.SENTINEL} < seen("antiguedad")
    assert {"1", "1.0", None} <= seen("indrel_1mes")
    assert seen("ind_nomina_ult1") == {"0.0", "1.0", None}
    assert {"CORUNA, A", "CORU\u00c3\u2018A, A", "ALICANTE/ALACANT"} <= seen("nomprov")
    assert raw.filter((pl.col("indrel") == "99") == pl.col("ult_fec_cli_1t").is_null()).is_empty()
    absent = raw.filter(pl.col("ind_empleado").is_null())
    assert set(absent.get_column("snapshot_date")) == set(raw.get_column("snapshot_date").unique().sort()[:6])
    rate = absent.height / raw.filter(pl.col("snapshot_date") < "2015-07").height
    assert rate == pytest.approx(RATES["profile_absent"], rel=0.3)
    for column in ("sexo", "nomprov", "renta", "segmento", "indfall", "tipodom"):
        assert absent.filter(pl.col(column).is_not_null()).is_empty(), column
    assert dirty.counts["exact duplicate rows: collapsed"] > 0
    assert dirty.counts["province: name does not belong to the code, code kept"] == 0


def test_early_profiles_are_those_of_the_first_later_month(dirty: SourceTables) -> None:
    rows = silver(dirty)
    early = rows.filter((pl.col("snapshot_date") == "2015-02-28") & (pl.col("country") != "ZZ"))
    pairs = early.join(rows.filter(pl.col("snapshot_date") == "2015-07-28"), on="customer_id", suffix="_later")
    ages = pairs.filter(pl.col("age").is_not_null() & pl.col("age_later").is_not_null())
    assert ages.height > 500
    assert ages.filter(pl.col("age") != pl.col("age_later")).is_empty()


def test_same_parameters_give_the_same_bytes(source: Source, folders: dict[str, Path], tmp_path: Path) -> None:
    write(source, tmp_path / "again", UNTIL, "realistic")
    names = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*.*"))
    assert len(names) == 9 + 11
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (folders["realistic"] / name).read_bytes(), name


def test_files_of_two_banks_never_mix(source: Source, folders: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="expected an empty folder"):
        write(source, folders["none"], UNTIL)


@pytest.fixture(scope="module")
def hostile_folder(make_source: MakeSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    few = make_source(**{**PARAMS, "customers": 200})
    write(few, folder, date(2015, 2, 28), "hostile", with_events=False)
    return folder


REFUSED = [fault for fault in hostile.faults() if fault.refused]
HARMLESS = [fault.name for fault in hostile.faults() if not fault.refused]


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.name)
def test_every_fault_is_refused_by_name(fault: hostile.Fault, hostile_folder: Path, make_settings: Any) -> None:
    ctx = RunContext.open(make_settings("santander", source=hostile_folder / fault.name), date(2015, 3, 2))
    with pytest.raises(SchemaError, match=fault.refused):
        ingest(ctx)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_odd_does_no_harm(name: str, hostile_folder: Path, tmp_path: Path) -> None:
    found, want = (read(santander, SANTANDER, hostile_folder / n, tmp_path / n) for n in (name, "clean"))
    assert silver(found).equals(silver(want))


def test_the_day_of_the_first_contract_never_moves(source: Source) -> None:
    laws = synthetic.laws_of(source)
    parts = list(synthetic.simulate(laws, synthetic.bank_of(source, UNTIL)))[:6]
    days = (
        pl.concat([snapshots.canonical(laws, part) for part in parts])
        .group_by("customer_id")
        .agg(pl.col("joined").n_unique())
    )
    assert days.get_column("joined").max() == 1


def _rearranged(folder: Path, target: Path, seed: int, count: int) -> None:
    """The same rows in ``count`` CSV files of other names, months mixed, and event files likewise."""
    (target / santander.EVENT_FOLDER).mkdir(parents=True)
    lines = [line for p in sorted(folder.glob("*.csv")) for line in p.read_bytes().splitlines()[1:]]
    random.Random(seed).shuffle(lines)
    header = ",".join(santander.RAW_COLUMNS).encode()
    for i in range(count):
        (target / f"{(i * 7 + seed) % 10}{i}.csv").write_bytes(b"\n".join([header, *lines[i::count]]) + b"\n")
    stream = pl.concat([pl.read_parquet(p) for p in sorted((folder / santander.EVENT_FOLDER).glob("*.parquet"))])
    stream = stream.sample(fraction=1.0, shuffle=True, seed=seed)
    for i in range(count):
        part = stream.filter(pl.int_range(pl.len()) % count == i)
        part.write_parquet(target / santander.EVENT_FOLDER / f"{(i * 3 + seed) % 10}-{i}.parquet")


def test_files_names_and_rows_in_another_order_change_no_artefact(
    folders: dict[str, Path], make_settings: Any, tmp_path: Path
) -> None:
    _rearranged(folders["realistic"], tmp_path / "other", seed=2, count=5)
    shorter = {"data": {"splits": {"min_history_months": 4}}}
    made = []
    for folder in (folders["realistic"], tmp_path / "other"):
        home = tmp_path / f"home-{len(made)}"
        ctx = RunContext.open(make_settings("santander", shorter, source=folder, home=home), UNTIL)
        KeyFolder(ctx.settings.place.keys).create_secrets(ctx.settings.audit.key_id)
        outputs = [*ingest(ctx).manifest.outputs, *label(ctx).manifest.outputs]
        made.append({e.path.split("/", 1)[1]: e.sha256 for e in outputs})
    for tables in made:  # what was read, by name: these do change
        tables.pop("ingest_manifest.parquet")
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
