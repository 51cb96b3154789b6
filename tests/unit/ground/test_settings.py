from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import settings
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings import Place, Settings

Make = Callable[..., Settings]


@pytest.mark.parametrize("name", settings.source_names())
def test_every_shipped_source_loads(make_settings: Make, name: str) -> None:
    made = make_settings(name)
    assert set(made.source.tasks) | made.source.tasks_absent_because.keys() == set(made.tasks.tasks)


def test_the_shipped_posture_is_that_a_human_signs(make_settings: Make) -> None:
    assert make_settings().promotion.auto_promote is False


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"data": {"splits": {"gap_day": 7}}}, "splits.gap_day"),
        ({"data": {"splits": {"gap_days": 6}}}, "splits.gap_days"),
        ({"data": {"splits": {"train_buckets": 9000}}}, "leave no test"),
        ({"schedules": {"retries": "two"}}, "schedules.yaml"),
        ({"nonsense": {}}, "unknown sections"),
        ({"tasks": {"tasks": {"churn_signal": {"classes": 3}}}}, "contradicts kind"),
    ],
)
def test_an_unknown_or_contradictory_key_names_key_and_file(make_settings: Make, overrides: Any, named: str) -> None:
    with pytest.raises(SettingsError, match=named) as error:
        make_settings("synthetic", overrides)
    assert ".yaml" in str(error.value)


def test_a_key_written_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("data:\n  splits: {}\n  splits: {}\n")
    with pytest.raises(SettingsError, match="'splits' is written twice"):
        settings.load("synthetic", Place(overrides=file))


def test_settings_cannot_be_changed_after_loading(make_settings: Make) -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_settings().promotion.auto_promote = True  # type: ignore[misc]


def test_the_hash_follows_the_policy_and_not_the_place(make_settings: Make, tmp_path: Path) -> None:
    plain = make_settings()
    assert plain.config_hash == make_settings(home=tmp_path / "elsewhere").config_hash
    assert plain.config_hash != make_settings("synthetic", {"data": {"splits": {"gap_days": 27}}}).config_hash


def test_prod_refuses_overrides_and_automatic_promotion(tmp_path: Path) -> None:
    file = tmp_path / "o.yaml"
    file.write_text("promotion: {auto_promote: true}\n")
    with pytest.raises(SettingsError, match="auto_promote must be false"):
        settings.load("synthetic", Place(env="prod", overrides=file))
    with pytest.raises(SettingsError, match="PIPELINE_OVERRIDES is refused"):
        Place.from_environment({"PIPELINE_ENV": "prod", "PIPELINE_OVERRIDES": str(file)})


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(SettingsError, match="PIPELINE_ROOTT"):
        Place.from_environment({"PIPELINE_ROOTT": "x"})


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="synthetic"):
        settings.load("nobody")
