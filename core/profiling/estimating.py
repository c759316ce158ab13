"""Before a cell is run: what it would take of the memory, whether that is there, and what it asks of the machine.

Arithmetic on shapes, no torch: the front asks it. Invariant: a cell that is let run leaves HEADROOM of the memory free
by its estimate, so that a profile never takes the desktop down.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from core.errors import Param, UserError
from core.figures import size
from core.models import context, families, footprint
from core.models.footprint import DeviceKind
from core.models.shape import Shape, read_shape, shape_of
from core.models.training_footprint import estimate_training
from core.profiling.config_check import need_possible
from core.profiling.learning import Learned
from core.profiling.plan import QUALITY_ON_PROCESSOR, Cell, Subject
from core.profiling.result import CellResult, Estimate, MachineProbe
from core.training.pass_size import PassSize, pass_size, step_of
from core.training.recipe import Recipe

HEADROOM = 0.06  # of all memory of the device
PACKING = 3  # bytes an element, measured with Qwen3-0.6B's shape
RANK, ALPHA = 64, 16.0  # as the README's scripts
PARTS = ("weights", "kv_cache", "workspace", "overhead")
TRAINING_PARTS = ("weights", "adapter", "gradients", "optimiser", "activations", "overhead")

Obstacle = tuple[str, dict[str, Param]]


def shape_of_subject(subject: Subject) -> Shape:
    """
    Raises:
        UserError: as need_possible, read_shape and shape_of.
    """
    config = config_of(subject)
    need_possible(config, subject.source or subject.folder or subject.name)
    return shape_of(config) if subject.is_random else read_shape(Path(subject.folder))


def config_of(subject: Subject) -> dict[str, Any]:
    """Raises UserError config_missing, config_unreadable."""
    folder = Path(subject.folder)
    try:
        text = subject.config or (folder / "config.json").read_bytes()
        return msgspec.json.decode(text, type=dict[str, Any])
    except OSError:
        raise UserError("config_missing", folder=subject.folder) from None
    except msgspec.DecodeError:
        raise UserError("config_unreadable", file="config.json", folder=subject.folder) from None


def recipe_of(cell: Cell) -> Recipe:
    """A short fine-tune by the README's protocol: one row at a time, so many of them a step."""
    work = cell.training
    assert work is not None
    return Recipe(
        model=cell.subject.name, data="-", validation_share=0.0, length=work.length, method=work.method,
        weights="int4" if cell.subject.is_random else "auto", device="cpu" if cell.device == "cpu" else "auto",
        steps=cell.repeats + 1, batch=work.accumulate, pass_tokens=work.length, rank=RANK, alpha=ALPHA,
        new_tokens="full" if work.embeddings else "none", threads=cell.threads, save_every=1_000_000,
    )  # fmt: skip


def passes_of(cell: Cell, shape: Shape, free: int, device: DeviceKind) -> PassSize:
    assert cell.training is not None
    return pass_size(recipe_of(cell), shape, cell.training.length, free, device)


def estimate(cell: Cell, shape: Shape, device: DeviceKind, free: int, learned: Learned | None = None) -> Estimate:
    if cell.kind == "training":
        step = step_of(recipe_of(cell), passes_of(cell, shape, free, device))
        if cell.training is not None and cell.training.embeddings:
            step = replace(step, rows=shape.vocabulary)
        found: Any = estimate_training(shape, step, device)
        parts = {name: int(getattr(found, name)) for name in TRAINING_PARTS}
    else:
        tokens, batch = cell.tokens, cell.case.batch if cell.case else 1
        if cell.kind == "quality" and device == "cpu":
            tokens = QUALITY_ON_PROCESSOR
        found = footprint.estimate(
            shape, cell.options, context=tokens, batch=batch, device=device, from_files=not cell.subject.is_random
        )
        parts = {name: int(getattr(found, name)) for name in PARTS}
    formula = int(found.total)
    if cell.subject.is_random and device == "cpu":
        formula += _of_random(parts, cell, shape)
    extra = learned.extra_bytes(device, cell.kind == "training", formula) if learned else 0
    return Estimate(formula + extra, formula, parts)


