"""How much memory a fine-tune of a model will take: what the badges before a download and the wizard show.

Arithmetic on a `Shape`, no torch. Formulas: frozen weights as for running; 16 bytes a trained parameter (fp32 weight,
gradient and two moments of Adam); with gradient checkpointing two bytes for each hidden element of each layer and
token, and the whole of one layer, (8 hidden + 3 inner) elements, again while it is recomputed; the loss in chunks of
CHUNK tokens, 6 bytes a logit. Invariant: `total` is the peak of one step, of everything in the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from core.load_options import DEFAULT
from core.models.footprint import DeviceKind, overhead_bytes, weight_bytes
from core.models.shape import Shape

Method = Literal["full", "lora", "qlora"]

RANK = 64  # as in Qwen's README
CHUNK = 512
TRAINED_BYTES = 16
SLACK = 1.05  # what the allocator keeps for itself


@dataclass(frozen=True, slots=True)
class TrainingFootprint:
    """Bytes. trained: what changes, its gradients and the optimiser; activations: of one step, loss included."""

    weights: int
    trained: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        return round((self.weights + self.trained + self.activations) * SLACK) + self.overhead


def estimate_training(
    shape: Shape, method: Method, *, length: int = 1024, batch: int = 1, rank: int = RANK, device: DeviceKind = "cpu"
) -> TrainingFootprint:
    """One step over `batch` rows of `length` tokens, with gradient checkpointing."""
    options = msgspec.structs.replace(DEFAULT, weights="nf4") if method == "qlora" and not shape.quantised else DEFAULT
    weights = 0 if method == "full" else weight_bytes(shape, options, device)
    trained = shape.parameters if method == "full" else adapter_parameters(shape, rank)
    return TrainingFootprint(
        weights=weights,
        trained=trained * TRAINED_BYTES,
        activations=_activations(shape, length * batch) + _unpacked(shape, method),
        overhead=overhead_bytes(shape, device),
    )


def adapter_parameters(shape: Shape, rank: int) -> int:
    """LoRA of this rank on every linear layer."""
    matrices = [matrix for block in shape.layers for matrix in block.matrices]
    return sum(rank * (matrix.rows + matrix.columns) * matrix.count for matrix in matrices)


def _activations(shape: Shape, tokens: int) -> int:
    kept = 2 * shape.hidden * len(shape.layers)
    one_layer = (8 * shape.hidden + 3 * shape.inner) * 2
    return tokens * (kept + one_layer) + min(tokens, CHUNK) * shape.vocabulary * 6


def _unpacked(shape: Shape, method: Method) -> int:
    """The largest matrix in bf16: four-bit weights are unpacked one after the other."""
    if method != "qlora":
        return 0
    return 2 * max((matrix.rows * matrix.columns for block in shape.layers for matrix in block.matrices), default=0)
