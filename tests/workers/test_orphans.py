"""The front process dies by kill -9: nothing of a child worker stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.waiting import is_dead, wait_until

ROOT = Path(__file__).parents[2]

FRONT = """
import asyncio, sys
from tests.workers.children import *
from tests.helpers.fake_worker import fake

async def main():
    w = worker()
    await w.start()
    async for event in w.run(fake(sys.argv[1], rate=20)):
        text = getattr(event, "text", "")
        print(pid(w), text if text.isdigit() else "", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("job", ["slow", "deaf", "parent", "chatty_parent", "frozen"])
def test_death_of_the_front_ends_the_worker_and_its_children(job: str) -> None:
    """`frozen` holds the GIL for 20 s and reads nothing: only the kernel can end it."""
    with subprocess.Popen([sys.executable, "-c", FRONT, job], stdout=subprocess.PIPE, text=True, cwd=ROOT) as front:
        assert front.stdout
        pids = [int(word) for word in front.stdout.readline().split()]
        front.kill()
    wait_until(lambda: all(is_dead(pid) for pid in pids), 6.0)
