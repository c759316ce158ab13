"""A model of an architecture with random weights, made on the device it will run on: no file, no download.

Invariant: its layers are those that loading a folder in the same form would give, so speed and memory are true; what it
says is noise. No matrix is there in two forms at once, beyond the one that is being made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.load_options import LoadOptions
from core.models import context, tree
from core.models.attention import choose_attention
from core.models.load import LoadedModel, weight_bytes
from core.models.placement import DTYPES, place
from core.models.quantised import choice
from core.models.quantised.at_load import NARROW, quantised
from core.models.shape import shape_of

SPREAD = 0.02  # of the weights, as models are initialised
Tell = Callable[[int, int], None]


def make(
    config_text: str, options: LoadOptions, tell: Tell = lambda done, total: None, seed: int = 1024
) -> LoadedModel:
    """
    Raises:
        UserError: config_incomplete, architecture_unknown; profile_random_nf4.
    """
    if options.weights == "nf4":
        raise UserError("profile_random_nf4")
    config = msgspec.json.decode(config_text, type=dict[str, Any])
    shape = shape_of(config)
    stored = shape.stored if shape.stored in DTYPES else "bfloat16"
    placement = place(options, stored, config)  # type: ignore[arg-type]
    length = context.plan(config, options.context_length)
    implementation, notices = choose_attention(options, placement)
    with tempfile.TemporaryDirectory() as place_:
        folder = Path(place_)
        (folder / "config.json").write_text(config_text, "utf-8")
        theirs = tree.config_of(folder)
        context.stretch(theirs, length)
        model = tree.empty(folder, theirs, placement.dtype, implementation)
    form = options.weights if options.weights in ("int8", "int4") else "plain"
    with torch.inference_mode(False), torch.no_grad():
        _Filling(model, placement.device, placement.dtype, seed).run(form, tell)
    found = choice.planned(model, placement.dtype, is_exact=placement.is_exact)
    return LoadedModel(
        model=model,
        placement=placement,
        architecture=type(model).__name__,
        parameters=shape.parameters,
        weight_bytes=weight_bytes(model),
        context_length=length.length,
        stop_ids=frozenset(),
        weights=form if form != "plain" else str(placement.dtype).removeprefix("torch."),
        backend=found.name if found else "",
        backend_reason=found.reason if found else "",
        attention=model.config._attn_implementation,
        notices=notices,
        config=config,
    )


class _Filling:
    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._chance = torch.Generator(device).manual_seed(seed)

    def run(self, form: str, tell: Tell) -> None:
        modules = [(name, module) for name, module in self._model.named_modules() if module._parameters]
        head = self._model.get_output_embeddings()
        for done, (name, module) in enumerate(modules):
            tell(done, len(modules))
            is_wide = type(module) is nn.Linear and min(module.in_features, module.out_features) >= NARROW
            if form != "plain" and is_wide:
                self._quantise(name, module, "int8" if module is head else form)
            else:
                self._fill(module)
        if form == "plain":
            self._model.tie_weights()
        else:
            self._model.config.tie_word_embeddings = False
        self._model.to(self._device)  # the buffers
        self._model.requires_grad_(False)

    def _quantise(self, name: str, layer: nn.Linear, kind: str) -> None:
        weight = self._random(layer.weight.shape)
        bias = None if layer.bias is None else self._random(layer.bias.shape)
        parent, _, leaf = name.rpartition(".")
        setattr(self._model.get_submodule(parent), leaf, quantised(weight, bias, kind).eval())

    def _fill(self, module: nn.Module) -> None:
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            is_norm = parameter.dim() == 1 and name == "weight"
            made = self._random(parameter.shape)
            module._parameters[name] = nn.Parameter(made + 1 if is_norm else made, requires_grad=False)

    def _random(self, size: torch.Size) -> Tensor:
        empty = torch.empty(size, dtype=self._dtype, device=self._device)
        return empty.normal_(0, SPREAD, generator=self._chance)
