"""How worker processes are started; the only place that builds their command lines.

Invariant: a command line works from any working directory. Workers are named by strings, so the front process never
imports one.
"""

from __future__ import annotations

import sys
from pathlib import Path

MAIN = Path(__file__).resolve().parent.parent / "main.py"  # beside `app` in the source tree and when installed


def worker_argv(name: str) -> list[str]:
    """The command line of the child worker app.workers.<name>_worker."""
    if getattr(sys, "frozen", False):  # a frozen build has no main.py: its program is the door
        return [sys.executable, "--worker", name]
    return [sys.executable, str(MAIN), "--worker", name]


def detached_argv(name: str, run_dir: Path) -> list[str]:
    """The command line of the detached worker `name` for the run that belongs to `run_dir`."""
    return [*worker_argv(name), str(run_dir.resolve())]
