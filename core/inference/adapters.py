"""Answers each sequence with the adapter that it names, all of them on one base model in memory.

Owns which adapters are in memory and how each is computed: beside the products of the lean pass, or on the module.
Invariant: a sequence without an adapter takes the very way it would take if there were no adapters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference import changes as arithmetic
from core.inference.adapted_module import AdaptedModule, twin_with_peft
from core.inference.architectures import Parts
from core.inference.changes import Change
from core.inference.decoder import AnyDecoder, Continuing, KVKind, SequenceCache, Tally, Verifying
from core.inference.dense import DenseDecoder
from core.inference.module import ModuleDecoder
from core.inference.products import Part, Product
from core.inference.sampling import Sampler
from core.models import adapter as adapter_files

log = logging.getLogger("inference")

KEPT = 4  # adapters in memory, those used last

T = TypeVar("T")


class AdapterDecoder:
    """A decoder for a model and for adapters on it. An adapter is read when the first sequence names it."""

    def __init__(self, model: Any, plain: AnyDecoder, through_module: Callable[[Any], ModuleDecoder]) -> None:
        """plain: for sequences without an adapter. through_module: makes the decoder of a module, for what the lean
        pass cannot do."""
        self._model = model
        self._plain = plain
        self._through_module = through_module
        self._module = AdaptedModule(model)
        if isinstance(plain, ModuleDecoder):
            plain.use_adapter = self._module.use
        self._ways: dict[str, AnyDecoder] = {}  # by folder, the one used last at the end
        self._read_at: dict[str, int] = {}

    @property
    def kv_cache(self) -> KVKind:
        """How keys and values are kept."""
        return self._plain.kv_cache

    def need(self, adapter: str) -> None:
        """Have an adapter in memory.

        Raises:
            UserError: as adapter.examine and changes.read_changes, adapter_unusable.
        """
        self._way(adapter)

    def has_changed(self, adapter: str) -> bool:
        """The files of an adapter in memory are others than those it was read from."""
        return adapter in self._read_at and self._read_at[adapter] != _written_at(adapter)

    def drop(self, adapter: str) -> None:
        """Give an adapter's memory back; a sequence that still names it has it read again."""
        if (way := self._ways.pop(adapter, None)) is None:
            return
        del self._read_at[adapter]
        if way is self._plain:
            self._module.drop(adapter)
        if isinstance(way, DenseDecoder):
            del way.parts[adapter]

    def module(self, adapter: str = "") -> Any:
        """The module, for passes of its own such as those of a batch: it computes with `adapter` at every call,
        whatever is used in between."""
        if isinstance(way := self._way(adapter), ModuleDecoder) and way is not self._plain:
            return way.model
        return _Using(self._model, self._module, adapter)

    # --- as a decoder ----------------------------------------------------------------

    def new_cache(self, total: int = 0, adapter: str = "") -> SequenceCache:
        return cast(SequenceCache, self._way(adapter).new_cache(total, adapter))

    def read(self, ids: Sequence[int], cache: SequenceCache) -> Generator[None, None, Tensor]:
        return self._way(cache.adapter).read(ids, cache)

    def step(self, id: int, cache: SequenceCache) -> Tensor:
        return self._way(cache.adapter).step(id, cache)

    def go_on(
        self, cache: SequenceCache, id: int, sampler: Sampler, stop_ids: Collection[int], tally: Tally
    ) -> Iterator[int] | None:
        way = self._way(cache.adapter)
        return way.go_on(cache, id, sampler, stop_ids, tally) if isinstance(way, Continuing) else None

    def can_verify(self, cache: SequenceCache) -> bool:
        way = self._way(cache.adapter)
        return isinstance(way, Verifying) and way.can_verify(cache)

    def verify(self, ids: Sequence[int], cache: SequenceCache) -> Tensor:
        way = self._way(cache.adapter)
        assert isinstance(way, Verifying), "asked without can_verify"
        return way.verify(ids, cache)

    # --- ways ------------------------------------------------------------------------

    def _way(self, adapter: str) -> AnyDecoder:
        if not adapter:
            return self._plain
        if (way := self._ways.get(adapter)) is not None:
            if next(reversed(self._ways)) != adapter:
                self._ways[adapter] = self._ways.pop(adapter)
            return way
        for oldest in list(self._ways)[: 1 - KEPT]:
            self.drop(oldest)
        way = self._ways[adapter] = self._new_way(adapter)
        self._read_at[adapter] = _written_at(adapter)
        return way

    def _new_way(self, adapter: str) -> AnyDecoder:
        found = adapter_files.examine(Path(adapter))
        if reason := arithmetic.obstacle(found, self._model):
            log.info("%s is computed by the PEFT library: %s", found.folder.name, reason)
            self._module.use("")
            return self._through_module(twin_with_peft(self._model, found))
        changes = arithmetic.read_changes(found, self._model)
        self._module.add(adapter, changes)
        if isinstance(self._plain, DenseDecoder):
            self._plain.parts[adapter] = adapted_parts(self._plain.parts[""], changes, self._model)
        return self._plain


