"""Where a model runs and in which precision, each answer with its reason.

Invariant: a reason is the name of a sentence in the catalogue (`reason.<name>`). Asks torch about this machine only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from core.errors import UserError
from core.load_options import LoadOptions
from core.models.checkpoint import Precision


@dataclass(frozen=True, slots=True)
class Placement:
    """`is_exact`: somebody asked for this very precision, so nothing is computed in another one."""

    device: torch.device
    device_reason: str
    dtype: torch.dtype
    precision_reason: str
    is_exact: bool

    def spare_bytes(self) -> int:
        """Memory that is free on the device now."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info()[0])
        return int(psutil.virtual_memory().available)


DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
# Reasons that speak of all weights, for models whose layers are quantised while loading.
BESIDE_PACKED = {
    "processor_reads_in_fp32": "processor_beside_packed",
    "processor_with_bf16": "precision_beside_packed",
    "precision_as_stored": "precision_beside_packed",
}
CONFIG_FLAGS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}  # of the first generation


def place(options: LoadOptions, stored: Precision, config: Mapping[str, Any] | None = None) -> Placement:
    """stored: the precision the plain weights lie in; config: the contents of config.json.

    Raises:
        UserError: config_precisions, a config that asks for several.
    """
    device, device_reason = _device(options)
    has_card = device.type == "cuda"
    asked = _asked_by(config or {})
    if options.weights in DTYPES:
        return Placement(device, device_reason, DTYPES[options.weights], "precision_asked_for", True)
    dtype, reason = _card_precision(stored, asked) if has_card else _processor_precision(stored, asked)
    if options.weights in ("int4", "nf4") and dtype == torch.float32:
        dtype, reason = torch.bfloat16, "precision_of_packed"
    elif options.weights in ("int8", "int4", "nf4"):
        reason = BESIDE_PACKED.get(reason, reason)
    return Placement(device, device_reason, dtype, reason, False)


def _device(options: LoadOptions) -> tuple[torch.device, str]:
    if options.device == "cpu":
        return torch.device("cpu"), "processor_asked_for"
    if torch.cuda.is_available():
        return torch.device("cuda"), "runs_on_card"
    return torch.device("cpu"), "no_card_for_torch"


def _asked_by(config: Mapping[str, Any]) -> torch.dtype | None:
    """The precision a config of the first generation names; None leaves the choice open."""
    if config.get("model_type") != "qwen":
        return None
    flags = [flag for flag in CONFIG_FLAGS if config.get(flag) is True]
    if len(flags) > 1:
        raise UserError("config_precisions", flags=", ".join(flags))
    return CONFIG_FLAGS[flags[0]] if flags else None


def _card_precision(stored: Precision, asked: torch.dtype | None) -> tuple[torch.dtype, str]:
    capability = torch.cuda.get_device_capability()[0]
    if asked == torch.float32:
        return asked, "precision_of_config"
    if capability < 7:
        return torch.float32, "card_without_half"
    if capability < 8:
        return torch.float16, "card_without_bf16"
    if asked is not None:
        return asked, "precision_of_config"
    if stored == "float16":
        return torch.float16, "precision_as_stored"
    return torch.bfloat16, "card_with_bf16"


def _processor_precision(stored: Precision, asked: torch.dtype | None) -> tuple[torch.dtype, str]:
    if asked == torch.float32:
        return asked, "precision_of_config"
    if stored == "float32":
        return torch.float32, "precision_as_stored"
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return DTYPES[stored], "processor_with_bf16"
    return DTYPES[stored], "processor_reads_in_fp32"
