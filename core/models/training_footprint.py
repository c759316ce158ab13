"""How much memory a fine-tune of a model will take: what the badges before a download and the wizard show.

Arithmetic on a `Shape`, no torch. Formulas: frozen weights as for running; what trains in fp32, with a gradient of the
same size and what the optimiser remembers of it; of each token and layer what the backward pass needs, or with gradient
checkpointing two bytes for each hidden element, and the whole of one layer while it is computed again; the loss in
chunks of CHUNK tokens. Invariant: `total` is the peak of one step, of everything in the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from core.load_options import DEFAULT, WeightChoice
from core.models.footprint import DeviceKind, overhead_bytes, weight_bytes
from core.models.shape import Shape

Method = Literal["full", "lora", "qlora"]

RANK = 64  # as in Qwen's README
CHUNK = 512
TRAINED_BYTES = 4
OPTIMISER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.1, "paged_adamw_8bit": 2.1, "adafactor": 0.1, "sgd": 0.0}
SLACK = 1.05  # what the allocator keeps for itself


@dataclass(frozen=True, slots=True)
class Step:
    """What of a recipe decides the memory of one step.

    tokens: that go through the model at once; half: products are computed in two bytes
    rows: of embedding and head that are trained beside the factors; weights: of a Q-LoRA's base
    """

    method: Method
    tokens: int = 1024
    rank: int = RANK
    targets: tuple[str, ...] = ()
    checkpointing: bool = True
    optimiser: str = "adamw"
    half: bool = True
    rows: int = 0
    weights: WeightChoice = "nf4"


@dataclass(frozen=True, slots=True)
class TrainingFootprint:
    """Bytes. weights: of the base model; adapter: what trains beside it; activations: of one pass, loss included."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    overhead: int

    @property
    def trained(self) -> int:
        return self.adapter + self.gradients + self.optimiser

    @property
    def total(self) -> int:
        return round((self.weights + self.trained + self.activations) * SLACK) + self.overhead


def estimate_training(shape: Shape, step: Step, device: DeviceKind = "cpu") -> TrainingFootprint:
    trained = trained_parameters(shape, step)
    return TrainingFootprint(
        weights=_weights(shape, step, device),
        adapter=0 if step.method == "full" else trained * TRAINED_BYTES,
        gradients=trained * TRAINED_BYTES,
        optimiser=round(trained * OPTIMISER_BYTES[step.optimiser]),
        activations=_activations(shape, step) + _unpacked(shape, step.method),
        overhead=overhead_bytes(shape, device),
    )


def trained_parameters(shape: Shape, step: Step) -> int:
    if step.method == "full":
        return shape.parameters
    return adapter_parameters(shape, step.rank) + step.rows * shape.hidden


def adapter_parameters(shape: Shape, rank: int) -> int:
    """LoRA of this rank on every linear layer."""
    matrices = [matrix for block in shape.layers for matrix in block.matrices]
    return sum(rank * (matrix.rows + matrix.columns) * matrix.count for matrix in matrices)


def _weights(shape: Shape, step: Step, device: DeviceKind) -> int:
    if step.method == "full":
        return shape.parameters * TRAINED_BYTES
    if step.method == "qlora" and not shape.quantised:
        return weight_bytes(shape, msgspec.structs.replace(DEFAULT, weights=step.weights), device)
    options = DEFAULT if step.half or shape.quantised else msgspec.structs.replace(DEFAULT, weights="float32")
    return weight_bytes(shape, options, device)


def _activations(shape: Shape, step: Step) -> int:
    size = 2 if step.half else 4
    one_layer = (8 * shape.hidden + 3 * shape.inner) * size
    layers = len(shape.layers)
    kept = size * shape.hidden * layers + one_layer if step.checkpointing else one_layer * layers
    return step.tokens * kept + min(step.tokens, CHUNK) * shape.vocabulary * 6


def _unpacked(shape: Shape, method: Method) -> int:
    """The largest matrix in bf16: four-bit weights are unpacked one after the other."""
    if method != "qlora":
        return 0
    return 2 * max((matrix.rows * matrix.columns for block in shape.layers for matrix in block.matrices), default=0)
