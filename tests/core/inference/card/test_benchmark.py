"""The script for a card runs to its end without one, so that none of a card's few minutes is lost to a slip in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import card


def test_every_row_that_needs_no_card_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [row for row in card.ROWS if row != "load"]  # which takes a process of its own, and its seconds
    out = tmp_path / "card.json"
    options = ["--shape", "tiny", "--device", "cpu", "--quick", "--out", str(out), "--rows", *rows]
    monkeypatch.setattr(sys, "argv", ["card", *options])
    card.main()
    report = json.loads(capsys.readouterr().out)
    assert report["left_out"] == [] and {"bandwidth", "flops"} <= set(report["probe"])
    assert {name for name, row in report["rows"].items() if "failed" in row} == set()
    for weights in ("bf16", "int4"):
        assert report["rows"][f"tiny {weights}"]["decoder"] == "CardDecoder"
        assert report["rows"][f"tiny {weights} decode"]["generate_32"]["share"] > 0
        assert report["rows"][f"tiny {weights} guesses"]["same_tokens"] == 32
        assert report["rows"][f"tiny {weights} int8_kv"]["bytes_ratio"] == pytest.approx((2 * 16 + 10) / (4 * 16))
    assert set(json.loads(out.read_text())["rows"]) <= set(report["rows"])


def test_what_there_is_no_time_for_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["card", "--shape", "tiny", "--device", "cpu", "--minutes", "0"])
    card.main()
    assert json.loads(capsys.readouterr().out)["left_out"] == ["kernels", "sweep", "tiny bf16", "tiny int4"]