def _of_random(parts: dict[str, int], cell: Cell, shape: Shape) -> int:
    """What a model that was made in this memory takes more than one that is mapped from files; written into parts. No
    tokenizer is read, and while the largest matrix is packed no pages of files can go in exchange."""
    before = sum(parts.values())
    parts["overhead"] -= shape.vocabulary * footprint.VOCABULARY_ENTRY_BYTES
    if cell.kind == "inference" and cell.weights in ("int8", "int4"):
        matrices = [matrix.rows * matrix.columns for block in shape.blocks for matrix in block.matrices]
        largest = max(shape.vocabulary * shape.hidden, *matrices)
        parts["workspace"] = max(parts["workspace"], PACKING * largest)
    return sum(parts.values()) - before


def obstacle(cell: Cell, wanted: Estimate, free: int, whole: int) -> Obstacle | None:
    """Why a cell will not be run, as the code of an error; free, whole: bytes of the device."""
    config = config_of(cell.subject)
    if cell.case is not None:
        limit = context.plan(config, cell.context).length
        if cell.tokens >= limit:
            return "profile_too_long", {"tokens": cell.tokens, "limit": limit}
        packed = cell.kv_cache not in ("auto", "plain")
        if cell.case.batch > 1 and packed and config.get("model_type") != "qwen":
            return "profile_batch_kv", {}
    if (work := cell.training) is not None:
        limit = families.lengths(config).limit
        if limit and work.length > limit:
            return "profile_too_long", {"tokens": work.length, "limit": limit}
    if cell.subject.is_random and cell.weights == "nf4":
        return "profile_random_nf4", {}
    if wanted.total + HEADROOM * whole > free:
        headroom = size(HEADROOM * whole)
        return "profile_would_not_fit", {"needed": size(wanted.total), "free": size(free), "headroom": headroom}
    return None


def shares(result: CellResult, shape: Shape, probe: MachineProbe) -> tuple[float | None, float | None]:
    """How much of the measured bandwidth decoding used, and of the matrix rate reading the prompt."""
    cell, found = result.cell, result.inference
    if found is None or cell.case is None or _has_experts(shape):  # how many experts a token goes through is not told
        return None, None
    limit = probe.copy.value if probe.device == "cuda" else max(probe.read.value, probe.copy.value)
    rate = max(probe.matrix_bf16.value, probe.matrix_fp32.value)
    steps_per_s = found.decode_tokens_per_s / cell.case.batch
    moved, computed = step_bytes(cell, shape, result), prompt_operations(cell, shape)
    bandwidth = moved * steps_per_s / limit if limit and steps_per_s else None
    matrix = computed / found.prompt_s / rate if rate and found.prompt_s and cell.case.prompt > 1 else None
    return bandwidth, matrix


def step_bytes(cell: Cell, shape: Shape, result: CellResult) -> float:
    """Read for one step: every matrix once, and the keys and values of half of what is decoded."""
    assert cell.case is not None
    device: DeviceKind = "cuda" if result.inference and result.inference.device.startswith("cuda") else "cpu"
    weights = sum(footprint.block_bytes(block, shape, cell.options, device) for block in (*shape.layers, shape.final))
    head = footprint.head_bytes(shape, cell.options, device)
    if not head:  # it is the embedding
        head = footprint.block_bytes(shape.embedding, shape, cell.options, device)
    tokens = cell.case.prompt + cell.case.new // 2
    rows = footprint.kv_bytes(shape, cell.options, context=max(1, tokens), batch=cell.case.batch)
    return float(weights + head + rows)


def prompt_operations(cell: Cell, shape: Shape) -> float:
    """Of the prompts in all layers: a multiplication and an addition for each weight, and attention, causal."""
    assert cell.case is not None
    body = sum(matrix.elements for block in shape.layers for matrix in block.matrices)
    width = max((block.memory.key_width for block in shape.layers if block.memory), default=0)
    attention = 2 * cell.case.prompt * shape.queries * width * len(shape.layers)
    return float(cell.case.batch * cell.case.prompt * (2 * body + attention))


def _has_experts(shape: Shape) -> bool:
    return any(matrix.is_expert for block in shape.layers for matrix in block.matrices)
