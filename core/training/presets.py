"""Recipes to begin with: ours, and those of Qwen's own fine-tuning scripts. Title and sentence of each stand in the
translations, `preset.<name>` and `preset.<name>_means`.

Invariant: a preset says how to learn, never what: model, data and prompts stay as they were. One that is for several
devices counts its batch on each of them, and takes all that are there. Imports no torch.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from typing import Any

import msgspec

from core.errors import UserError
from core.paths import resources
from core.training.recipe import Recipe, made

ORDER = (
    "one_gpu", "quick_try", "least_memory", "fastest",
    "qwen_lora_single_gpu", "qwen_qlora_single_gpu", "qwen_lora_ds", "qwen_full_ds",
)  # fmt: skip
KEPT = ("model", "data", "name", "eval_data", "columns", "prompts", "answer_tokens", "device", "seed", "threads")


@lru_cache(maxsize=1)
def presets() -> dict[str, dict[str, Any]]:
    """The values of each, by name, in the order in which they are offered."""
    folder = resources() / "presets"
    return {name: tomllib.loads((folder / f"{name}.toml").read_text("utf-8")) for name in ORDER}


def applied(name: str, recipe: Recipe, devices: int = 1) -> Recipe:
    """`recipe` as the preset has it on a machine with so many devices; everything a preset is silent about goes back to
    the usual value.

    Raises:
        UserError: preset_needs_devices
    """
    kept = {key: getattr(recipe, key) for key in KEPT}
    known = made({"model": "x", "data": "x", **presets()[name]})
    if known.parallel != "none":
        if devices < 2:
            raise UserError("preset_needs_devices", preset=name)
        known = msgspec.structs.replace(known, devices=devices, batch=known.batch * devices)
    return msgspec.structs.replace(known, **kept)
