"""A download in words: from where, how far, how fast, how long still, and what keeps it.

Invariant: a figure that is not known is left out; the words of one state are as long at each update as digits allow.
"""

from __future__ import annotations

import time

from app.services.downloads import Item
from app.services.transfers import Transfer
from app.ui.models.offer_words import place_words
from core import figures
from core.translation import catalogue, language, say

GAP = "  ·  "


def transfer_words(transfer: Transfer) -> str:
    """Of any job of the library: how far, how fast, how long still."""
    parts = [_stage(transfer)] if transfer.stage else []
    if transfer.is_stalled:
        parts = [say("downloads.stalled")]
    if transfer.total and transfer.unit == "bytes":
        parts.append(of_words(transfer.done, transfer.total))
    return GAP.join(part for part in (*parts, *_pace(transfer)) if part)


def source_words(item: Item) -> str:
    """`from ModelScope`; of several the one that is asked first."""
    sources = item.record.sources
    place = place_words(sources[0].place) if sources else say("discover.package")
    return say("downloads.from", place=place)


def amount_words(item: Item) -> str:
    """`6.1 of 9.9 GB · 47.8 MB/s · 1 min left`, as far as it is known."""
    if item.state == "done":
        return figures.size(item.total_bytes) if item.total_bytes else ""
    parts = []
    if item.total_bytes:
        parts.append(of_words(item.done_bytes, item.total_bytes))
    elif item.done_bytes:
        parts.append(figures.size(item.done_bytes))
    if item.transfer is not None and item.transfer.stage == "downloading":
        parts += _pace(item.transfer)
    return GAP.join(parts)


def state_words(item: Item) -> str:
    """What it is at; without an error's sentence."""
    if item.transfer is not None and is_stalled(item):
        return say("downloads.stalled")
    if item.state == "running" and item.transfer is not None and item.transfer.stage:
        words = _stage(item.transfer)
        files = item.transfer.files
        if item.transfer.stage == "downloading" and len(files) > 1:
            whole = sum(file.done >= file.total > 0 for file in files.values())
            words += GAP + say("downloads.files_done", done=whole, total=len(files))
        return words
    if item.again_at is not None:
        seconds = max(1, round(item.again_at - time.monotonic()))
        key = "downloads.died_again_in" if item.record.error_code.startswith("worker_") else "downloads.again_in"
        return say(key, time=figures.duration(max(10, seconds) if seconds >= 10 else seconds))
    if item.state == "paused":
        return say("downloads.paused_kept" if item.done_bytes else "downloads.paused")
    return say(f"downloads.{item.state}")


def error_words(item: Item) -> str:
    """Why it failed or waits, "" where nothing is wrong."""
    error = item.error()
    return str(error) if error is not None and item.state in ("failed", "waiting") else ""


def short_words(item: Item) -> str:
    """One line for where there is no more room."""
    if is_stalled(item):
        return GAP.join(part for part in (amount_words(item), say("downloads.stalled")) if part)
    if item.state == "running" and (item.transfer is None or item.transfer.stage == "downloading"):
        return amount_words(item) or say("downloads.running")
    if item.state == "paused" and item.total_bytes:
        return say("downloads.paused_at", amount=of_words(item.done_bytes, item.total_bytes))
    return state_words(item)


def of_words(done: int, total: int) -> str:
    """`6.1 of 9.9 GB`: the unit once where it is the same; of what has not begun only the whole."""
    if not done:
        return figures.size(total)
    come, unit = figures.size(done).rsplit(" ", 1)
    whole = figures.size(total)
    return say("models.of", done=come if whole.endswith(f" {unit}") else f"{come} {unit}", total=whole)


def share(item: Item) -> float | None:
    """0 to 1; None while the total is not known."""
    if item.state == "done":
        return 1.0
    return min(1.0, item.done_bytes / item.total_bytes) if item.total_bytes else None


def is_stalled(item: Item) -> bool:
    """It runs, and nothing comes."""
    return item.state == "running" and item.transfer is not None and item.transfer.is_stalled


def left_words(item: Item) -> str:
    """`3 min left`, "" while that is not known."""
    left = item.transfer.seconds_left if item.transfer is not None and not is_stalled(item) else None
    return say("models.left", time=figures.duration(round(left))) if left else ""


def _stage(transfer: Transfer) -> str:
    key = f"progress.{transfer.stage}"
    return say(key) if key in catalogue(language()) else ""


def _pace(transfer: Transfer) -> list[str]:
    parts: list[str] = []
    if transfer.is_stalled:
        return parts  # the last figures would stand still
    if transfer.bytes_per_s:
        parts.append(figures.speed(transfer.bytes_per_s))
    if transfer.seconds_left:
        parts.append(say("models.left", time=figures.duration(transfer.seconds_left)))
    return parts
