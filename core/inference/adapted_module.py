"""A transformers module that computes with an adapter: by hooks on its layers, or as a twin that PEFT has wrapped.

Invariant: the module's own layers and weights are never changed; without an adapter in use it gives bit for bit what
it gave before.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from core.errors import UserError
from core.inference.changes import Change
from core.models.adapter import Adapter
from core.models.quantised.bits_and_bytes import fetching_nothing
from core.models.quantised.linear import QuantisedLinear


class AdaptedModule:
    """Exchanges the adapter of a module between two forward passes; costs nothing while the same one stays."""

    def __init__(self, model: Any) -> None:
        self._layers: dict[str, Any] = dict(model.named_modules())
        self._changes: dict[str, Mapping[str, Change]] = {}
        self._hooks: list[RemovableHandle] = []
        self._used = ""

    def add(self, adapter: str, changes: Mapping[str, Change]) -> None:
        self._changes[adapter] = changes

    def drop(self, adapter: str) -> None:
        if self._used == adapter:
            self.use("")
        del self._changes[adapter]

    def use(self, adapter: str) -> None:
        """Compute with one of the added adapters from now on; "" is the model alone."""
        if adapter == self._used:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        changes = self._changes[adapter] if adapter else {}
        for name, change in changes.items():
            self._hooks.append(self._layers[name].register_forward_hook(partial(_changed, change)))
        self._used = adapter


def _changed(change: Change, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    if isinstance(layer, nn.Embedding):
        return change.look_up(inputs[0], output)
    return change.apply(inputs[0], output)


def twin_with_peft(model: Any, found: Adapter) -> Any:
    """A module that shares every weight with `model`, with the adapter put on by PEFT.

    Raises:
        UserError: adapter_unusable, with the library's reason; adapter_layer_unknown.
    """
    with fetching_nothing():
        from peft import LoraConfig, PeftModel
        from peft.tuners.lora import Linear

    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    shared |= {id(layer): _Held(layer) for layer in model.modules() if isinstance(layer, QuantisedLinear)}
    twin = copy.deepcopy(model, shared)
    try:
        with warnings.catch_warnings(action="ignore"):
            config = LoraConfig.from_pretrained(str(found.folder))
            config.inference_mode = True
            config._register_custom_module({_Held: Linear})
            wrapped: Any = PeftModel(twin, config)
            report = wrapped.load_adapter(str(found.folder), "default")
    except (ValueError, KeyError, RuntimeError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError("adapter_unusable", name=found.folder.name, reason=reason) from error
    if unknown := sorted(report.unexpected_keys):
        raise UserError("adapter_layer_unknown", name=found.folder.name, layer=unknown[0])
    return wrapped.requires_grad_(False).eval().get_base_model()


class _Held(nn.Module):
    """A quantised layer as PEFT can take it: with something to tell the device by."""

    def __init__(self, layer: QuantisedLinear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = nn.Parameter(torch.empty(0, device=layer.device), requires_grad=False)
        self._layer = layer

    def forward(self, x: Tensor) -> Tensor:
        held: Tensor = self._layer(x)
        return held
