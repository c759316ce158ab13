"""What this machine's own runs teach the estimates: by how much more or less is taken here than the formulas say.

Kept as the last pairs of formula and measurement in one small file of the home. Invariant: a correction is bounded by
BOUND of the estimate and is the median of what was seen, so one odd run moves little; but it is never so small that an
estimate would have been more than UNDER below a run that is remembered. No torch: services ask it at every click.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct

from core import paths
from core.files import replace_file
from core.profiling.result import CellResult

BOUND = 0.2
UNDER = 0.03
LEAST = 3  # runs, before anything is believed
KEPT = 60  # runs of each kind


class Pair(Struct, frozen=True, array_like=True):
    """device: "cpu" or "cuda". Bytes, as of Estimate.formula and CellResult.taken_bytes; key: of the cell."""

    device: str
    is_training: bool
    formula: int
    taken: int
    key: str = ""


class Learned(Struct, frozen=True):
    """machine: of the pairs; those of another one teach nothing here."""

    machine: str = ""
    pairs: tuple[Pair, ...] = ()

    def extra_bytes(self, device: str, is_training: bool, formula: int) -> int:
        """To be added to what the formula says; less than nothing where it says too much.

        What is off is seen in bytes, since it lies in the process (context of the card, allocator) and not in the
        model; larger models may hold more of it, never beyond the bound.
        """
        seen = [pair for pair in self.pairs if (pair.device, pair.is_training) == (device, is_training)]
        if len(seen) < LEAST:
            return 0
        found = median(pair.taken - pair.formula for pair in seen)
        needed = max(  # rather too much than too little
            (1 - UNDER) * pair.taken - pair.formula for pair in seen
        )
        limit = BOUND * formula
        return round(max(-limit, min(limit, max(found, needed))))

    def with_results(self, machine: str, results: Sequence[CellResult]) -> Learned:
        """With the pairs of those that say something; the newest of the same cell counts."""
        pairs = list(self.pairs) if machine == self.machine else []
        for result in results:
            if (pair := _pair(result)) is not None:
                same = (pair.device, pair.is_training, pair.key)
                pairs = [kept for kept in pairs if (kept.device, kept.is_training, kept.key) != same]
                pairs.append(pair)
        kinds = {(pair.device, pair.is_training) for pair in pairs}
        kept = [[pair for pair in pairs if (pair.device, pair.is_training) == kind][-KEPT:] for kind in sorted(kinds)]
        return Learned(machine, tuple(pair for of_kind in kept for pair in of_kind))


def _pair(result: CellResult) -> Pair | None:
    if result.state != "done" or result.estimate is None or not result.taken_bytes or result.cell.kind == "quality":
        return None
    figures = result.inference or result.training
    device = "cuda" if figures is not None and figures.device.startswith("cuda") else "cpu"
    if device == "cuda" and not result.context_bytes:  # a part of what the estimate speaks of was not measured
        return None
    is_training = result.training is not None
    return Pair(device, is_training, result.estimate.formula, result.taken_bytes, result.cell.key)


def file() -> Path:
    return paths.home() / "profiling" / "learned.json"


def known() -> Learned:
    """What is in the file; nothing where there is none or it cannot be read. Cheap: read again only when it changed."""
    place = file()
    try:
        stat = place.stat()
    except OSError:
        return Learned()
    return _read(str(place), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(place: str, changed: int, length: int) -> Learned:
    try:
        return msgspec.json.decode(Path(place).read_bytes(), type=Learned)
    except (OSError, msgspec.DecodeError):
        return Learned()


def note(machine: str, results: Sequence[CellResult]) -> Learned:
    """Remember what was measured. Raises OSError."""
    learned = known().with_results(machine, results)
    place = file()
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, msgspec.json.format(msgspec.json.encode(learned), indent=1))
    return learned
