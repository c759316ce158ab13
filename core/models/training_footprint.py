"""How much memory a fine-tune of a model will take: what the badges before a download and the wizard show.

Arithmetic on a `Shape`, no torch. Formulas: frozen weights as for running; what trains in fp32, with a gradient of the
same size and what the optimiser remembers of it, on several devices the part of one; of each token and layer what the
backward pass needs (`kept_bytes`), or with gradient checkpointing only its input, and one layer while it is computed
again; the loss a few tokens at a time. On a processor the C library holds more than is used unless memory is short
(core.models.memory): by how much was measured, see benchmarks/training_memory.py. Invariant: `total` is the peak of one
step, of everything in the process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from core.load_options import DEFAULT, LoadOptions, WeightChoice
from core.models.footprint import FAULT_BYTES, DeviceKind, block_bytes, overhead_bytes, weight_bytes
from core.models.shape import Block, Shape

Method = Literal["full", "lora", "qlora"]
Parallel = Literal["none", "ddp", "fsdp", "zero2", "zero3"]

RANK = 64  # as in Qwen's README
TRAINED_BYTES = 4
OPTIMISER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.1, "paged_adamw_8bit": 2.1, "adafactor": 0.1, "sgd": 0.0}
SLACK = {"cpu": 1.0, "cuda": 1.05}  # what the allocator of a card keeps for itself
SHARE_OPTIMISER, SHARE_WEIGHTS = ("fsdp", "zero2", "zero3"), ("fsdp", "zero3")
SEEN_PASSES = 2.9  # whose rows of a mapped table of embeddings are in memory; the system drops pages it needs
PROCESS_BYTES = 95_000_000  # of the libraries for training, beyond those for running
LOGITS_BYTES = {"cpu": 32 << 20, "cuda": 256 << 20}  # in fp32, at once
LOGITS_COPIES = 2.95  # in the precision of the products, and what their sum takes
# Layers' worth of what is kept that are there besides: while one is computed again, or in what its gradient passes
# through. And what the heap of a processor holds of each layer that is kept.
AGAIN_LAYERS, PASSING_LAYERS, HEAP = 0.4, 1.85, 1.62
REORDERED = 0.115  # of the widest matrix: a processor puts the weights of a product in another order while it lasts


@dataclass(frozen=True, slots=True)
class Step:
    """What of a recipe decides the memory of one step.

    tokens: that go through the model at once; half: products are computed in two bytes
    rows: of embedding and head that are trained beside the factors; weights: of a Q-LoRA's base
    devices: over which the rows are dealt out, and by `parallel` what is kept of each parameter
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
    devices: int = 1
    parallel: Parallel = "none"


@dataclass(frozen=True, slots=True)
class TrainingFootprint:
    """Bytes. weights: of the base model; adapter: what trains beside it; activations: of one pass, loss included."""

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    overhead: int

    slack: float = 1.0

    @property
    def trained(self) -> int:
        return self.adapter + self.gradients + self.optimiser

    @property
    def total(self) -> int:
        return round((self.weights + self.trained + self.activations) * self.slack) + self.overhead


