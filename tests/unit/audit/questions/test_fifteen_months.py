"""Fifteen months after: another champion serves, the words changed, thousands of rows came since. One command answers.

Source: audit.md 1, the acceptance sentence.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from pipeline_lib import cli, signing
from pipeline_lib.audit import note, session
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from tests.unit.audit.questions.conftest import Bank, MakeRecord, seoul

When = Callable[[str], datetime]
V143, V201 = "v20260413-00000143", "v20261005-00000201"


def register(bank: Bank, version: str, words: str, max_entropy: float) -> str:
    """A package of so many words and limits; the hash of its manifest."""
    policy = {
        "serving": {"review": {"max_entropy": max_entropy}, "filters": {"min_score": 0.05}},
        "templates": {
            "phrases": {"num_products": {"ko": words, "en": words}}, "requires": {}, "facts": [],
            "product_names": {"deposit_long": {"ko": "장기 정기예금", "en": "long-term deposit"}},
        },
        "products": {"popular": [], "products": []},
        "features": {"groups": {}},
    }  # fmt: skip
    objects = open_objects(bank.settings.place.root)
    files = {f"policy/{name}.json": json.dumps(body).encode() for name, body in policy.items()}
    listed = [{"path": path, "sha256": sha256(data).hexdigest(), "bytes": len(data)} for path, data in files.items()]
    manifest = canonical_bytes({"version": version, "files": listed})
    for path, data in {**files, "manifest.json": manifest}.items():
        objects.create(f"registry/versions/{version}/{path}", data)
    return sha256(manifest).hexdigest()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, make_record: MakeRecord) -> tuple[Path, int]:
    """A folder with fifteen months of a record in it, and the checkpoint that covered the answer to 100001."""
    home = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        bank = Bank(make_record(home), patch)
        digest = register(bank, V143, "the words of then", 0.9)
        bank.release(seoul("2026-04-13 03:05"), V143, manifest_sha256=digest)
        bank.commit(seoul("2026-04-13 03:10"))
        bank.crowd(seoul("2026-04-15 09:00"), V143, 40)
        bank.decide(seoul("2026-04-15 14:37"), "100001", V143, prediction={"manifest_hash": digest})
        then = bank.commit(seoul("2026-04-15 14:38"))
        newer = register(bank, V201, "the words of today", 0.5)
        bank.release(seoul("2026-10-05 03:05"), V201, manifest_sha256=newer)
        for month in ("2026-06", "2026-08", "2026-10", "2027-01", "2027-04", "2027-07"):
            bank.crowd(seoul(f"{month}-20 10:00"), V201 if month > "2026-09" else V143, 60)
            bank.operation(seoul(f"{month}-20 12:00"), "threshold_change", details={"changes": []}, reason=month)
            bank.commit(seoul(f"{month}-20 23:00"))
    return home, then


@pytest.fixture
def told(history: tuple[Path, int], tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """The bank fifteen months after the answer to customer 100001; a copy of its own."""
    home, then = history
    shutil.copytree(home, tmp_path / "home")
    bank = Bank(make_record(tmp_path / "home"), monkeypatch, served=1_000, then=then)
    monkeypatch.setattr(cli.settings, "load", lambda: bank.settings)
    bank.at(seoul("2027-07-21 10:00"))
    return bank


def asked(folder: Path, *more: str) -> list[str]:
    said = ["--case", "CASE-2027-31", "--reason", "the court asks for it", "--out", str(folder)]
    return ["dispute", "--customer", "100001", "--on", "2026-04-15", *said, *more]


def test_one_command_answers_fifteen_months_later(
    told: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(asked(tmp_path / "out")) == 0
    assert "1 answers, 6 entries as of checkpoint 8: VERIFIED" in capsys.readouterr().out
    (one,) = json.loads((tmp_path / "out" / "answer.json").read_bytes())["answers"]
    assert one["model"]["model_version"] == one["model"]["pointer_then"] == V143
    assert one["model"]["verdicts"][0]["approvals"][0]["actor_ref"] == "risk-1"
    assert one["why"]["top_features"][0]["words"]["en"] == "the words of then"
    assert one["safeguards"]["limits_then"]["review"]["max_entropy"] == "0.900000000"
    assert one["safeguards"]["latest_before"] == []
    assert (one["checkpoint"]["n"], one["checkpoint"]["late"]) == (told.then, False)
    assert one["checkpoint"]["after_us"] < 60_000_000
    assert one["holes"] == []
    page = (tmp_path / "out" / "page.html").read_text()
    for said in ("2026-04-15 14:37:00 KST", "장기 정기예금", V143, "the words of then", ">VERIFIED<"):
        assert said in page
    for unsaid in ("100001", V201, "the words of today", "http", "<script"):
        assert unsaid not in page


def test_an_answer_of_this_hour_is_covered_before_it_is_asked_about(
    told: Bank, when: When, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told.decide(when("2027-07-21 09:00"), "100001", V201)
    told.at(when("2027-07-21 10:00"))
    asks = [word.replace("2026-04-15", "2027-07-21") for word in asked(tmp_path / "out")]
    assert cli.main([*asks, "--as-of-checkpoint", "8"]) == 0
    assert "0 answers" in capsys.readouterr().out
    assert cli.main(asks) == 0
    assert "1 answers" in capsys.readouterr().out


def test_a_stranger_can_check_the_rows_with_python_alone(told: Bank, tmp_path: Path) -> None:
    cli.main(asked(tmp_path / "out"))
    proof = tmp_path / "out" / "proof"
    command = [sys.executable, "-I", str(proof / "offline_verifier.py"), "bundle.json", "checkpoint.pub"]
    said = subprocess.run(command, cwd=proof, capture_output=True, text=True, check=False)
    assert "PROVEN" in said.stdout
    rows = json.loads((proof / "bundle.json").read_bytes())["rows"]
    answer = json.loads((tmp_path / "out" / "answer.json").read_bytes())
    assert [row["line"]["entry_hash"] for row in rows] == [entry["entry_hash"] for entry in answer["entries"]]
    (proof / "bundle.json").write_bytes((proof / "bundle.json").read_bytes().replace(b"deposit_long", b"deposit_last"))
    assert subprocess.run(command, cwd=proof, capture_output=True, check=False).returncode == 1


def test_the_whole_record_verifies_with_the_question_in_it(told: Bank, when: When, tmp_path: Path) -> None:
    cli.main(asked(tmp_path / "out"))
    told.commit(when("2027-07-21 11:00"))
    report = session.verification(told.settings)
    assert report.verdict == "INTACT"
    assert report.rows_checked > 1_600


def test_the_answer_of_then_has_the_same_bytes_today(told: Bank, when: When, tmp_path: Path) -> None:
    then = ("--as-of-checkpoint", str(told.then))
    cli.main(asked(tmp_path / "one", *then))
    told.crowd(when("2027-07-22 10:00"), V201, 5)
    told.commit(when("2027-07-22 11:00"))
    cli.main(asked(tmp_path / "two", *then))
    one, two = ((tmp_path / name / "answer.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_package_that_was_changed_since_is_a_hole_and_not_quoted(told: Bank, tmp_path: Path) -> None:
    key = f"registry/versions/{V143}/policy/templates.json"
    objects = open_objects(told.settings.place.root)
    objects.put(key, objects.get(key).replace(b"the words of then", b"nicer words"))
    assert cli.main(asked(tmp_path / "out")) == 0
    (one,) = json.loads((tmp_path / "out" / "answer.json").read_bytes())["answers"]
    (hole,) = one["holes"]
    assert key in hole
    assert one["why"]["top_features"][0]["words"] is None


def test_a_rewritten_history_is_not_answered(told: Bank, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody signs another second checkpoint with a key of their own."""
    anchors = open_objects(told.settings.place.anchors)
    signed = anchors.get("ckpt/000000000002")
    other = KeyFolder(tmp_path / "thief")
    other.create_secrets(told.settings.audit.key_id)
    signing.create_keys(other)
    anchors.put("ckpt/000000000002", note.sign(other, note.opened(KeyFolder(told.settings.place.keys), signed)))
    assert cli.main(asked(tmp_path / "out")) == 2
    assert "000000000002" in capsys.readouterr().err
    assert not (tmp_path / "out" / "answer.json").exists()
