"""How quantities are written for people: bytes, speeds, durations, counts. Decimal units, as disks do."""

from __future__ import annotations

from core.translation import say


def size(count: float) -> str:
    """1 MB is 1,000,000 bytes: "98 MB", "3.1 GB"."""
    value = float(count)
    units = ["B", "kB", "MB", "GB", "TB"]
    while abs(value) >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    unit = units[0]
    digits = 0 if unit in ("B", "kB") or value >= 99.5 else 1
    return f"{value:.{digits}f} {unit}"


def speed(bytes_per_s: float) -> str:
    return f"{size(bytes_per_s)}/s"


def flops(per_s: float) -> str:
    """Operations a second: "12.4 TFLOP/s", "180 GFLOP/s"."""
    return f"{per_s / 1e12:.3g} TFLOP/s" if per_s >= 1e12 else f"{per_s / 1e9:.3g} GFLOP/s"


def duration(seconds: float) -> str:
    """Rounded for a glance: "0.21 s", "12 s", "3 min", "2 h 5 min"."""
    if seconds < 9.95:
        return say("figure.seconds", count=f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}")
    if seconds < 99.5:
        return say("figure.seconds", count=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 60:
        return say("figure.minutes", count=minutes)
    return say("figure.hours", hours=minutes // 60, minutes=minutes % 60)


def precision(name: str) -> str:
    """As people write it: "bfloat16" is BF16."""
    known = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32", "int8": "Int8", "int4": "Int4", "nf4": "NF4"}
    return known.get(name, name)


def count(number: int) -> str:
    return f"{number:,}"


def parameters(number: int) -> str:
    """ "135 M", "7.7 B"; few of them exactly, "–" where they are not known."""
    if number >= 999_500_000:
        return f"{number / 1e9:.1f} B"
    if number >= 9_950_000:
        return f"{number / 1e6:.0f} M"
    if number >= 100_000:
        return f"{number / 1e6:.1f} M"
    return count(number) if number else "–"


def rough_count(number: int) -> str:
    """For a glance: "950", "46 k", "1.2 M"."""
    for limit, unit in ((999_500_000, "G"), (999_500, "M"), (9_995, "k")):
        if number >= limit:
            value = number / {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{number:,}"