def estimate_training(shape: Shape, step: Step, device: DeviceKind = "cpu") -> TrainingFootprint:
    """Of one device, which is the one there is or one of several."""
    trained = trained_parameters(shape, step)
    shared = step.devices if step.parallel in SHARE_OPTIMISER else 1  # by so many devices, each holding its part
    split = step.devices if step.parallel in SHARE_WEIGHTS else 1
    gradients = trained * TRAINED_BYTES + _tied_gradients(shape, step)
    return TrainingFootprint(
        weights=(_weights(shape, step, device) + _casts(shape, step)) // split + _gathered(shape, step),
        adapter=0 if step.method == "full" else trained * TRAINED_BYTES // split,
        gradients=gradients // shared * _bucketed(step),
        optimiser=round(trained * OPTIMISER_BYTES[step.optimiser]) // shared,
        activations=_activations(shape, step, device) + _unpacked(shape, step.method),
        overhead=overhead_bytes(shape, device) + (PROCESS_BYTES if device == "cpu" else 0),
        slack=SLACK[device],
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
        options = msgspec.structs.replace(DEFAULT, weights=step.weights)
        return weight_bytes(shape, options, device) - _unseen(shape, step, options, device)
    options = DEFAULT if step.half or shape.quantised else msgspec.structs.replace(DEFAULT, weights="float32")
    return weight_bytes(shape, options, device, context=_looked_up(shape, step, options, device))


def kept_bytes(block: Block, shape: Shape, step: Step) -> int:
    """Of one token in one layer, for the backward pass: the norms' inputs in fp32, the input of every linear layer in
    a copy of its own (adapters cast theirs), what attention and the gated product of the MLP look back at."""
    size = 2 if step.half else 4
    inputs = sum(matrix.columns * matrix.count for matrix in block.matrices if not matrix.is_expert)
    ranks = len(block.matrices) * step.rank if step.method != "full" else 0
    memory = block.memory
    seen = 2 * shape.queries * memory.key_width + 2 * memory.elements_per_token if memory is not None else 0
    return 2 * 4 * shape.hidden + size * (inputs + ranks + seen + 3 * shape.inner)


def _unseen(shape: Shape, step: Step, options: LoadOptions, device: DeviceKind) -> int:
    """Of a table of embeddings beside NF4 layers, which stays mapped from its file, what nobody has looked up yet."""
    if device != "cpu" or shape.head is None or options.weights != "nf4":
        return 0
    seen = _looked_up(shape, step, options, device) * FAULT_BYTES
    return max(0, block_bytes(shape.embedding, shape, options, device) - seen)


def _looked_up(shape: Shape, step: Step, options: LoadOptions, device: DeviceKind) -> int:
    """Places of a mapped table of embeddings that are in memory, as if each token were another one anywhere in it: the
    more there are the more often one is there already."""
    table = block_bytes(shape.embedding, shape, options, device)
    asked = SEEN_PASSES * step.tokens * FAULT_BYTES
    return round(table * -math.expm1(-asked / table) / FAULT_BYTES) if table else 0


def _activations(shape: Shape, step: Step, device: DeviceKind) -> int:
    kept = [kept_bytes(block, shape, step) for block in shape.layers]
    widest, size = max(kept, default=0), 2 if step.half else 4
    logits = round(min(LOGITS_BYTES[device], step.tokens * shape.vocabulary * 4) * LOGITS_COPIES)
    logits += _reordered(shape, size) if device == "cpu" else 0
    if step.checkpointing:
        inputs = size * shape.hidden * len(shape.layers)
        return round(step.tokens * (inputs + AGAIN_LAYERS * widest)) + logits
    heap = HEAP if device == "cpu" else 1.0
    return round(step.tokens * (heap * sum(kept) + PASSING_LAYERS * widest)) + logits


def _reordered(shape: Shape, size: int) -> int:
    widest = max(matrix.elements for block in shape.layers for matrix in block.matrices)
    return round(REORDERED * size * max(widest, shape.vocabulary * shape.hidden))


def _casts(shape: Shape, step: Step) -> int:
    """Where all weights train in fp32, products use copies of them in two bytes."""
    if step.method != "full" or not step.half:
        return 0
    body = sum(matrix.elements for block in shape.layers for matrix in block.matrices)
    return 2 * (body + shape.vocabulary * shape.hidden)


def _tied_gradients(shape: Shape, step: Step) -> int:
    """A table that is embedding and head gets two gradients before they are added."""
    return 6 * shape.vocabulary * shape.hidden if step.method == "full" and shape.head is None else 0


def _gathered(shape: Shape, step: Step) -> int:
    """Where each device holds a part of the weights, a whole layer is put together while it is computed, and the next
    one is already on its way; embedding and head stay."""
    if step.devices < 2 or step.parallel not in SHARE_WEIGHTS:
        return 0
    layers = (sum(matrix.elements for matrix in block.matrices) + block.others for block in shape.layers)
    tables = shape.vocabulary * shape.hidden * (1 if shape.head is None else 2)
    return (2 if step.half else 4) * (2 * max(layers, default=0) + tables)


def _bucketed(step: Step) -> int:
    """DDP adds gradients up in buckets that are as large as they."""
    return 2 if step.devices > 1 and step.parallel in ("none", "ddp") else 1


def _unpacked(shape: Shape, method: Method) -> int:
    """The largest matrix in bf16: four-bit weights are unpacked one after the other."""
    if method != "qlora":
        return 0
    return 2 * max((matrix.rows * matrix.columns for block in shape.layers for matrix in block.matrices), default=0)
