"""Which attention a model computes with: what was asked for, where it can be had, else what comes next and why.

Invariant: flash attention is never asked of transformers where it would fail: without its package, off a card, in fp32,
or beside 8-bit keys and values.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import torch

from core.load_options import LoadOptions
from core.models.placement import Placement
from core.protocol.messages import Notice

# None is SDPA, and plain attention for the few architectures that have no other.
IMPLEMENTATIONS = {"auto": None, "sdpa": None, "eager": "eager", "flash": "flash_attention_2"}


class Attention(NamedTuple):
    """implementation: transformers' name for it, None to let it choose; notices: why it is not what was asked for."""

    implementation: str | None
    notices: tuple[Notice, ...] = ()


def choose_attention(options: LoadOptions, placement: Placement) -> Attention:
    if options.attention == "flash" and (obstacle := _obstacle(options, placement)):
        return Attention(None, (Notice(obstacle),))
    return Attention(IMPLEMENTATIONS[options.attention])


def _obstacle(options: LoadOptions, placement: Placement) -> str:
    """The code of the notice; "" where flash attention can be used. First what no other choice can help."""
    if placement.device.type != "cuda" or torch.cuda.get_device_capability()[0] < 8:
        return "flash_without_card"
    if not find_spec("flash_attn"):
        return "flash_not_installed"
    if options.kv_cache in ("int8", "int8_compatible"):
        return "flash_without_int8_cache"
    return "flash_without_half_precision" if placement.dtype == torch.float32 else ""


def in_use(model: object) -> str:
    """What the model computes with, as LoadOptions.attention names it."""
    name = str(getattr(getattr(model, "config", None), "_attn_implementation", None) or "eager")
    return "flash" if "flash" in name else name
