from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from pipeline_lib import runs
from pipeline_lib.errors import ManifestMismatch, NotReproducible, ObjectMissing
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.settings import Settings

MONDAY = date(2026, 11, 16)


def write(text: str) -> Callable[[Out], None]:
    def make(out: Out) -> None:
        out.path("part/a.txt", rows=1).write_text(text)
        out.facts["share"] = 0.25

    return make


@pytest.fixture
def ctx(make_settings: Callable[..., Settings]) -> RunContext:
    return RunContext.open(make_settings(), MONDAY)


def test_a_stage_is_read_as_it_was_written(ctx: RunContext) -> None:
    ctx.produce("one", write("x"))
    found = ctx.read("one")
    assert found.path("part/a.txt").read_text() == "x"
    assert found.facts["share"] == "0.250000000"
    assert found.names("part/") == ["part/a.txt"]
    assert found.manifest.outputs[0].rows == 1
    assert found.manifest.config_hash == ctx.settings.config_hash


def test_two_banks_with_the_same_inputs_have_the_same_content_hash(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    first = RunContext.open(make_settings(home=tmp_path / "a"), MONDAY).produce("one", write("x"))
    second = RunContext.open(make_settings(home=tmp_path / "b"), MONDAY).produce("one", write("x"))
    assert first.content_hash == second.content_hash
    assert first.manifest.run != second.manifest.run


def test_a_finished_stage_is_not_made_again(ctx: RunContext) -> None:
    before = ctx.produce("one", write("x"))

    def never(out: Out) -> None:
        raise AssertionError("made twice")

    assert ctx.produce("one", never).content_hash == before.content_hash


def test_changed_inputs_make_the_stage_again(ctx: RunContext) -> None:
    ctx.produce("one", write("x"), sources={"source:f": "1"})
    ctx.produce("one", write("y"), sources={"source:f": "2"})
    assert ctx.read("one").path("part/a.txt").read_text() == "y"


def test_a_stage_that_fails_leaves_the_old_one(ctx: RunContext) -> None:
    ctx.produce("one", write("x"), sources={"source:f": "1"})

    def half(out: Out) -> None:
        out.path("part/a.txt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ctx.produce("one", half, sources={"source:f": "2"})
    assert ctx.read("one").path("part/a.txt").read_text() == "x"


def test_an_unfinished_stage_cannot_be_read(ctx: RunContext) -> None:
    with pytest.raises(ObjectMissing, match=r"one/manifest\.json"):
        ctx.read("one")


def test_changed_bytes_are_found_when_read(ctx: RunContext) -> None:
    out = ctx.produce("one", write("x"))
    out.path("part/a.txt").write_text("y")
    with pytest.raises(ManifestMismatch, match=r"part/a\.txt"):
        ctx.read("one").path("part/a.txt")


def test_a_damaged_stage_is_made_again(ctx: RunContext) -> None:
    ctx.produce("one", write("x")).path("part/a.txt").write_text("y")
    ctx.produce("one", write("x"))
    assert ctx.read("one").path("part/a.txt").read_text() == "x"


def test_an_edited_manifest_is_refused(ctx: RunContext) -> None:
    ctx.produce("one", write("x"))
    key = f"runs/synthetic/{MONDAY}/one/manifest.json"
    ctx.objects.put(key, ctx.objects.get(key).replace(b'"rows":1', b'"rows":2'))
    with pytest.raises(ManifestMismatch, match="was edited"):
        ctx.read("one")


def test_recompute_finds_a_stage_that_is_not_reproducible(make_settings: Callable[..., Settings]) -> None:
    RunContext.open(make_settings(), MONDAY).produce("one", write("x"))
    again = RunContext.open(make_settings(recompute=True), MONDAY)
    again.produce("one", write("x"))
    with pytest.raises(NotReproducible):
        again.produce("one", write("y"))


def test_the_code_version_is_a_hash_of_the_sources() -> None:
    assert runs.code_version() == runs.code_version()
    assert len(runs.code_version()) == 16
