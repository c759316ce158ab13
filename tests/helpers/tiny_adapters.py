"""Adapters as PEFT writes them, with random factors in place of trained ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel


def write(folder: Path, model: PreTrainedModel, *, seed: int = 0, base: str = "", **options: Any) -> Path:
    """Put LoRA on `model`, which is not usable afterwards, and save it. options: of LoraConfig."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **options})
    with warnings.catch_warnings(action="ignore"):
        made: Any = get_peft_model(model, config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if "magnitude" in name:  # of DoRA: must stay positive
                    parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
                elif parameter.requires_grad:
                    parameter.copy_(torch.randn_like(parameter) * 0.2)
        made.peft_config["default"].base_model_name_or_path = base
        made.save_pretrained(folder)
    return folder


def through_peft(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter as the PEFT library itself computes it."""
    with warnings.catch_warnings(action="ignore"):
        return PeftModel.from_pretrained(model, folder).eval()
