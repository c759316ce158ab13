"""Puts Int8Linear and Int4Linear in the place of a loaded model's linear layers, one after the other.

Invariant: a plain weight is let go as soon as its layer is quantised, so that the model never lies in memory twice;
what was mapped from files costs nothing until then. The head of a model keeps 8 bits where the others have 4.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from core.models.quantised.linear import Int4Linear, Int8Linear, QuantisedLinear
from core.models.quantised.parallel import Tell, each
from core.models.quantised.rounding import to_int4, to_int8

READING_DEVICE = torch.device("cpu")  # plain weights are mapped there, and go to a card one by one
NARROW = 16  # layers with fewer outputs or inputs (gates) gain nothing and stay as they are


def quantise(model: Any, kind: Literal["int8", "int4"], device: torch.device, dtype: torch.dtype, tell: Tell) -> None:
    """Every linear layer of the model; the rest goes to `device` in `dtype` as it is. A head that shares its weights
    with the embedding gets a copy of its own in 8 bits."""
    head = model.get_output_embeddings()
    jobs = [
        partial(_replace, model, name, layer, "int8" if layer is head else kind, device, dtype)
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= NARROW
    ]
    each(jobs, tell)
    model.to(device=device, dtype=dtype)
    if isinstance(model.get_output_embeddings(), QuantisedLinear):
        model.config.tie_word_embeddings = False


def has_plain_experts(model: Any) -> bool:
    """The experts of a layer are one tensor rather than linear layers, and so are never quantised."""
    return any(".experts." in name and parameter.dim() == 3 for name, parameter in model.named_parameters())


def _replace(model: Any, name: str, layer: nn.Linear, kind: str, device: torch.device, dtype: torch.dtype) -> None:
    bias = None if layer.bias is None else layer.bias.data.to(device, dtype)
    made = quantised(layer.weight.data.to(device), bias, kind)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, made.eval())


def quantised(weight: Tensor, bias: Tensor | None, kind: str) -> QuantisedLinear:
    """8 bits where the columns do not pair."""
    if kind == "int4" and weight.shape[1] % 2 == 0:
        return Int4Linear(to_int4(weight), bias)
    return Int8Linear(to_int8(weight), bias)
