"""Where each part of a model goes when it is spread over several cards and the processor's memory.

Pure arithmetic on bytes, never torch: the load dialog and `models plan` show it before anything is loaded, and loading
follows it. Invariant: every part of the model lies on exactly one device, and a decoder layer is never split.

Parts that lie in the processor's memory are computed on the first card, which copies the weights of one layer at a time
and keeps the keys and values of all of them: that card's room must hold both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core import hardware
from core.figures import size
from core.load_options import DEFAULT, LoadOptions
from core.models.footprint import DeviceKind, block_bytes, head_bytes, memory_bytes, overhead_bytes, workspace_bytes
from core.models.shape import Block, Shape
from core.protocol.messages import Notice
from core.translation import say

MARGIN = 0.03  # of what is free on a card stays free: allocators round, and the screen needs some
STORES = ("cpu", "disk")  # hold weights for a card that computes


@dataclass(frozen=True, slots=True)
class Device:
    """name: as torch calls it, "cuda:0", "cpu", "disk"; label: for people"""

    name: str
    free_bytes: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """What one device gets. Bytes; `workspace` has the copy of a layer that lies elsewhere, where there is one."""

    device: Device
    layers: tuple[int, ...] = ()
    has_embedding: bool = False
    has_head: bool = False
    weights: int = 0
    kv_cache: int = 0
    workspace: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.workspace + self.overhead

    @property
    def parts(self) -> str:
        """ "embedding 0-15 head"; `described` says it in words."""
        words = ["embedding"] if self.has_embedding else []
        if self.layers:
            words.append(f"{self.layers[0]}-{self.layers[-1]}")
        return " ".join([*words, *(["head"] if self.has_head else [])])


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """shares: only of devices that hold something. missing_bytes: how much memory is lacking in all, 0 when it fits."""

    shares: tuple[Share, ...]
    missing_bytes: int
    modules: dict[str, str] = field(repr=False)  # name of the module -> name of the device

    @property
    def spilled(self) -> tuple[int, ...]:
        """Layers that lie where nothing is computed."""
        first = self.shares[0].device.name
        others = [share for share in self.shares if share.device.name in STORES and share.device.name != first]
        return tuple(layer for share in others for layer in share.layers)

    def device_map(self) -> dict[str, str | int]:
        """As accelerate reads it: a card by its number."""
        return {module: _as_accelerate(device) for module, device in self.modules.items()}

    def placement(self) -> tuple[tuple[str, str], ...]:
        """For ModelLoaded: (device, its parts)."""
        return tuple((share.device.name, share.parts) for share in self.shares)

    def notices(self) -> tuple[Notice, ...]:
        if self.missing_bytes:
            return (Notice("plan_too_big", {"missing": size(self.missing_bytes)}),)
        if self.spilled:
            return (Notice("plan_spills", {"count": len(self.spilled), "device": self.shares[-1].device.name}),)
        return ()


def plan(
    shape: Shape, options: LoadOptions = DEFAULT, *, context: int = 0, devices: Sequence[Device], batch: int = 1
) -> DevicePlan:
    """Over the fewest of `devices`, in their order; what no card has room for goes to the stores after them.

    devices: cards first; without one, the first device computes. The plan is made in any case; `missing_bytes` says
    whether it can be carried out.
    """
    context = context or options.context_length or shape.context_length
    cards = [device for device in devices if device.name not in STORES]
    sizes = _Sizes(shape, options, context, batch, "cuda" if cards else "cpu")
    cards = cards or list(devices[:1])
    stores = [device for device in devices if device not in cards]
    for count in range(1, len(cards) + 1):
        shares = _filled(sizes, cards[:count], kept=len(shape.layers))
        if shares is not None:
            return _plan(sizes, shares, [])
    for spilled in range(1, len(shape.layers) + 1 if stores else 1):
        shares = _filled(sizes, cards, kept=len(shape.layers) - spilled)
        if shares is not None:
            return _plan(sizes, shares, stores)
    return _plan(sizes, _overfilled(sizes, cards, kept=0 if stores else len(shape.layers)), stores)


def devices_here() -> list[Device]:
    """The cards and the memory of this machine, with what is free now; without torch."""
    cards, _ = hardware.cards()
    found = [Device(f"cuda:{index}", card.memory.free, card.name) for index, card in enumerate(cards)]
    return [*found, Device("cpu", hardware.system_memory().free)]


def described(parts: str) -> str:
    """What a device holds, in words: "embedding, layers 0 to 15, head"."""
    words = []
    for part in parts.split():
        first, _, last = part.partition("-")
        words.append(say("plan.layers", first=first, last=last) if last else say(f"plan.{part}"))
    return say("plan.comma").join(words)


class _Sizes:
    """Bytes of each part. head: with the final norm"""

    def __init__(self, shape: Shape, options: LoadOptions, context: int, batch: int, kind: DeviceKind) -> None:
        self.shape = shape
        self.embedding = block_bytes(shape.embedding, shape, options, kind)
        self.head = block_bytes(shape.final, shape, options, kind) + head_bytes(shape, options, kind)
        self.layers = [block_bytes(layer, shape, options, kind) for layer in shape.layers]
        self.kv = [self._kv(layer, options, context) * batch for layer in shape.layers]
        self.workspace = workspace_bytes(shape, options, context=context, batch=batch, device=kind)
        self.overhead = overhead_bytes(shape, kind)

    def _kv(self, layer: Block, options: LoadOptions, context: int) -> int:
        return memory_bytes(layer.memory, self.shape, options, context) if layer.memory else 0


def _filled(sizes: _Sizes, cards: Sequence[Device], *, kept: int) -> list[Share] | None:
    """The first `kept` layers on the cards, one card after the other; None when they have no room for them."""
    shares = _begun(sizes, cards, kept)
    at = 0
    for layer in range(kept):
        while not _has_room(grown := _with_layer(shares[at], sizes, layer)):
            at += 1
            if at == len(shares):
                return None
        shares[at] = grown
    return shares if all(_has_room(share) for share in shares) else None


def _overfilled(sizes: _Sizes, cards: Sequence[Device], *, kept: int) -> list[Share]:
    """For a model that fits nowhere: what it would be."""
    shares = _begun(sizes, cards, kept)
    for layer in range(kept):
        at = min(layer * len(shares) // max(kept, 1), len(shares) - 1)
        shares[at] = _with_layer(shares[at], sizes, layer)
    return shares


def _begun(sizes: _Sizes, cards: Sequence[Device], kept: int) -> list[Share]:
    """The shares before any layer: the first device has the embedding, the last one the head; a tied head is the
    embedding and stays with it."""
    shares = [Share(card, workspace=sizes.workspace, overhead=sizes.overhead) for card in cards]
    spilled = range(kept, len(sizes.layers))
    shares[0] = replace(
        shares[0],
        has_embedding=True,
        weights=sizes.embedding,
        kv_cache=sum(sizes.kv[layer] for layer in spilled),
        workspace=sizes.workspace + max((sizes.layers[layer] for layer in spilled), default=0),
    )
    at = 0 if sizes.shape.head is None else -1
    shares[at] = replace(shares[at], has_head=True, weights=shares[at].weights + sizes.head)
    return shares


def _with_layer(share: Share, sizes: _Sizes, layer: int) -> Share:
    return replace(
        share,
        layers=(*share.layers, layer),
        weights=share.weights + sizes.layers[layer],
        kv_cache=share.kv_cache + sizes.kv[layer],
    )


def _has_room(share: Share) -> bool:
    return share.total <= share.device.free_bytes * (1 - MARGIN)


def _plan(sizes: _Sizes, shares: list[Share], stores: Sequence[Device]) -> DevicePlan:
    placed = sum(len(share.layers) for share in shares)
    shares = [*shares, *_stored(sizes, range(placed, len(sizes.layers)), stores)]
    modules = _modules(sizes.shape, shares)
    missing = sum(max(0, share.total - share.device.free_bytes) for share in shares)
    return DevicePlan(tuple(share for share in shares if share.parts), missing, modules)


def _stored(sizes: _Sizes, layers: range, stores: Sequence[Device]) -> list[Share]:
    """The spilled layers in the stores, one after the other; the last store takes what is left."""
    shares = [Share(store) for store in stores]
    at = 0
    for layer in layers:
        while at + 1 < len(shares) and shares[at].weights + sizes.layers[layer] > shares[at].device.free_bytes:
            at += 1
        share = shares[at]
        shares[at] = replace(share, layers=(*share.layers, layer), weights=share.weights + sizes.layers[layer])
    return shares


def _modules(shape: Shape, shares: Sequence[Share]) -> dict[str, str]:
    """Every module that has weights or tables of its own, and its device."""
    main = shares[0].device.name
    inner = shape.layers[0].name.rpartition(".")[0].rpartition(".")[0]  # "model.layers.0" -> "model"
    modules = {shape.embedding.name: main, f"{inner}.rotary_emb": main}
    for share in shares:
        modules |= {shape.layers[layer].name: share.device.name for layer in share.layers}
    ends = (shape.final.name, shape.head.name if shape.head else "lm_head")
    return modules | dict.fromkeys(ends, next(share.device.name for share in shares if share.has_head))


def _as_accelerate(device: str) -> str | int:
    kind, _, number = device.partition(":")
    return int(number) if kind == "cuda" and number else device
