"""A bank whose champion explores: answers in the record, a challenger in the registry, and outcomes of a known law."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import session
from pipeline_lib.business_time import run_date, utc_now
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.monitor.counterfactual import logged
from pipeline_lib.monitor.counterfactual.logged import Window
from pipeline_lib.objects import open_objects
from pipeline_lib.publish import package
from pipeline_lib.records import Receipt
from pipeline_lib.registry import versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import open_service
from pipeline_lib.serve.service import Service
from pipeline_lib.settings import Place, Settings
from tests.unit.serve.conftest import CUSTOMERS, fabricate

ANSWERS_EACH = 3
REWARD_DAYS = 14


def shipped(home: Path, **serving: Any) -> Settings:
    made = settings_module.load("synthetic", Place(dataset="synthetic", home=home, threads=1))
    keys = KeyFolder(made.place.keys)
    if not made.place.keys.exists():
        keys.create_secrets(made.audit.key_id)
        signing.create_keys(keys)
    wanted = made.promotion.counterfactual.model_copy(update={"min_ess": 200, "n_bootstrap": 200})
    return made.model_copy(
        update={
            "serving": made.serving.model_copy(update=serving),
            "promotion": made.promotion.model_copy(update={"counterfactual": wanted}),
        }
    )


@dataclass
class Stream:
    """A week of answers and what is known about them."""

    settings: Settings
    champion: str
    challenger: str
    run: RunContext
    """Of the run whose window holds the answers."""

    @property
    def window(self) -> Window:
        return Window.before(self.run.logical_date, self.settings)

    @property
    def roles(self) -> dict[str, str]:
        return {"champion": self.champion, "challenger": self.challenger}

    def log(self) -> logged.Log:
        return logged.read(self.run.objects, self.settings, self.window)

    @cached_property
    def shown(self) -> pl.DataFrame:
        """What was answered: none of it depends on what became of it."""
        return self.log().answers.select("prediction_id", "action", "served_at")


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Answers of every customer by a champion with epsilon 0.6; nobody knows yet what became of them."""
    home, today = tmp_path_factory.mktemp("exploring"), run_date(utc_now())
    explore = settings_module.serving.Exploration(epsilon=0.6, temperature=0.2)
    settings = shipped(home, exploration=explore)
    run = RunContext.open(settings, today)
    fabricate(run, KeyFolder(settings.place.keys))
    package.package(run)
    champion = str(run.read("package").facts["version"])
    answer(settings, champion, home / "release")
    session.commit(settings)
    by_group = {"will_acquire": 0.9, "nba_primary": 0.1}
    scoring = settings.serving.scoring.model_copy(update={"profiles": {"item": by_group}})
    other = shipped(home, exploration=explore, scoring=scoring)
    package.package(RunContext.open(other, today))
    challenger = str(run.read("package").facts["version"])
    later = RunContext.open(settings, today + timedelta(days=REWARD_DAYS + 1))
    return Stream(settings, champion, challenger, later)


def answer(settings: Settings, version: str, folder: Path) -> None:
    """Every customer asks ``ANSWERS_EACH`` times at the branch; recorded in a few segments."""
    keys = KeyFolder(settings.place.keys)
    loaded = versions.load(open_objects(settings.place.root), keys, version, folder)
    service = open_service(environment(settings, loaded.package.sha256, folder))
    entries: list[Any] = []
    service.append = lambda found: entries.extend(found) or Receipt("o", "w", 0, 0, 0, "h")  # type: ignore[func-returns-value]
    assess(local.tables_folder(settings), service, run_date(service.now()))
    ids = (f"p{n}" for n in range(CUSTOMERS * ANSWERS_EACH))
    service.new_id = lambda: next(ids)
    for _ in range(ANSWERS_EACH):
        for n in range(CUSTOMERS):
            local.ask(service, local.sample_request(f"c{n + 1}", None))
    writer = session.writer(settings, "serve")
    for at in range(0, len(entries), 400):
        writer.append(entries[at : at + 400])


def assess(folder: Path, service: Service, today: date) -> None:
    """A tolerance for everybody: without an interview nothing may be recommended."""
    rows = [(subject_ref(service.pepper, f"c{n + 1}"), 3, today.isoformat()) for n in range(CUSTOMERS)]
    with closing(sqlite3.connect(folder / "state.sqlite")) as database, database:
        database.executemany("INSERT OR REPLACE INTO suitability VALUES (?, ?, ?)", rows)


def environment(settings: Settings, manifest_sha256: str, folder: Path) -> dict[str, str]:
    return {
        "SERVE_BUNDLE": str(folder),
        "SERVE_MANIFEST_SHA256": manifest_sha256,
        "SERVE_TABLES": f"file://{local.tables_folder(settings)}",
        "SERVE_AUDIT": settings.place.audit,
        "SERVE_KEYS": str(settings.place.keys),
        "SERVE_ORIGIN": f"{settings.audit.origin}/{settings.place.env}",
        "SERVE_KEY_ID": settings.audit.key_id,
        "SERVE_ENV": settings.place.env,
    }


def accept(stream: Stream, favourite: Mapping[str, str], but: frozenset[int] = frozenset()) -> None:
    """Write the outcome feed: a customer's favourite is accepted in 9 of 10 answers, anything else in 1 of 20.

    Args:
        favourite: prediction id -> item. but: days of the feed that are missing, counted from its first.
    """
    rows = []
    for row in stream.shown.iter_rows(named=True):
        u = int(hashlib.sha256(row["prediction_id"].encode()).hexdigest()[:8], 16) / 16**8
        if u < (0.9 if favourite.get(row["prediction_id"]) == row["action"] else 0.05):
            at = row["served_at"] + timedelta(hours=1 + 100 * u)
            rows.append((row["prediction_id"], row["action"], at))
    schema = {"prediction_id": pl.String, "product_id": pl.String, "accepted_at": pl.Datetime("us")}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    first = stream.window.until.astimezone(UTC).date() - timedelta(days=3)
    for n in range(REWARD_DAYS + 5):
        day = first + timedelta(days=n)
        put(stream, f"outcomes/synthetic/{day}.parquet", table.filter(pl.col("accepted_at").dt.date() == day), n in but)


def put(stream: Stream, key: str, table: pl.DataFrame, missing: bool) -> None:
    if stream.run.objects.exists(key):
        stream.run.objects.delete(key)
    if not missing:
        with stream.run.objects.scratch() as folder:
            table.write_parquet(folder / "day.parquet")
            stream.run.objects.put_file(key, folder / "day.parquet")


def favourites(replayed: pl.DataFrame, of: str) -> dict[str, str]:
    """Prediction id -> the item a model likes best there; only where the other model likes another."""
    best = {
        role: replayed.sort(role, descending=True, maintain_order=True).group_by("prediction_id").first()
        for role in ("champion", "challenger")
    }
    both = best["champion"].join(best["challenger"], on="prediction_id", suffix="_other")
    differ = both.filter(pl.col("product_id") != pl.col("product_id_other"))
    item = "product_id" if of == "champion" else "product_id_other"
    return dict(zip(differ["prediction_id"].to_list(), differ[item].to_list(), strict=True))


def true_value(replayed: pl.DataFrame, favourite: Mapping[str, str], of: str) -> float:
    """Mean over answers of sum_a pi(a) p(a) under the law of ``accept``."""
    liked = [favourite.get(p) == a for p, a in replayed.select("prediction_id", "product_id").iter_rows()]
    law = np.where(liked, 0.9, 0.05)
    return float((replayed[of].to_numpy() * law).sum() / replayed["prediction_id"].n_unique())
