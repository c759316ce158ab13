"""From a file with faults to a merged model in the real program, through a kill of the window; fewer steps than users
take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = [
    "fetch-starter", "mend", "start-lora", "pause", "half-trained", "go-on", "after-a-kill", "compare", "merge",
    "merged-chat", "qlora",
]  # fmt: skip


@pytest.mark.timeout(420)
def test_a_fine_tune_from_a_dropped_file_to_a_merged_model(tmp_path: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "QT_QPA_PLATFORM")}
    command = [sys.executable, str(ROOT / "main.py"), "tour", "--finetune", "--out", str(tmp_path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=variables | {"QWEN_WORKBENCH_TOUR_STEPS": "10"}, timeout=400
    )
    report = json.loads((tmp_path / "tour.json").read_text("utf-8"))
    assert ended.returncode == 0 and report["ok"], report
    assert [step["name"] for step in report["steps"]] == STEPS
    figures = {step["name"]: step["figures"] for step in report["steps"]}
    assert figures["mend"] == {"rows": 197, "faults": 7, "rows_after": 197}
    assert "Aurora" in figures["compare"]["learned"] and "Aurora" not in figures["compare"]["base"]
    assert "Aurora" in figures["merged-chat"]["answer"] and figures["after-a-kill"]["steps"] == 10
    assert figures["qlora"]["last_loss"] < figures["qlora"]["first_loss"]
