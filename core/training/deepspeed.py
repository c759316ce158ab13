"""DeepSpeed's settings, ZeRO-2 and ZeRO-3 as Qwen's scripts ship them. Used where the deepspeed extra is installed.

Invariant: what "auto" stands for comes from the recipe, through TrainingArguments.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from core.errors import UserError

SHARED: dict[str, Any] = {
    "fp16": {
        "enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2,
        "min_loss_scale": 1,
    },
    "bf16": {"enabled": "auto"},
    "gradient_accumulation_steps": "auto", "gradient_clipping": "auto", "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto", "steps_per_print": 100, "wall_clock_breakdown": False,
}  # fmt: skip
NOT_OFFLOADED = {"device": "none", "pin_memory": True}
ZERO: dict[str, dict[str, Any]] = {
    "zero2": {
        "stage": 2, "offload_optimizer": NOT_OFFLOADED, "allgather_partitions": True, "allgather_bucket_size": 2e8,
        "overlap_comm": True, "reduce_scatter": True, "reduce_bucket_size": 2e8, "contiguous_gradients": True,
    },
    "zero3": {
        "stage": 3, "offload_optimizer": NOT_OFFLOADED, "offload_param": NOT_OFFLOADED, "overlap_comm": True,
        "contiguous_gradients": True, "sub_group_size": 1e9, "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto", "stage3_param_persistence_threshold": "auto",
        "stage3_max_live_parameters": 1e9, "stage3_max_reuse_distance": 1e9,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}  # fmt: skip


def settings(stage: Literal["zero2", "zero3"]) -> dict[str, Any]:
    """The optimiser and its schedule stay ours: the published files would put a constant rate in place of the cosine.

    Raises:
        UserError: deepspeed_missing
    """
    if find_spec("deepspeed") is None:
        raise UserError("deepspeed_missing")
    return SHARED | {"zero_optimization": ZERO[stage]}
