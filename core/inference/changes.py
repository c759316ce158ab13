"""What an adapter does to each layer of a model, read from its file and ready to be applied.

Owns the arithmetic of low-rank adapters: W x becomes gain * (W x) + B A x + shift. Invariant: the base weights are only
read, so plain, quantised and mapped ones serve alike, and without a change a layer's output is bit for bit its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import UserError
from core.models import adapter as adapter_files
from core.models.adapter import Adapter, Role

NORM_CHUNK = 256  # columns of a base weight looked at together


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter does to one layer; its factors are scaled already.

    a: (rank, inputs), b: (outputs, rank), gain and shift: (outputs,); weight: the layer's own, trained along; ids and
    rows: (n,) and (n, width), of a table the rows that were trained
    """

    a: Tensor | None = None
    b: Tensor | None = None
    gain: Tensor | None = None
    shift: Tensor | None = None
    weight: Tensor | None = None
    ids: Tensor | None = None
    rows: Tensor | None = None

    @property
    def is_low_rank(self) -> bool:
        """The two factors and nothing else."""
        return all(part is None for part in (self.gain, self.shift, self.weight, self.rows))

    def apply(self, x: Tensor, y: Tensor) -> Tensor:
        """y, the base layer's output (..., outputs) for the input x, as the adapter wants it. y itself stays."""
        if self.weight is not None:
            y = F.linear(x.to(self.weight.dtype), self.weight).to(y.dtype)
        if self.ids is not None and self.rows is not None:
            y = y.index_copy(-1, self.ids, F.linear(x.to(self.rows.dtype), self.rows).to(y.dtype))
        changed = y if self.gain is None else y * self.gain
        if self.a is not None and self.b is not None:
            changed = changed + F.linear(F.linear(x.to(self.a.dtype), self.a), self.b)
        if self.shift is not None:
            changed = changed + self.shift
        return changed.to(y.dtype)

    def look_up(self, ids: Tensor, found: Tensor) -> Tensor:
        """The rows of a table of embeddings for ids (...), of which the base table gave `found` (..., width)."""
        if self.weight is not None:
            return F.embedding(ids, self.weight).to(found.dtype)
        if self.ids is None or self.rows is None:
            return found
        hits = ids[..., None] == self.ids
        rows = self.rows[hits.long().argmax(-1)].to(found.dtype)
        return torch.where(hits.any(-1, keepdim=True), rows, found)


@torch.inference_mode()
def read_changes(found: Adapter, model: Any) -> dict[str, Change]:
    """The changes by the name of the layer, on the devices of the layers.

    Raises:
        UserError: adapter_does_not_fit, adapter_layer_unknown.
    """
    layers = dict(_layers(model))
    _need_layers(found, layers)
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    changes: dict[str, Change] = {}
    for name, tensors in _read(found).items():
        changes[name] = _change(found, name, layers[name], tensors, model.dtype)
        is_shared = layers[name] is table and getattr(head, "weight", None) is table.weight
        if "rows" in tensors and is_shared:
            changes.update({other: changes[name] for other, layer in layers.items() if layer is head})
    return changes


