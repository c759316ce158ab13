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
