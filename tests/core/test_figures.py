"""Quantities as people read them."""

from __future__ import annotations

import pytest

from core import figures, translation


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (98_333_111, "98.3 MB"), (3_100_000_000, "3.1 GB"), (999_600, "1.0 MB"),
     (14_200_000_000_000, "14.2 TB"), (1500, "2 kB"), (250_000_000, "250 MB")],
)  # fmt: skip
def test_size(count: float, words: str) -> None:
    assert figures.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.213, "0.21 s"), (6.24, "6.2 s"), (12.4, "12 s"), (100, "2 min"), (7500, "2 h 5 min")]
)
def test_duration(seconds: float, words: str) -> None:
    translation.use("en")
    assert figures.duration(seconds) == words


def test_parameters() -> None:
    assert figures.parameters(134_515_008) == "135 M" and figures.parameters(7_721_324_544) == "7.7 B"
    assert [figures.parameters(n) for n in (9_949_999, 123_456, 94_720, 0)] == ["9.9 M", "0.1 M", "94,720", "–"]


def test_one_thing_is_not_many() -> None:
    translation.use("en")
    said = [translation.say("transcript.tokens", count=count) for count in ("0", "1", "1,000")]
    assert said == ["0 tokens", "1 token", "1,000 tokens"]
