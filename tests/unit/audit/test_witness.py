"""A note in somebody else's hands shows what whoever holds every key and store of the record has taken back."""

import json
from pathlib import Path

import pytest

from pipeline_lib import cli
from pipeline_lib.audit import anchors, attacks, session, verify, witness
from pipeline_lib.audit.attacks import Scene
from pipeline_lib.errors import AuditError, RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

from .conftest import operation


@pytest.fixture
def notes(config: Settings) -> dict[str, bytes]:
    """Three checkpoints of a chain of one writer, each note as it was handed out."""
    writer, found = session.writer(config, "test"), {}
    for n in range(1, 4):
        writer.append([operation(f"i-{n}.{item}", reason="as measured") for item in range(2)])
        writer.append([operation(f"j-{n}")])
        session.commit(config)
        found[f"mail-{n}"] = witness.newest(config)[1]
    return found


def take_back(config: Settings, n: int) -> None:
    """Remove a checkpoint and its copy in the other store, as whoever holds both may."""
    open_objects(config.place.anchors).delete(anchors.note_key(n))
    open_objects(config.place.root).delete(anchors.witness_key(n))


def named(config: Settings, kept: dict[str, bytes]) -> list[tuple[str, int | None, int | None]]:
    """Findings of the kept notes: code, entry, leaf."""
    found = verify.examine(config, with_store=False, kept=kept).findings
    return [(f.code, f.seq, f.leaf_index) for f in found if f.detail.startswith("mail-")]


def test_kept_notes_of_an_honest_record_agree(config: Settings, notes: dict[str, bytes]) -> None:
    session.record_once(config, "test", [operation("later")])
    session.commit(config)
    report = verify.verify(config, with_store=False)
    with_notes = verify.examine(config, with_store=False, kept=notes)
    assert (report.verdict, with_notes.verdict) == ("INTACT", "INTACT")
    (judged,) = [check for check in with_notes.checks if check.id == "V13"]
    assert judged.reason.startswith("3 notes that somebody outside kept")


def test_line_ends_that_a_mail_changed_do_not_matter(config: Settings, notes: dict[str, bytes]) -> None:
    mailed = {name: data.replace(b"\n", b"\r\n") + b"\r\n" for name, data in notes.items()}
    assert verify.examine(config, with_store=False, kept=mailed).verdict == "INTACT"


def test_a_newest_checkpoint_taken_back_from_both_stores_is_named_by_its_note(
    config: Settings, notes: dict[str, bytes]
) -> None:
    leaf = anchors.history(open_objects(config.place.anchors), KeyFolder(config.place.keys), session.origin(config))
    take_back(config, 3)
    assert verify.examine(config, with_store=False).verdict == "INTACT"
    assert named(config, {"mail-3": notes["mail-3"]}) == [("ANCHOR_MISMATCH", 8, leaf[2].index.first_leaf)]


@pytest.mark.parametrize("kept", [["mail-2"], ["mail-1", "mail-2"], ["mail-3"]])
def test_a_second_history_under_the_true_keys_is_named(
    config: Settings, notes: dict[str, bytes], kept: list[str]
) -> None:
    root = Path(config.place.audit.removeprefix("file://")).parent
    for n in range(1, 4):
        open_objects(config.place.root).delete(anchors.witness_key(n))
    attacks.fork_with_stolen_keys(Scene(config, KeyFolder(config.place.keys), root))
    found = named(config, {name: notes[name] for name in kept})
    assert {code for code, *_ in found} == {"ANCHOR_MISMATCH"}
    assert len(found) == len(kept)
    assert found[0][1:] == (1, 0)


def test_a_kept_file_that_is_no_note_of_this_record_leaves_the_verdict_incomplete(
    config: Settings, notes: dict[str, bytes]
) -> None:
    forged = notes["mail-2"].replace(b"\nn 2\n", b"\nn 9\n")
    for data in (b"see attachment", forged):
        report = verify.examine(config, with_store=False, kept={**notes, "mail-x": data})
        assert report.verdict == "INCOMPLETE"
        assert "mail-x" in next(check.reason for check in report.checks if check.id == "V13")


def test_a_note_is_never_written_over_another(config: Settings, notes: dict[str, bytes], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mailbox"
    assert witness.export(config, url) == witness.export(config, url) == "ckpt/000000000003"
    assert open_objects(url).get("ckpt/000000000003") == notes["mail-3"]
    open_objects(url).put("ckpt/000000000003", notes["mail-2"])
    with pytest.raises(RequestRefused, match="another checkpoint 3"):
        witness.export(config, url)


def test_without_a_checkpoint_there_is_nothing_to_hand_out(config: Settings) -> None:
    with pytest.raises(AuditError, match="no checkpoint"):
        witness.newest(config)


def test_the_commands_hand_out_and_compare(
    config: Settings, notes: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = cli._parser()
    asked = parser.parse_args(["witness", "export"])
    assert asked.run(config, asked) == 0
    kept = tmp_path / "note.txt"
    kept.write_text(capsys.readouterr().out, encoding="utf-8")
    assert kept.read_bytes() == notes["mail-3"]
    asked = parser.parse_args(["verify", "--json", "--witness", str(kept)])
    assert asked.run(config, asked) == 0
    take_back(config, 3)
    assert asked.run(config, asked) == 1
    capsys.readouterr()
    assert asked.run(config, asked) == 1
    assert "ANCHOR_MISMATCH" in {
        f["code"] for c in json.loads(capsys.readouterr().out)["checks"] for f in c["findings"]
    }
