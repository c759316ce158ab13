"""What a model would take of the memory with these options, against what is free now. Asked at every click.

Invariant: files are read in a thread, once for each look at a model; everything after that is arithmetic on numbers
that are already here, so the window may call it on its own thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from app.services.machine import Reading
from core.load_options import LoadOptions
from core.models import families, footprint
from core.models.families import Lengths
from core.models.footprint import Footprint, Shape
from core.protocol.messages import ModelLoaded

Verdict = Literal["fits", "tight", "too_big"]

TIGHT_FROM = 0.9  # of the free memory; other programs move too
SMALLER = (LoadOptions(weights="int8"), LoadOptions(weights="int4"))


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as the load options see it."""

    name: str
    shape: Shape
    family: str
    lengths: Lengths

    @property
    def longest(self) -> int:
        """The longest context that can be asked for."""
        return max(self.lengths.reachable, self.lengths.limit, self.own)

    @property
    def own(self) -> int:
        """The context it is loaded with where nothing is asked for."""
        return self.lengths.limit or self.shape.context_length


@dataclass(frozen=True, slots=True)
class Fit:
    """footprint: bytes; free: of the memory it would lie in; on_card: which memory that is."""

    footprint: Footprint
    free: int
    on_card: bool

    @property
    def verdict(self) -> Verdict:
        total = self.footprint.total
        return "too_big" if total > self.free else "tight" if total > TIGHT_FROM * self.free else "fits"


@dataclass(frozen=True, slots=True)
class Room:
    """Free memory as it would be once the model that is loaded now has gone. `card` is 0 where there is none."""

    memory: int
    card: int = 0
    card_name: str = ""


def room(reading: Reading, loaded: ModelLoaded | None = None) -> Room:
    """What is free for the next model. Weights that are mapped from their files count as free already: the system may
    drop those pages."""
    held = loaded.weight_bytes if loaded else 0
    on_card = loaded is not None and loaded.device != "cpu"
    is_mapped = loaded is not None and loaded.device == "cpu" and loaded.weights == loaded.precision
    memory = reading.memory.free + (0 if on_card or is_mapped else held)
    if reading.card is None:
        return Room(memory)
    return Room(memory, reading.card.memory.free + (held if on_card else 0), reading.card.name)


async def look(name: str, folder: Path) -> Subject:
    """Read what decides the size of a model.

    Raises:
        UserError: its files cannot be used.
    """
    return await asyncio.to_thread(_look, name, folder)


def _look(name: str, folder: Path) -> Subject:
    shape = footprint.read_shape(folder)
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    family = families.family_of(config)
    return Subject(name, shape, family.key, families.lengths(config, family))


def fit(subject: Subject, options: LoadOptions, free: Room) -> Fit:
    """Arithmetic only: a fraction of a millisecond."""
    on_card = bool(free.card) and options.device != "cpu"
    context = options.context_length or subject.own
    found = footprint.estimate(subject.shape, options, context=context, device="cuda" if on_card else "cpu")
    if options.device == "spread":
        return Fit(found, free.card + free.memory, on_card)
    return Fit(found, free.card if on_card else free.memory, on_card)


def smaller(subject: Subject, options: LoadOptions, free: Room) -> LoadOptions | None:
    """The least change of the weights with which a model that is too big would fit; None where none helps."""
    if subject.shape.quantised is not None:
        return None
    for change in SMALLER:
        tried = msgspec.structs.replace(options, weights=change.weights)
        if fit(subject, tried, free).verdict != "too_big":
            return tried
    return None
