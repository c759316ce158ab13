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

from torch import Tensor

from core.inference import changes as arithmetic
from core.inference.adapted_module import AdaptedModule, twin_with_peft
from core.inference.adapted_products import Adapted, Replaced, Rows
from core.inference.architectures import Parts
from core.inference.changes import Change
from core.inference.decoder import AnyDecoder, Continuing, KVKind, SequenceCache, Tally, Verifying
from core.inference.dense import DenseDecoder
from core.inference.kv_cache import KVCache
from core.inference.module import ModuleDecoder
from core.inference.products import Product
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

    def step_together(self, tokens: Sequence[tuple[int, SequenceCache]]) -> list[Tensor]:
        """As DenseDecoder.step_together, for those that the lean pass computes; the others step one by one."""
        plain = self._plain
        if isinstance(plain, DenseDecoder) and all(self._way(cache.adapter) is plain for _, cache in tokens):
            return plain.step_together(cast("Sequence[tuple[int, KVCache]]", tokens))
        return [self.step(id, cache) for id, cache in tokens]

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


def _written_at(adapter: str) -> int:
    try:
        return (Path(adapter) / adapter_files.WEIGHTS_NAME).stat().st_mtime_ns
    except OSError:
        return 0
