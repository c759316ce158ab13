"""`qwen-workbench profile` as people and scripts call it, with the real starter model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli import entry
from core import translation

ROOT = Path(__file__).parents[2]


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "main.py"), "profile", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=110, stdin=subprocess.DEVNULL)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    return found


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_two_forms_of_the_starter_side_by_side(home_with_starter: Path, tmp_path: Path) -> None:
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
    assert json.loads(run("show", number, "--json").stdout)["results"][0]["key"] == plain["key"]
    compared = json.loads(run("compare", number, number, "--json").stdout)
    assert {row["ratio"] for row in compared["cells"]} == {1.0}
    shown = run("show", number).stdout
    assert "starter" in shown and "Int8" in shown and "Decode /s" in shown
    assert "| starter | int8 |" in run("export", number).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--architecture", "tiny", "--weights", "bf17"], 2, "bf17"),
        ([], 2, "-m"),
        (["--architecture", "tiny", "--prompt", "many"], 2, "many"),
        (["-m", "no-such-model"], 1, "no-such-model"),
        (["--architecture", "8T"], 1, "8T"),
        (["show", "7"], 1, "7"),
        (["resume", "7"], 1, "7"),
        (["--architecture", "72B", "--weights", "fp32", "--device", "cpu"], 1, "free"),
    ],
)
def test_wrong_words_and_what_cannot_be_run_are_told(
    arguments: list[str], code: int, told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    language = translation.language()
    try:
        assert entry.run(["profile", *arguments]) == code
    finally:
        translation.use(language)
    shown = capsys.readouterr()
    assert told in shown.err and "Traceback" not in shown.err


def test_without_a_table_the_lists_are_empty(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.run(["profile", "list"]) == 0
    assert capsys.readouterr().out.strip()
    assert entry.run(["profile", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}
