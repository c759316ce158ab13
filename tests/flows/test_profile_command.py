"""`qwen-workbench profile` as people and scripts call it, with the real starter model."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli import entry
from app.services import profiling
from core import translation
from tests.helpers import fake_profile_worker

ROOT = Path(__file__).parents[2]


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "main.py"), "profile", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=110, stdin=subprocess.DEVNULL)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    return found


def here(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """In this process: what was printed, and what was said on standard error."""
    language = translation.language()
    try:
        assert entry.run(["profile", *arguments]) == code
    finally:
        translation.use(language)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.out, shown.err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_two_forms_of_the_starter_side_by_side(
    home_with_starter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = tmp_path / "table.csv"
    asked = ("-m", "starter", "--weights", "bf16,int8", "--prompt", "16", "--new", "4", "--repeats", "1")
    events = lines(run(*asked, "--json", "--csv", str(csv)).stdout)
    assert [event["event"] for event in events] == ["began", "limits", "cell", "cell", "ended"]
    plain, packed = events[2], events[3]
    assert (plain["state"], packed["state"], packed["inference"]["weights"]) == ("done", "done", "int8")
    assert packed["inference"]["weight_bytes"] < plain["inference"]["weight_bytes"]
    for cell in (plain, packed):
        assert cell["inference"]["decoder"] == "dense" and cell["inference"]["decode_tokens_per_s"] > 0
        assert abs(cell["estimate_error"]) < 0.15
        assert 0 < cell["bandwidth_share"] < 1.5
        assert cell["command"].startswith("qwen-workbench profile -m starter --weights ")
    assert csv.read_text().count("\n") == 3
    number = str(events[0]["id"])
    assert json.loads(here(capsys, "show", number, "--json")[0])["results"][0]["key"] == plain["key"]
    compared = json.loads(here(capsys, "compare", number, number, "--json")[0])
    assert {row["ratio"] for row in compared["cells"]} == {1.0}
    shown = here(capsys, "show", number)[0]
    assert "starter" in shown and "Int8" in shown and "Decode /s" in shown
    assert "| starter | int8 |" in here(capsys, "export", number)[0]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--architecture", "tiny", "--weights", "bf17"], 2, "bf17"),
        ([], 2, "-m"),
        (["--architecture", "tiny", "--prompt", "many"], 2, "many"),
        (["-m", "no-such-model"], 1, "no-such-model"),
        (["--architecture", "8T"], 1, "8T"),
        (["--architecture", "tiny", "--device", "cpu", "--snapshot"], 1, "card"),
        (["show", "7"], 1, "7"),
        (["resume", "7"], 1, "7"),
        (["--architecture", "72B", "--weights", "fp32", "--device", "cpu"], 1, "free"),
        (["-m", "."], 1, "config.json"),
        (["--architecture", "tiny", "--device", "cuda"], 2, "known are auto, cpu"),
        (["--architecture", "tiny", "--prompt", "99999999999"], 2, "too large"),
        (["--architecture", "tiny", "--only-quality", "--new", "5"], 2, "--new"),
        (["--architecture", "tiny", "--length", "5"], 2, "--train"),
        (["--architecture", "tiny", "--csv", "-"], 2, "file"),
        (["--architecture", "tiny", "--csv", "/no/such/folder/table.csv"], 1, "Nothing was measured yet"),
        (["show", "abc"], 2, "no number of a table"),
        (["delete", "7"], 1, "7"),
    ],
)
def test_wrong_words_and_what_cannot_be_run_are_told(
    arguments: list[str], code: int, told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in here(capsys, *arguments, code=code)[1]


def test_what_was_tried_in_vain_is_told_once_and_by_the_exit_code(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(profiling, "worker_argv", lambda name: fake_profile_worker.ARGV)
    table = ("--architecture", "tiny", "--prompt", "4", "--new", "4", "--weights")
    out, err = here(capsys, *table, "bf16,int8", code=1)
    assert err.count("crashed") == 1 and "crashed" not in out and "1 of 2 cells" in err
    assert "done, 1 failed" in out and "done, 1 failed" in here(capsys, "list")[0]
    assert "crashed" in here(capsys, "show", "1")[0]
    out, err = here(capsys, *table, "bf16,nf4")  # which no random weights can have: not begun is no failure
    assert "NF4" in err and "1/2" in here(capsys, "list")[0]
    assert "1 cell, in" in here(capsys, *table, "fp32")[1]
    rows = json.loads(here(capsys, "compare", "1", "2", "--json")[0])["cells"]
    assert {row["verdict"] for row in rows} == {"same"}
    assert "+0.0%" in here(capsys, "compare", "1", "2")[0]
    assert "no cell in common" in here(capsys, "compare", "1", "3", code=1)[1]
    assert "400 MB" in here(capsys, "export", "1")[0]
    assert "is deleted" in here(capsys, "delete", "3")[0]


def test_a_table_that_cannot_be_written_is_shown_all_the_same(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(profiling, "worker_argv", lambda name: fake_profile_worker.ARGV)
    monkeypatch.setattr(profiling, "replace_file", full)
    asked = ("--architecture", "tiny", "--prompt", "4", "--new", "4", "--csv", str(tmp_path / "table.csv"))
    out, err = here(capsys, *asked, code=1)
    assert "50.0" in out and "No space left" in err


def test_without_a_table_the_lists_are_empty(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys, "list")[0].strip()
    assert json.loads(here(capsys, "list", "--json")[0]) == {"runs": []}
