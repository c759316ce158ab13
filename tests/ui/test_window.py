"""The window as a whole: one per home, alive after its first paint, every key bound, nothing clipped, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

GUIDED = """
import asyncio, json, os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import shortcuts, start
from app.ui.tour import chat_page, settle, until
from tests.helpers.audit import faults

VIEWS = {"settings": ("preferences", "machine", "log"), "models": ("installed", "discover", "downloads")}

async def guide(window, context):
    report = {"faults": [], "unbound": []}
    for language in ("en", "zh"):
        window.preferences.change(language=language)
        for size in ((1000, 640), (1440, 900), (1920, 1200)):
            window.resize(*size)
            await chat_page(window)
            for page in ("chat", "models", "finetune", "profiler", "server", "tokenizer", "help", "settings"):
                shown = window.go(page)
                for view in VIEWS.get(page, ("",)):
                    if view:
                        shown.show_view(view)
                    if view == "discover":
                        await until(lambda: shown.discover.is_ready, 10)
                    await settle(10)
                    report["faults"] += [f"{language} {size} {page} {view}: {fault}" for fault in faults(window)]
    report["unbound"] = [f"{k.place} {k.action}" for k in shortcuts.TABLE if (k.place, k.action) not in shortcuts.bound]
    print(json.dumps(report), flush=True)

sys.exit(start.open_window(guide=guide))
"""


def run(code: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QWEN_WORKBENCH_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=110, env=environment,
    )  # fmt: skip


def test_every_page_in_both_languages_and_three_sizes(tmp_path: Path) -> None:
    import json

    result = run(GUIDED, tmp_path / "home")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report == {"faults": [], "unbound": []}


SECOND = """
import os, subprocess, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import start
from app.ui.tour import until

async def guide(window, context):
    asked = []
    window.come_forward = lambda: asked.append(True)
    import asyncio
    process = await asyncio.create_subprocess_exec(sys.executable, "main.py")
    code = await process.wait()
    await until(lambda: True, 1)
    print(code, flush=True)

sys.exit(start.open_window(guide=guide))
"""


def test_a_second_start_ends_at_once(tmp_path: Path) -> None:
    result = run(SECOND, tmp_path / "home")
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_a_window_that_was_killed_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    code = """
import os, signal, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import start
start.open_window(lambda window: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert run(code, tmp_path / "home").returncode == -9
    again = code.replace("os.kill(os.getpid(), signal.SIGKILL)", "(print('painted', flush=True), window.close())")
    result = run(again, tmp_path / "home")
    assert result.stdout == "painted\n"


def test_closing_right_after_the_first_paint_ends_cleanly(tmp_path: Path) -> None:
    code = """
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import start
sys.exit(start.open_window(lambda window: window.close()))
"""
    result = run(code, tmp_path / "home")
    assert (result.returncode, result.stderr) == (0, "")
    assert not list((tmp_path / "home" / "logs").glob("*.session"))
