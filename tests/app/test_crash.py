"""A program that died tells so once at the next start; one that ended or still runs does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import crash

ROOT = Path(__file__).parents[2]
VICTIM = """
import ctypes, os, signal, sys, time
from app import crash
session = crash.Session(); session.begin(); crash.install(session)
print("up", flush=True)
if sys.argv[1] == "segfault": ctypes.string_at(0)
if sys.argv[1] == "clean": session.end(); sys.exit(0)
time.sleep(60)
"""


def victim(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", VICTIM, how], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout and process.stdout.readline() == "up\n"
    return process


def test_a_segfault_leaves_its_stack(home: Path) -> None:
    with victim("segfault") as process:
        process.wait(20)
    found = crash.left_behind()
    assert found and found.has_trace and "Segmentation fault" in found.text
    assert crash.left_behind() is None


def test_a_kill_is_told_without_a_stack(home: Path) -> None:
    with victim("waits") as process:
        assert crash.left_behind() is None, "it still runs"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    found = crash.left_behind()
    assert found and not found.has_trace


def test_a_clean_end_leaves_nothing(home: Path) -> None:
    with victim("clean") as process:
        process.wait(20)
    assert crash.left_behind() is None


@pytest.mark.errors_logged
def test_the_report_of_a_bug_holds_the_stack_and_no_secret(home: Path) -> None:
    try:
        raise ValueError("token=hf_AbCdEfGhIjKlMnOp was refused")
    except ValueError as error:
        file = crash.save_report(error)
    text = file.read_text("utf-8")
    assert "ValueError" in text and "test_crash.py" in text and "AbCdEfGhIjKl" not in text
