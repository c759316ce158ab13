"""A model made ready to be trained: loaded in the right precision, with the adapter on it that the recipe asks for.

Invariant: what trains is fp32, whatever the rest is held in; nothing of the base model changes except in a full
fine-tune.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from core.errors import UserError
from core.load_options import LoadOptions, WeightChoice
from core.models import families
from core.models.checkpoint import Precision, examine
from core.models.load import LoadedModel, Loading, LoadStep
from core.models.placement import place
from core.models.quantised.bits_and_bytes import fetching_nothing, keep_differentiable
from core.models.quantised.linear import QuantisedLinear
from core.training import trial
from core.training.attention import PACKED
from core.training.loss import Head
from core.training.recipe import Recipe

Half = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    model: a PeftModel, or the model itself in a full fine-tune
    compute: the precision of products; reason: why that one, `reason.<key>`
    packs: rows may lie one after the other; head: what gives the loss, None for whole logits
    trained: parameters that change
    """

    model: Any
    loaded: LoadedModel
    compute: torch.dtype
    reason: str
    packs: bool
    head: Head | None
    trained: int


def prepare(
    recipe: Recipe, folder: Path, new_ids: tuple[int, ...] = (), tell: Callable[[LoadStep], None] = lambda step: None
) -> Prepared:
    """new_ids: tokens the base model has never seen and shall learn, with their rows of embedding and head.

    Raises:
        UserError: what load says; qlora_of_plain_only, full_of_quantised, targets_missing, optimiser_needs_card.
    """
    found = examine(folder)
    if recipe.method == "full" and found.scheme is not None:
        raise UserError("full_of_quantised", model=folder.name)
    options, compute, reason = how_loaded(recipe, found.precision, found.config, found.scheme is not None)
    loading = Loading(folder, options)  # which also gives back what it read and does not need any more
    for step in loading:
        if step is not None:
            tell(step)
    return made_ready(recipe, loading.model, compute, reason, new_ids)


def how_loaded(
    recipe: Recipe, stored: Precision, config: Mapping[str, Any], is_quantised: bool
) -> tuple[LoadOptions, torch.dtype, str]:
    """How the base model is loaded, the precision of products, and why that one."""
    options = LoadOptions(weights=_weights(recipe, is_quantised), device=recipe.device)
    compute, reason = _compute(recipe, options, stored, config)
    if options.weights == "auto" and not is_quantised and compute == torch.float32:
        options = msgspec.structs.replace(options, weights="float32")
    return options, compute, reason


def made_ready(
    recipe: Recipe, loaded: LoadedModel, compute: torch.dtype, reason: str, new_ids: tuple[int, ...] = ()
) -> Prepared:
    """A model that was loaded so, with its adapter and our shorter ways where they hold."""
    model = loaded.model
    keep_differentiable(model)
    if compute in Half and model.dtype in Half and model.dtype != compute:
        model.to(compute)  # what is not packed; autocast knows one half precision at a time
    packs = recipe.packing and can_pack(model)
    model.config.use_cache = False
    if recipe.method == "full":
        _unfreeze(model)
    else:
        model = with_adapter(model, recipe, new_ids)
    head = Head(model)
    if not (gives_loss := trial.head_gives_loss(model, head)):
        head.release()
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Prepared(model, loaded, compute, reason, packs, head if gives_loss else None, trained)


def can_pack(model: Any) -> bool:
    """Every layer looks back by attention, ours or flash, and gives the same for rows that lie one after the other. A
    recurrent state would be carried over into the next row."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if kinds & {"linear_attention", "recurrent"} or not getattr(model, "_supports_attention_backend", False):
        return False
    usual = str(model.config._attn_implementation)
    if "flash" not in usual:
        model.set_attn_implementation(PACKED)
    if trial.packs(model):
        return True
    model.set_attn_implementation(usual)
    return False


def target_layers(model: Any, recipe: Recipe) -> list[str]:
    """The last parts of the names of the layers that get an adapter.

    Raises:
        UserError: targets_missing, when none of them is in the model.
    """
    asked = recipe.targets or families.family_of(model.config.to_dict()).adapter_targets or families.DENSE
    there = {
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | QuantisedLinear) and layer is not model.get_output_embeddings()
    }
    found = [name for name in asked if name in there]
    if not found and recipe.targets:
        raise UserError("targets_missing", layers=", ".join(recipe.targets), known=", ".join(sorted(there)))
    return found or sorted(there)


def with_adapter(model: Any, recipe: Recipe, new_ids: tuple[int, ...]) -> Any:
    """A PeftModel around `model`, whose own weights are frozen."""
    with fetching_nothing():
        from peft import LoraConfig, get_peft_model
        from peft.tuners.lora import Linear

    torch.manual_seed(recipe.seed)  # of the first factors
    layers: dict[str, Any] = {}
    if new_ids and recipe.new_tokens != "none":
        layers = _new_rows(model, new_ids, whole=recipe.new_tokens == "full")
    config = LoraConfig(
        task_type="CAUSAL_LM", r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout,  # type: ignore[arg-type]
        use_rslora=recipe.rslora, use_dora=recipe.dora, target_modules=target_layers(model, recipe), **layers,
    )  # fmt: skip
    config._register_custom_module({kind: Linear for kind in _own_kinds(model)})
    with warnings.catch_warnings(action="ignore"):
        return get_peft_model(model, config)


def _own_kinds(model: Any) -> set[type[nn.Module]]:
    """Our quantised layers, which PEFT does not know."""
    return {type(layer) for layer in model.modules() if isinstance(layer, QuantisedLinear)}


def _new_rows(model: Any, ids: tuple[int, ...], *, whole: bool) -> dict[str, Any]:
    """For LoraConfig: the embedding and, where it is another table, the head."""
    parts, is_tied = [model.get_input_embeddings()], bool(model.config.get_text_config().tie_word_embeddings)
    if not is_tied:
        parts.append(model.get_output_embeddings())
    names = [name for name, layer in model.named_modules() if any(layer is part for part in parts)]
    short = [name.rpartition(".")[2] for name in names]
    if whole:
        return {"modules_to_save": short, "ensure_weight_tying": is_tied}
    return {"trainable_token_indices": {name: list(ids) for name in short}}


def _weights(recipe: Recipe, is_quantised: bool) -> WeightChoice:
    if recipe.method == "full":
        return "float32"
    if recipe.method == "qlora" and not is_quantised:
        return "nf4" if recipe.weights == "auto" else recipe.weights
    return "auto"


def _compute(
    recipe: Recipe, options: LoadOptions, precision: Precision, config: Mapping[str, Any]
) -> tuple[torch.dtype, str]:
    if recipe.precision != "auto":
        return getattr(torch, recipe.precision), "precision_asked_for"
    stored = place(msgspec.structs.replace(options, weights="auto"), precision, config)
    if stored.device.type == "cpu" and stored.dtype in Half and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32, "training_without_bf16"
    if recipe.method == "full" and stored.device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16, "processor_with_bf16"
    if stored.dtype == torch.float16 and _has_bf16(stored.device):
        return torch.bfloat16, "training_in_bf16"  # its range spares the scaling of the loss
    return stored.dtype, stored.precision_reason


def _has_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability()[0] >= 8


def _unfreeze(model: Any) -> None:
    """Weights that are mapped from their files become memory of our own, one after the other."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
        parameter.requires_grad_(True)
