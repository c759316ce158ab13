"""A model of an architecture with random weights, made on the device it will run on: no file, no download.

Invariant: its layers are those of a folder that is stored in the same form (for int8 and int4: of a GPTQ one), so speed
and memory are true; what it says is noise. No matrix is ever there in two forms.
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
from core.models.load import LoadedModel, LoadStep, weight_bytes
from core.models.placement import DTYPES, place
from core.models.quantised import choice
from core.models.quantised.at_load import NARROW
from core.models.quantised.linear import Int4Linear, Int8Linear
from core.models.quantised.rounding import group_of
from core.models.quantised.weight import QuantisedWeight
from core.models.shape import shape_of
from core.profiling.plan import Subject

SPREAD = 0.02  # of the weights, as models are initialised
SPREAD_OF_CODES = {8: 73.6, 4: 4.6}  # of codes that are all as likely
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


def loader(subject: Subject) -> Callable[[Path, LoadOptions, Callable[[LoadStep], None]], LoadedModel]:
    """For core.models.load.Loading, which gives back to the system what making it needed for a while."""

    def load(folder: Path, options: LoadOptions, tell: Callable[[LoadStep], None]) -> LoadedModel:
        return make(subject.config, options, lambda done, total: tell(LoadStep("loading_weights", done, total)))

    return load


class _Filling:
    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._chance = torch.Generator(device).manual_seed(seed)

    def run(self, form: str, tell: Tell) -> None:
        head = self._model.get_output_embeddings()
        is_tied = bool(self._model.config.get_text_config().tie_word_embeddings)
        modules = [(name, module) for name, module in self._model.named_modules()
                   if module._parameters and not (form == "plain" and is_tied and module is head)]  # fmt: skip
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
        """With codes by chance: rounding weights that nobody has trained would only take time and memory."""
        is_int4 = kind == "int4" and layer.in_features % 2 == 0
        weight = self._int4(layer) if is_int4 else self._int8(layer)
        bias = None if layer.bias is None else self._random(layer.bias.shape)
        parent, _, leaf = name.rpartition(".")
        made = Int4Linear(weight, bias) if is_int4 else Int8Linear(weight, bias)
        setattr(self._model.get_submodule(parent), leaf, made.eval())

    def _int8(self, layer: nn.Linear) -> QuantisedWeight:
        codes = self._codes(1, layer.out_features, layer.in_features)
        scales = torch.full((layer.out_features, 1), SPREAD / SPREAD_OF_CODES[8], device=self._device)
        return QuantisedWeight(codes, scales, None, None, 8)

    def _int4(self, layer: nn.Linear) -> QuantisedWeight:
        codes = self._codes(0, layer.out_features, layer.in_features // 2)
        groups = layer.in_features // group_of(layer.in_features)
        scales = torch.full((layer.out_features, groups), SPREAD / SPREAD_OF_CODES[4], device=self._device)
        zeros = torch.full(scales.shape, 8, dtype=torch.uint8, device=self._device)
        return QuantisedWeight(codes, scales.bfloat16(), zeros, None, 4)

    def _codes(self, least: int, rows: int, columns: int) -> Tensor:
        empty = torch.empty(rows, columns, dtype=torch.uint8, device=self._device)
        return empty.random_(least, 256, generator=self._chance)

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
