"""Where the lines of a chart's grid stand, and how its numbers are written.

Invariant: ticks are round numbers within the range they are asked for, and every one can be told from its neighbours.
"""

from __future__ import annotations

import math
from itertools import pairwise

ROUND = (1.0, 2.0, 5.0, 10.0)


def linear(low: float, high: float, most: int, least: float = 0.0) -> list[float]:
    """At most about `most` multiples of 1, 2 or 5 times a power of ten, no nearer to each other than `least`."""
    gap = max(spacing(low, high, most), least)
    first, last = math.ceil(low / gap - 1e-9), math.floor(high / gap + 1e-9)
    return [number * gap for number in range(first, last + 1)]


def spacing(low: float, high: float, most: int) -> float:
    rough = max(high - low, 1e-300) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in ROUND if factor * power >= rough * (1 - 1e-9))


def logarithmic(low: float, high: float, most: int) -> list[float]:
    """The same for the logarithms `low` and `high`, as logarithms: powers of ten, and 2 and 5 if there is room."""
    decades = high - low
    if decades < 1:
        return [math.log10(value) for value in linear(10**low, 10**high, most) if value > 0]
    stride = max(1, math.ceil(decades / max(1, most)))
    factors = (1, 2, 5) if decades * 3 <= most else (1,)
    powers = range(math.floor(low / stride) * stride, math.ceil(high) + 1, stride)
    places = [power + math.log10(factor) for power in powers for factor in factors]
    return [place for place in places if low - 1e-9 <= place <= high + 1e-9]


def labels(values: list[float]) -> list[str]:
    """Numbers of one axis, all with as many digits as their distance asks for."""
    if not values:
        return []
    gap = min((b - a for a, b in pairwise(values)), default=abs(values[0]) or 1.0)
    largest = max(abs(value) for value in values)
    if largest < 1e-3 or largest >= 1e7:
        digits = max(0, math.floor(math.log10(largest or 1)) - math.floor(math.log10(gap) + 1e-9))
        return [_short(f"{value:.{digits}e}") if abs(value) > gap / 1e6 else "0" for value in values]
    digits = max(0, -math.floor(math.log10(gap) + 1e-9))
    return [f"{value:,.{digits}f}".replace("-", "−") for value in values]


def written(value: float) -> str:
    """Four digits that count: "1.118", "2.000e-5", "12,500"."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        return _short(f"{value:.3e}")
    shown = f"{value:,.0f}" if size >= 1000 or not size else f"{value:#.4g}".rstrip(".")
    return shown.replace("-", "−")


def step(value: float) -> str:
    """A step is whole; a second may not be."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _short(shown: str) -> str:
    mantissa, _, exponent = shown.partition("e")
    return f"{mantissa.replace('-', '−')}e{int(exponent)}"
