"""A reply while it grows on a screen: what is redrawn, and what is there in the end."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from pyte.modes import LNM

from app.cli.terminal.region import Region
from app.cli.terminal.screen import TerminalScreen
from core.protocol.messages import TextDelta
from tests.helpers.waiting import until

LATE = "See [the page][1].\n\nMore.\n\nEven more.\n\n", "[1]: http://late.example/x\n\nEnd."


def screen_of(written: str) -> list[str]:
    screen = pyte.Screen(80, 24)
    screen.set_mode(LNM)
    pyte.Stream(screen).feed(written)
    return "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")


@pytest.mark.loops("asyncio")
async def test_a_target_that_comes_after_its_link_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    screen = TerminalScreen(folds=True)
    screen.show(TextDelta("", LATE[0]))
    await until(lambda: "More." in out.getvalue())
    screen.show(TextDelta("", LATE[1]))
    screen.end()
    assert screen_of(out.getvalue()) == [
        "See [the page][1].", "", "More.", "", "Even more.", "", "End.", "", "[1]: http://late.example/x"
    ]  # fmt: skip


def test_what_may_change_is_redrawn_and_what_is_fixed_stays() -> None:
    out = io.StringIO()
    region, dice = Region(out), random.Random(2)
    fixed: list[str] = []
    while len(fixed) < 15:
        new = [f"fixed {len(fixed) + index}" for index in range(dice.choice([0, 0, 0, 1, 3]))]
        volatile = [f"{dice.randrange(3)} of {index}" for index in range(dice.randrange(6))]
        region.update(new, volatile)
        fixed += new
        assert screen_of(out.getvalue()) == ([*fixed, *volatile] or [""])
