"""In which form the weights of a folder come to lie in memory, and how the model is made in it.

Knows the ways: plain weights as they are stored or in another precision, quantised ones as they are stored, and plain
ones that are quantised while loading. Invariant: no way holds the whole model twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from core.load_options import LoadOptions
from core.models import context, device_plan, families, tree
from core.models.attention import choose_attention
from core.models.checkpoint import Checkpoint
from core.models.device_plan import DevicePlan
from core.models.placement import DTYPES, Placement
from core.models.quantised import at_load, bits_and_bytes, choice
from core.models.quantised.gptq import Files, Filling
from core.models.shape import read_shape
from core.protocol.messages import Notice

Form = Literal["plain", "int8", "int4", "nf4"]
Tell = Callable[[str, int, int], None]  # stage, done, total

# Bytes a weight takes, with its share of scales and of what stays plain, in models of the usual sizes.
BYTES = {"int8": 1.1, "int4": 0.7, "nf4": 0.7}


class Made(NamedTuple):
    """backend, backend_reason: what multiplies by quantised weights, "" for plain ones; parts: as in LoadedModel"""

    model: Any
    backend: str
    backend_reason: str
    notices: tuple[Notice, ...]
    parts: tuple[tuple[str, str], ...]


class Job:
    """One model to be made."""

    def __init__(self, folder: Path, found: Checkpoint, options: LoadOptions, placement: Placement) -> None:
        self.options, self.placement = options, placement
        self.context = context.plan(found.config, options.context_length)
        self._folder, self._found = folder, found
        self._misfits = 0  # layers that stay plain because their form does not fit

    @property
    def form(self) -> Form:
        asked, stored = self.options.weights, self._found.scheme
        if stored is not None and asked not in DTYPES:
            return "int4" if stored.bits == 4 else "int8"
        return asked if asked in ("int8", "int4", "nf4") else "plain"

    @property
    def needed_bytes(self) -> int:
        """For its weights."""
        stays_plain = self.form == "plain" or "num_experts" in families.text_config(self._found.config)
        return round(self._found.parameters * (self.placement.dtype.itemsize if stays_plain else BYTES[self.form]))

    def make(self, tell: Tell) -> Made:
        """
        Raises:
            UserError: weights_incomplete, weights_unexpected, quantisation_layer, nf4_unavailable.
        """
        tell("loading_weights", 0, 0)
        implementation, told = choose_attention(self.options, self.placement)
        if self._found.scheme is not None:
            model = self._stored_quantised(implementation, tell)
        elif self._by_bitsandbytes or self.form == "plain":
            model = self._by_transformers(implementation, tell)
        else:
            model = self._quantised(implementation, tell)
        backend, reason = ("bitsandbytes", "backend_bitsandbytes") if self._by_bitsandbytes else self._backend(model)
        notices = (*told, *self.context.notices, *self._remarks(model))
        return Made(model, backend, reason, notices, self._spread.placement() if self._spread else ())

    # --- the ways ------------------------------------------------------------------

    def _by_transformers(self, implementation: str | None, tell: Tell) -> Any:
        dtype, device = self.placement.dtype, self.placement.device
        how = None
        if self._by_bitsandbytes:
            kind: Literal["int8", "nf4"] = "int8" if self.form == "int8" else "nf4"
            how = bits_and_bytes.settings(kind, dtype, device, self._plain_layers(implementation))
        return tree.read(
            self._folder,
            dtype,
            self._spread.device_map() if self._spread else device,
            implementation,
            _stage(tell, "loading_weights"),
            config=self._stretched_config(),
            quantisation=how,
        )

    def _plain_layers(self, implementation: str | None) -> list[str]:
        """The layers that NF4 leaves as they are where some do not fit its product; else it is not told any."""
        if self.form != "nf4" or self.placement.device.type != "cpu":
            return []
        config = self._stretched_config() or tree.config_of(self._folder)
        model = tree.empty(self._folder, config, self.placement.dtype, implementation)
        left = bits_and_bytes.left_plain(model)
        misfits = [name for name in bits_and_bytes.misfits(model) if name not in left]
        self._misfits = sum(model.get_submodule(name).out_features >= at_load.NARROW for name in misfits)
        return [*left, *misfits] if misfits else []

    def _quantised(self, implementation: str | None, tell: Tell) -> Any:
        stored = DTYPES[self._found.precision]  # nothing is converted before it is quantised, so all stays mapped
        loading = _stage(tell, "loading_weights")
        config = self._stretched_config()
        model = tree.read(self._folder, stored, at_load.READING_DEVICE, implementation, loading, config=config)
        kind: Literal["int8", "int4"] = "int8" if self.form == "int8" else "int4"
        quantising = _stage(tell, "quantising_weights")
        at_load.quantise(model, kind, self.placement.device, self.placement.dtype, quantising)
        return model

    def _stored_quantised(self, implementation: str | None, tell: Tell) -> Any:
        assert self._found.scheme is not None
        config = self._stretched_config() or tree.config_of(self._folder)
        model = tree.empty(self._folder, config, self.placement.dtype, implementation)
        files = Files(self._folder, self._found.weight_files)
        dtype, device = self.placement.dtype, self.placement.device
        Filling(model, files, self._found.scheme, dtype, device, keeps_packed=self.form != "plain").run(
            _stage(tell, "loading_weights")
        )
        return model

    def _stretched_config(self) -> Any:
        """None where the folder's own will do."""
        if not self.context.yarn:
            return None
        config = tree.config_of(self._folder)
        context.stretch(config, self.context)
        return config

    # --- what is known before and after ----------------------------------------------

    @cached_property
    def _by_bitsandbytes(self) -> bool:
        if self._found.scheme is not None:
            return False
        on_card = self.placement.device.type == "cuda"
        return self.form == "nf4" or (self.form == "int8" and on_card and not bits_and_bytes.obstacle("int8", "cuda"))

    @cached_property
    def _spread(self) -> DevicePlan | None:
        """Over several devices; None for all on one. Our own quantised layers are not spread."""
        is_ours = self.form != "plain" and not self._by_bitsandbytes
        if self.options.device != "spread" or self.placement.device.type != "cuda" or is_ours:
            return None
        shape, length = read_shape(self._folder), self.context.length
        return device_plan.plan(shape, self.options, context=length, devices=device_plan.devices_here())

    def _backend(self, model: Any) -> tuple[str, str]:
        found = choice.planned(model, self.placement.dtype, is_exact=self.placement.is_exact)
        return (found.name, found.reason) if found else ("", "")

    def _remarks(self, model: Any) -> Iterator[Notice]:
        if self.form == "plain":
            yield from self._spread.notices() if self._spread else ()
            return
        asked, stored = self.options.weights, self._found.weights
        if self._found.scheme is not None and asked not in ("auto", stored):
            yield Notice("weights_already_quantised", {"stored": stored, "asked": asked})
        if at_load.has_plain_experts(model):
            yield Notice("experts_dequantised" if self._found.scheme is not None else "experts_stay_plain")
        if self._misfits:
            yield Notice("layers_stay_plain", {"count": self._misfits})
        if self.options.device == "spread" and self._spread is None and self.placement.device.type == "cuda":
            yield Notice("spread_of_plain_only")


def _stage(tell: Tell, stage: str) -> tree.Tell:
    return lambda done, total: tell(stage, done, total)
