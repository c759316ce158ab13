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
from core.load_options import LoadOptions, WeightChoice
from core.models import families, footprint
from core.models.families import Lengths
from core.models.footprint import Footprint, Shape
from core.protocol.messages import ModelLoaded

Verdict = Literal["fits", "tight", "too_big"]

TIGHT_FROM = 0.9  # of the free memory; other programs move too
LEAST_CONTEXT = 1024  # tokens; a model that has no room for so many is of no use


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
    """footprint: bytes with a full context of so many tokens; free: of the memory it would lie in; on_card: which that
    is. The KV cache grows with a conversation, so a model whose full context does not fit can still be used."""

    footprint: Footprint
    free: int
    on_card: bool
    context: int

    @property
    def room(self) -> int:
        """Tokens for which there is memory; never more than the context."""
        need = self.footprint
        left = self.free - (need.total - need.kv_cache)
        return max(0, min(self.context, int(left / need.kv_cache * self.context))) if need.kv_cache else self.context

    @property
    def is_whole(self) -> bool:
        """A full context fits."""
        return self.footprint.total <= self.free

    @property
    def verdict(self) -> Verdict:
        total = self.footprint.total
        if not self.is_whole:
            return "tight" if self.room >= min(LEAST_CONTEXT, self.context) else "too_big"
        return "tight" if total > TIGHT_FROM * self.free else "fits"


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
    room = free.card + free.memory if options.device == "spread" else free.card if on_card else free.memory
    return Fit(found, room, on_card, context)


def smaller(subject: Subject, options: LoadOptions, free: Room) -> LoadOptions | None:
    """The least change with which a full context would fit: of the weights, of the context, of both, and of the KV
    cache last. None where it fits already or nothing helps."""
    if fit(subject, options, free).is_whole:
        return None
    context = min(options.context_length or subject.own, subject.lengths.trained or subject.own)
    weights: tuple[WeightChoice, ...] = ("int8", "int4")
    lighter = () if subject.shape.quantised else tuple(name for name in weights if name != options.weights)
    replace = msgspec.structs.replace
    tried = [
        *(replace(options, weights=name) for name in lighter),
        replace(options, context_length=context),
        *(replace(options, weights=name, context_length=context) for name in lighter),
        *(replace(options, weights=name, context_length=context, kv_cache="int8") for name in lighter),
        replace(options, context_length=context, kv_cache="int8"),
    ]
    return next((one for one in tried if fit(subject, one, free).is_whole), None)
