"""Fills an empty module tree from a GPTQ folder: quantised layers become ours, everything else is assigned.

Invariant: afterwards every parameter has its weights and every tensor of the files has its place; what is missing, left
over or malformed is a UserError. Tensors are read one layer at a time, so nothing lies in memory twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.models.quantised import packing
from core.models.quantised.linear import Int4Linear, Int8Linear
from core.models.quantised.parallel import Tell, each
from core.models.quantised.scheme import SUFFIXES, Scheme
from core.models.quantised.weight import QuantisedWeight

EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)")
# Of models that also see or guess ahead: not part of the causal text model.
ELSEWHERE = re.compile(r"(mtp|visual|model\.visual|vision_tower|audio_tower)\.")
# Buffers some programs store; they are computed.
COMPUTED = re.compile(r"(inv_freq|logn_tensor|masked_bias|registered_causal_mask|\.attn\.bias)$")


class Files:
    """The tensors of a folder by name, read when asked for."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        from safetensors import safe_open

        self._file_of: dict[str, Any] = {}
        for name in names:
            opened: Any = safe_open(folder / name, framework="pt")
            self._file_of |= dict.fromkeys(opened.keys(), opened)

    def __iter__(self) -> Any:
        return iter(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._file_of[name].get_tensor(name)
        return tensor


class Filling:
    """
    keeps_packed: layers stay quantised; otherwise they are dequantised into the plain layers of the tree
    """

    def __init__(
        self,
        model: Any,
        files: Files,
        scheme: Scheme,
        dtype: torch.dtype,
        device: torch.device,
        *,
        keeps_packed: bool,
    ) -> None:
        self._model, self._files, self._scheme = model, files, scheme
        self._dtype, self._device = dtype, device
        self._keeps_packed = keeps_packed
        self._left_over: list[str] = []

    def run(self, tell: Tell) -> None:
        """
        Raises:
            UserError: weights_incomplete, weights_unexpected or quantisation_layer.
        """
        layers, experts, plain = self._sorted()
        jobs: list[Callable[[], None]] = [partial(self._layer, name) for name in layers]
        jobs += [partial(self._experts, where, names) for where, names in experts.items()]
        each(jobs, tell)
        for name in plain:
            self._assign(name, self._files.read(name))
        self._finish()

    def _sorted(self) -> tuple[list[str], dict[str, list[str]], list[str]]:
        """Names of quantised layers, of experts' layers by the module that holds them all, and of plain tensors."""
        names = [name for name in self._files if not ELSEWHERE.match(name) and not COMPUTED.search(name)]
        quantised = {name.removesuffix(".qweight") for name in names if name.endswith(".qweight")}
        experts: dict[str, list[str]] = defaultdict(list)
        plain: list[str] = []
        for name in names:
            layer, _, leaf = name.rpartition(".")
            found = EXPERT.fullmatch(layer)
            if found and self._holds_all(found[1]):
                if leaf in ("qweight", "weight"):
                    experts[found[1]].append(layer)
            elif layer not in quantised:
                plain.append(name)
        inside = {layer for layers in experts.values() for layer in layers}
        return sorted(quantised - inside), experts, plain

    # --- one layer -----------------------------------------------------------------

    def _layer(self, name: str) -> None:
        place = _in_tree(name)
        module = self._find(place)
        if type(module) is not nn.Linear:
            self._left_over.append(f"{name}.qweight")
            return
        weight = self._read(name)
        if (weight.out_features, weight.in_features) != (module.out_features, module.in_features):
            raise UserError("weights_incomplete", count=1, first=f"{name}.qweight")
        bias = self._bias(name, module)
        if not self._keeps_packed:
            module.weight = nn.Parameter(self._plain(weight), requires_grad=False)
            module.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
            return
        made = Int4Linear(weight, bias) if weight.bits == 4 else Int8Linear(weight, bias)
        parent, _, leaf = place.rpartition(".")
        setattr(self._model.get_submodule(parent), leaf, made.eval())

    def _read(self, name: str) -> QuantisedWeight:
        tensors = {suffix: f"{name}.{suffix}" for suffix in SUFFIXES}
        for suffix, tensor in tensors.items():
            if suffix != "g_idx" and tensor not in self._files:
                raise UserError("weights_incomplete", count=1, first=tensor)
        read = {suffix: self._files.read(tensor) for suffix, tensor in tensors.items() if tensor in self._files}
        try:
            weight = packing.read(read, self._scheme)
        except packing.Malformed as error:
            raise UserError("quantisation_layer", layer=name, detail=str(error)) from None
        return weight.to(self._device)

    def _bias(self, name: str, module: nn.Linear) -> Tensor | None:
        """Files store zeros for layers that have none; anything else is added even there."""
        has_bias = module._parameters.get("bias") is not None
        if f"{name}.bias" not in self._files:
            if has_bias:
                raise UserError("weights_incomplete", count=1, first=f"{name}.bias")
            return None
        bias = self._files.read(f"{name}.bias").to(self._device, self._dtype)
        return bias if has_bias or bool(bias.any()) else None

    def _plain(self, weight: QuantisedWeight) -> Tensor:
        return weight.in_order_of_input(weight.dequantised()).to(self._dtype)

    # --- experts -------------------------------------------------------------------

    def _holds_all(self, where: str) -> bool:
        """The tree has one tensor for all experts there."""
        return hasattr(self._find(_in_tree(where)), "gate_up_proj")

    def _experts(self, where: str, names: list[str]) -> None:
        """All experts of a layer are one tensor in the tree, so they are dequantised into it."""
        module = self._find(_in_tree(where))
        gates_and_ups, downs = (torch.empty(p.shape, dtype=self._dtype, device=self._device)
                                for p in (module.gate_up_proj, module.down_proj))  # fmt: skip
        width, left = gates_and_ups.shape[1] // 2, 3 * len(gates_and_ups)
        for name in names:
            number, part = int(EXPERT.fullmatch(name)[2]), name.rpartition(".")[2]  # type: ignore[index]
            into = {"gate_proj": slice(0, width), "up_proj": slice(width, None)}.get(part)
            if number >= len(downs):
                self._left_over.append(name)
                continue
            is_packed = f"{name}.qweight" in self._files
            values = self._plain(self._read(name)) if is_packed else self._files.read(f"{name}.weight")
            target = downs[number] if into is None else gates_and_ups[number, into]
            if values.shape != target.shape:
                raise UserError("weights_incomplete", count=1, first=name)
            target.copy_(values)
            left -= 1
        if left:
            raise UserError("weights_incomplete", count=left, first=where)
        module.gate_up_proj = nn.Parameter(gates_and_ups, requires_grad=False)
        module.down_proj = nn.Parameter(downs, requires_grad=False)

    # --- everything else -----------------------------------------------------------

    def _assign(self, name: str, tensor: Tensor) -> None:
        parent, _, leaf = _in_tree(name).rpartition(".")
        module = self._find(parent)
        parameter = module._parameters.get(leaf) if module is not None else None
        if module is None or parameter is None:
            if leaf != "bias" or bool(tensor.any()):
                self._left_over.append(name)
            return
        if parameter.shape != tensor.shape:
            raise UserError("weights_incomplete", count=1, first=name)
        setattr(module, leaf, nn.Parameter(tensor.to(self._device, self._dtype), requires_grad=False))

    def _finish(self) -> None:
        if self._left_over:
            raise UserError("weights_unexpected", count=len(self._left_over), first=sorted(self._left_over)[0])
        self._model.tie_weights()
        missing = sorted(name for name, parameter in self._model.named_parameters() if parameter.is_meta)
        if missing:
            raise UserError("weights_incomplete", count=len(missing), first=missing[0])
        for module in self._model.modules():
            for leaf, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[leaf] = buffer.to(self._device)
        self._model.requires_grad_(False)

    def _find(self, name: str) -> Any:
        try:
            return self._model.get_submodule(name)
        except AttributeError:
            return None


def _in_tree(name: str) -> str:
    """The name of a tensor or layer in the module tree: of models that also see, only the language part is there."""
    return name.replace("model.language_model.", "model.", 1)
