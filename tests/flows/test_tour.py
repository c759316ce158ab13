"""The main job in the real program: fetch, ask, watch it stream, start again; offscreen and on a screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def screen() -> Iterator[str]:
    """A virtual screen; the server picks a free number and tells it."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as told:
                yield f":{told.readline().strip()}"
        finally:
            server.terminate()


def tour(out: Path, **environment: str) -> dict[str, object]:
    variables = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "QT_QPA_PLATFORM")}
    command = [sys.executable, str(ROOT / "main.py"), "tour", "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, env=variables | environment, timeout=280)
    report: dict[str, object] = json.loads((out / "tour.json").read_text("utf-8"))
    assert (result.returncode, result.stderr) == (0, ""), report
    return report


def check(out: Path, report: dict[str, object]) -> None:
    assert report["ok"] is True
    steps = report["steps"]
    assert isinstance(steps, list)
    assert [step["name"] for step in steps] == [
        "first-start", "fetch-starter", "ask-1", "ask-2", "search", "looks", "profile", "restart", "ask-3",
    ]  # fmt: skip
    assert all((out / step["picture"]).stat().st_size > 10_000 for step in steps)
    asked = [step["figures"] for step in steps if step["name"].startswith("ask")]
    assert all(figures["new_tokens"] > 0 and figures["tokens_per_s"] > 0 for figures in asked)
    assert asked[1]["reused_tokens"] > 0, "the second question reads the first turn from the cache"


@pytest.mark.timeout(300)
def test_offscreen(tmp_path: Path) -> None:
    check(tmp_path, tour(tmp_path))


@pytest.mark.timeout(300)
def test_on_a_screen(tmp_path: Path) -> None:
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed and could not be (packaging/system-deps.sh --test)")
    with screen() as display:
        check(tmp_path, tour(tmp_path, DISPLAY=display))
