"""A reply while it grows on a screen: what is redrawn, and what is there in the end."""

from __future__ import annotations

import io
import random
import re

import pyte
import pytest
from pyte.modes import LNM

from app.cli.terminal.region import Region
from app.cli.terminal.screen import TerminalScreen
from app.cli.terminal.text import wrapped
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


class Reflowing:
    """A terminal that breaks its lines anew when it is made narrower, as most do, and keeps what leaves its top."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[str] = []

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows

    def write(self, text: str) -> None:
        if found := re.match(r"\033\[(\d+)A\r", text):
            text = text[found.end() :]
            up = min(int(found[1]), self.rows - 1)
            while up > 0:
                broken = self._broken(self.lines.pop())
                if len(broken) > up:
                    self.lines += broken[:-up]
                up -= len(broken)
        self.lines += text.removeprefix("\033[J").split("\n")[:-1]

    def _broken(self, line: str) -> list[str]:
        return [line[at : at + self.columns] for at in range(0, max(len(line), 1), self.columns)]

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("rows", [10, 30])
def test_a_terminal_that_is_made_smaller_shows_nothing_many_times(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Reflowing(40, 40)
    monkeypatch.setattr("app.cli.terminal.region.size", lambda stream: (terminal.columns, terminal.rows))
    region = Region(terminal)  # type: ignore[arg-type]
    words = [f"word{number}" for number in range(120)]

    def lines(count: int) -> list[str]:
        return wrapped(" ".join(words[:count]), terminal.columns - 1)

    region.update(["before"], lines(80))
    for count, columns in ((90, 30), (95, 24), (100, 20), (110, 24)):
        terminal.resize(columns, rows)
        region.update([], lines(count))
    region.update(lines(120), ["after"])
    found = re.findall(r"word\d+|before|after", " ".join(terminal.lines))
    assert list(dict.fromkeys(found)) == ["before", *words, "after"]  # all, in their order
    again = len(found) - len(set(found))
    assert again <= 8, "parts of lines at the edge of the screen"


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