def obstacle(found: Adapter, model: Any) -> str:
    """Why the arithmetic here is not enough for an adapter; empty when it is. For the log."""
    if found.needs_peft:
        return found.needs_peft
    layers = dict(_layers(model))
    others = [name for name in found.tensors if name not in layers and _has_module(model, name)]
    if others:
        return f"it changes {others[0]}"
    tables = [name for name, roles in found.tensors.items() if type(layers.get(name)) is nn.Embedding and "a" in roles]
    return f"it changes the table {tables[0]}" if tables else ""


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Everything that maps a vector to a vector by a matrix, and the tables of embeddings."""
    for name, module in model.named_modules():
        if hasattr(module, "in_features") or type(module) is nn.Embedding:
            yield name, module


def shape_of(layer: Any) -> tuple[int, int]:
    """(inputs, outputs); of a table (width, rows)."""
    if isinstance(layer, nn.Embedding):
        return layer.embedding_dim, layer.num_embeddings
    return layer.in_features, layer.out_features


def _need_layers(found: Adapter, layers: Mapping[str, Any]) -> None:
    for name in found.tensors:
        if name not in layers:
            raise UserError("adapter_layer_unknown", name=found.folder.name, layer=name)
    adapter_files.need_fit(found, {name: shape_of(layers[name]) for name in found.tensors})


def _read(found: Adapter) -> dict[str, dict[Role, Tensor]]:
    from safetensors.torch import load_file

    tensors = load_file(found.folder / adapter_files.WEIGHTS_NAME)
    return {layer: {role: tensors[name] for role, (name, _) in roles.items()} for layer, roles in found.tensors.items()}


def _change(found: Adapter, name: str, layer: Any, tensors: Mapping[Role, Tensor], precision: torch.dtype) -> Change:
    device = _device(layer)
    # On a card the model's own precision saves a conversion for every product; a processor has time for fp32.
    kept = precision if device.type == "cuda" else torch.float32
    on = {role: tensor.to(device, torch.float32) for role, tensor in tensors.items() if role not in ("weight", "rows")}
    a, b, shift = on.get("a"), on.get("b"), on.get("shift")
    scale = found.scale(name)
    b = None if b is None else b * scale
    shift = None if shift is None else shift * scale
    own_bias = getattr(layer, "bias", None)
    gain = None
    if "magnitude" in on and a is not None and b is not None:
        gain = on["magnitude"] / _norms(layer, a, b, precision)
        b = gain[:, None] * b
        shift = _sum(shift, None if own_bias is None else own_bias.float() * (1 - gain))
    if "bias" in on:
        shift = _sum(shift, on["bias"] - (0 if own_bias is None or "weight" in tensors else own_bias.float()))
    elif "weight" in tensors and own_bias is not None:
        shift = _sum(shift, own_bias.float())
    return Change(
        a=None if a is None else a.to(kept),
        b=None if b is None else b.to(kept),
        gain=gain,
        shift=shift,
        weight=tensors["weight"].to(device, precision) if "weight" in tensors else None,
        ids=trained_ids(found, name).to(device) if "rows" in tensors else None,
        rows=tensors["rows"].to(device, kept) if "rows" in tensors else None,
    )


def trained_ids(found: Adapter, name: str) -> Tensor:
    """Of a list for the table of embeddings, or of one list for each layer that has trained rows."""
    wanted = found.config.get("trainable_token_indices")
    if isinstance(wanted, dict):
        wanted = next((ids for layer, ids in wanted.items() if name == layer or name.endswith(f".{layer}")), None)
    if not isinstance(wanted, list) or len(wanted) != found.tensors[name]["rows"][1].shape[0]:
        raise UserError("adapter_damaged", folder=found.folder.name, layer=name)
    return torch.tensor(wanted)


def _norms(layer: Any, a: Tensor, b: Tensor, precision: torch.dtype) -> Tensor:
    """The length of each row of W + B A, by asking the layer for its columns: so its weights may be of any kind."""
    inputs, outputs = shape_of(layer)
    squares = torch.zeros(outputs, device=a.device)
    bias = getattr(layer, "bias", None)
    for start in range(0, inputs, NORM_CHUNK):
        columns = torch.arange(start, min(start + NORM_CHUNK, inputs), device=a.device)
        found = layer(F.one_hot(columns, inputs).to(precision)).float()
        found = found if bias is None else found - bias.float()
        squares += (found + (b @ a[:, columns]).T).square().sum(0)
    return squares.sqrt()


def _device(layer: Any) -> torch.device:
    """Where it computes; its weights may lie elsewhere and be brought there by accelerate."""
    if (hook := getattr(layer, "_hf_hook", None)) is not None and hook.execution_device is not None:
        return torch.device(hook.execution_device)
    if isinstance(device := getattr(layer, "device", None), torch.device):
        return device
    return torch.device(next(iter((*layer.parameters(), *layer.buffers()))).device)


def _sum(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _has_module(model: Any, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True
