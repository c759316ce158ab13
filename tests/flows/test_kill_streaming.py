"""kill -9 of the front process at random moments of streaming; the long form is benchmarks/kill_streaming.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers.killed_front import round_of

KILLS = 4


@pytest.mark.loops("asyncio")
async def test_a_killed_program_loses_at_most_the_last_second_and_its_replies_go_on(tmp_path: Path) -> None:
    """The seed is not fixed on purpose: the claim is about any moment."""
    chance = random.Random()
    for _ in range(KILLS):
        done = await round_of(tmp_path, chance)
        assert done.received > 0
