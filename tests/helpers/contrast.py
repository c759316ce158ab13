"""WCAG contrast of every pair of tokens that meets on screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.ui.tokens import DARK, LIGHT, Colors


@dataclass(frozen=True, slots=True)
class Pair:
    """One foreground on one background with the ratio it must reach."""

    theme: str
    front: str
    back: str
    ratio: float
    needed: float

    @property
    def holds(self) -> bool:
        return self.ratio >= self.needed


def pairs() -> Iterator[Pair]:
    """Every checked pair of both themes."""
    for theme, c in (("light", LIGHT), ("dark", DARK)):
        for front, back, needed in _wanted():
            ground = _over(_value(c, back), c.surface)
            yield Pair(theme, front, back, ratio(_over(_value(c, front), ground), ground), needed)


def ratio(front: str, back: str) -> float:
    high, low = sorted((_luminance(front), _luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _wanted() -> Iterator[tuple[str, str, float]]:
    grounds = ("canvas", "sidebar", "surface", "raised", "sunken", "bubble")
    for back in grounds:
        for front in ("text", "text_soft", "text_muted"):
            yield front, back, 4.5
        for front in ("accent_text", "ok", "warn", "bad", "info"):
            yield front, back, 4.5
        yield "focus", back, 3.0
    for tone in ("ok", "warn", "bad", "info"):
        yield tone, f"{tone}_soft", 4.5
        yield "text", f"{tone}_soft", 4.5
    yield "accent_text", "accent_soft", 4.5
    yield "text_muted", "accent_soft", 4.5
    for back in ("accent", "accent_hover", "accent_pressed"):
        yield "on_accent", back, 4.5
    for name in ("code_keyword", "code_string", "code_number", "code_comment", "code_name"):
        yield name, "sunken", 4.5
    for back in ("surface", "raised", "sidebar"):
        yield "control", back, 3.0
        for index in range(7):
            yield f"series.{index}", back, 3.0


def _value(c: Colors, role: str) -> str:
    if role.startswith("series."):
        return c.series[int(role.split(".")[1])]
    return str(getattr(c, role))


def _channels(value: str) -> tuple[float, float, float, float]:
    digits = value.lstrip("#")
    alpha = int(digits[:2], 16) / 255 if len(digits) == 8 else 1.0
    rgb = digits[-6:]
    return int(rgb[:2], 16) / 255, int(rgb[2:4], 16) / 255, int(rgb[4:], 16) / 255, alpha


def _over(front: str, back: str) -> str:
    r, g, b, alpha = _channels(front)
    below = _channels(back)
    mixed = [round(255 * (top * alpha + under * (1 - alpha))) for top, under in zip((r, g, b), below[:3], strict=True)]
    return "#" + "".join(f"{part:02X}" for part in mixed)


def _luminance(value: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _channels(value)[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
