"""What a model would take of the memory with these options, against what is free now. Asked at every click.

Invariant: files are read in a thread, once for each look at a model; everything after that is arithmetic on numbers
that are already here, so the window may call it on its own thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from app.services.machine import Reading
from core.load_options import LoadOptions, WeightChoice
from core.models import device_plan, families, footprint
from core.models.device_plan import Device, DevicePlan
from core.models.families import Lengths
from core.models.footprint import Footprint, Shape
from core.profiling import learning
from core.protocol.messages import ModelLoaded

Verdict = Literal["fits", "tight", "too_big"]

TIGHT_FROM = 0.9  # of the free memory; other programs move too
LEAST_CONTEXT = 1024  # tokens; a model that has no room for so many is of no use


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as the load options see it. has_gguf: it was converted from a GGUF file."""

    name: str
    shape: Shape
    family: str
    lengths: Lengths
    has_gguf: bool = False

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
    is; plan: where it is spread over several devices. The KV cache grows with a conversation, so a model whose full
    context does not fit can still be used."""

    footprint: Footprint
    free: int
    on_card: bool
    context: int
    plan: DevicePlan | None = None

    @property
    def room(self) -> int:
        """Tokens for which there is memory; never more than the context."""
        need = self.footprint
        left = self.free - (need.total - need.kv_cache)
        return max(0, min(self.context, int(left / need.kv_cache * self.context))) if need.kv_cache else self.context

    @property
    def is_whole(self) -> bool:
        """A full context fits."""
        return not self.plan.missing_bytes if self.plan else self.footprint.total <= self.free

    @property
    def verdict(self) -> Verdict:
        total = self.footprint.total
        if not self.is_whole:
            has_room = self.plan is None and self.room >= min(LEAST_CONTEXT, self.context)
            return "tight" if has_room else "too_big"
        return "tight" if total > TIGHT_FROM * self.free else "fits"


@dataclass(frozen=True, slots=True)
class Room:
    """Free memory as it would be once the model that is loaded now has gone, of the system and of each card."""

    memory: int
    cards: tuple[Device, ...] = ()

    @property
    def card(self) -> int:
        """Of the first card, 0 where there is none."""
        return self.cards[0].free_bytes if self.cards else 0

    @property
    def card_name(self) -> str:
        return self.cards[0].label if self.cards else ""

    @property
    def devices(self) -> tuple[Device, ...]:
        """As a plan takes them."""
        return (*self.cards, Device("cpu", self.memory))


def room(reading: Reading, loaded: ModelLoaded | None = None) -> Room:
    """What is free for the next model. Weights that are mapped from their files count as free already: the system may
    drop those pages."""
    held = loaded.weight_bytes if loaded else 0
    on_card = loaded is not None and loaded.device != "cpu"
    is_mapped = loaded is not None and loaded.device == "cpu" and loaded.weights == loaded.precision
    memory = reading.memory.free + (0 if on_card or is_mapped else held)
    cards = tuple(
        Device(f"cuda:{index}", card.memory.free + _held_by(loaded, index), card.name)
        for index, card in enumerate(reading.cards)
    )
    return Room(memory, cards)


def _held_by(loaded: ModelLoaded | None, index: int) -> int:
    """Of the weights on a card; of those that are spread over several nothing is counted."""
    if loaded is None or loaded.device not in ("cuda", f"cuda:{index}") or loaded.placement:
        return 0
    return loaded.weight_bytes if loaded.device != "cuda" or index == 0 else 0


async def look(name: str, folder: Path, *, has_gguf: bool = False) -> Subject:
    """Read what decides the size of a model.

    Raises:
        UserError: its files cannot be used.
    """
    return await asyncio.to_thread(look_now, name, folder, has_gguf)


def look_now(name: str, folder: Path, has_gguf: bool = False) -> Subject:
    """The same for who is in a thread already."""
    shape = footprint.read_shape(folder)
    config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    family = families.family_of(config)
    return Subject(name, shape, family.key, families.lengths(config, family), has_gguf)


def fit(subject: Subject, options: LoadOptions, free: Room) -> Fit:
    """Arithmetic only: a fraction of a millisecond."""
    on_card = bool(free.card) and options.device != "cpu"
    context = options.context_length or subject.own
    if options.device == "spread" and free.cards:
        return _spread(subject, options, context, free)
    found = footprint.estimate(subject.shape, options, context=context, device="cuda" if on_card else "cpu")
    return Fit(as_learned(found, on_card), free.card if on_card else free.memory, on_card, context)


def as_learned(found: Footprint, on_card: bool) -> Footprint:
    """With what profiles on this machine have taught of the process itself."""
    extra = learning.known().extra_bytes("cuda" if on_card else "cpu", False, found.total)
    return replace(found, overhead=max(0, found.overhead + extra)) if extra else found


def _spread(subject: Subject, options: LoadOptions, context: int, free: Room) -> Fit:
    """As core.models.device_plan lays it over the cards and the system's memory."""
    plan = device_plan.plan(subject.shape, options, context=context, devices=free.devices)
    found = Footprint(
        sum(share.weights for share in plan.shares),
        sum(share.kv_cache for share in plan.shares),
        sum(share.workspace for share in plan.shares),
        sum(share.overhead for share in plan.shares),
    )
    room = sum(device.free_bytes for device in free.devices)
    return Fit(found, room, True, context, plan)


def smaller(subject: Subject, options: LoadOptions, free: Room) -> LoadOptions | None:
    """The least change with which a full context would fit: of the weights, of the context, of both, and of the KV
    cache last. None where it fits already or nothing helps, and where a plan over several devices says it itself."""
    found = fit(subject, options, free)
    if found.is_whole or found.plan is not None:
        return None
    context = min(options.context_length or subject.own, subject.lengths.trained or subject.own)
    weights: tuple[WeightChoice, ...] = ("int8", "int4")
    lighter = () if subject.shape.quantised else tuple(name for name in weights if name != options.weights)
    other = msgspec.structs.replace
    tried = [
        *(other(options, weights=name) for name in lighter),
        other(options, context_length=context),
        *(other(options, weights=name, context_length=context) for name in lighter),
        *(other(options, weights=name, context_length=context, kv_cache="int8") for name in lighter),
        other(options, context_length=context, kv_cache="int8"),
    ]
    return next((one for one in tried if fit(subject, one, free).is_whole), None)