class _Using:
    """A module that says before every call which adapter it computes with; for everything else the module itself."""

    def __init__(self, model: Any, module: AdaptedModule, adapter: str) -> None:
        self._model, self._module, self._adapter = model, module, adapter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._module.use(self._adapter)
        return self._model(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def adapted_parts(parts: Parts, changes: Mapping[str, Change], model: Any) -> Parts:
    """The parts of the lean pass with an adapter's changes; what it does not change is the base model's own."""
    table = model.get_input_embeddings()
    layers = [_adapted_fields(layer, changes) for layer in parts.layers]
    embedding: Any = parts.embedding
    for name, module in model.named_modules():
        if module is table and name in changes:
            embedding = Rows(parts.embedding, changes[name])
    return replace(_adapted_fields(parts, changes), layers=layers, embedding=embedding)


def _adapted_fields(whole: T, changes: Mapping[str, Change]) -> T:
    """`whole`, a dataclass, with the products among its fields changed."""
    assert is_dataclass(whole) and not isinstance(whole, type)
    found = {field.name: getattr(whole, field.name) for field in fields(whole)}
    products = {name: value for name, value in found.items() if callable(value) and hasattr(value, "parts")}
    return replace(whole, **{name: _adapted(product, changes) for name, product in products.items()})


def _adapted(product: Product, changes: Mapping[str, Change]) -> Product:
    mine = [changes.get(part.name) for part in product.parts]
    if not any(mine):
        return product
    if len(mine) == 1 and mine[0] is not None and mine[0].weight is not None:
        return Replaced(product.parts[0], mine[0])
    return Adapted(product, mine)


class Adapted:
    """A product and beside it the factors of an adapter. Of products that are joined each part has its own, and the
    first factors are multiplied at once."""

    __slots__ = ("_a", "_base", "_others", "_pieces", "parts")

    def __init__(self, base: Product, changes: Sequence[Change | None]) -> None:
        self.parts: tuple[Part, ...] = base.parts
        self._base = base
        self._pieces: list[tuple[int, int, int, int, Tensor]] = []  # first output, count; first of the rank, count; b
        self._others: list[tuple[int, int, Change]] = []
        factors: list[Tensor] = []
        at = rank = 0
        for part, change in zip(base.parts, changes, strict=True):
            if change is not None and change.is_low_rank and change.a is not None and change.b is not None:
                self._pieces.append((at, part.width, rank, change.a.shape[0], change.b))
                factors.append(change.a)
                rank += change.a.shape[0]
            elif change is not None:
                self._others.append((at, part.width, change))
            at += part.width
        self._a = torch.cat(factors) if factors else None

    def __call__(self, x: Tensor, /) -> Tensor:
        y = self._base(x)
        if self._a is not None:
            low = F.linear(x.to(self._a.dtype), self._a)
            for at, width, rank, count, b in self._pieces:
                y.narrow(-1, at, width).add_(F.linear(low.narrow(-1, rank, count), b))
        for at, width, change in self._others:
            part = y.narrow(-1, at, width)
            part.copy_(change.apply(x, part))
        return y


class Replaced:
    """A product whose weight was trained along: the base model's is not multiplied by at all."""

    __slots__ = ("_change", "_dtype", "parts")

    def __init__(self, part: Part, change: Change) -> None:
        self.parts = (part,)
        self._change = change

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._change.apply(x, x)


class Rows:
    """A table of embeddings as an adapter changes it, asked like the tensor it stands for."""

    def __init__(self, table: Tensor, change: Change) -> None:
        self._table, self._change = table, change

    def __getitem__(self, ids: Tensor | slice) -> Tensor:
        found = self._table[ids]
        if isinstance(ids, slice):
            ids = torch.arange(*ids.indices(len(self._table)), device=found.device)
        return self._change.look_up(ids, found)


def _written_at(adapter: str) -> int:
    try:
        return (Path(adapter) / adapter_files.WEIGHTS_NAME).stat().st_mtime_ns
    except OSError:
        return 0
