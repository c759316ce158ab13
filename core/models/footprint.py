"""How much memory a model will take: weights, KV cache, workspace and what the process takes by itself.

Knows what our loader and engine allocate and nothing of torch, so the load dialog can ask at every click. Invariant:
`total` is the peak of the worker process from its start to the end of a reply that fills `context` tokens, the highest
of loading and answering; it is an estimate of bytes in use, not of what fits.

On a CPU that is the process's own memory (USS). Weights that are mapped from safetensors files are in it, because no
other process maps them: they are pages of the file, which the system can drop and read again, but they are read for
every token and so must fit all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from core.hardware import builds_native, processor
from core.load_options import DEFAULT, LoadOptions, int8_begins_at
from core.models import stored_grid
from core.models.shape import Block, Matrix, Memory, Shape, read_shape, shape_from, shape_of

__all__ = ["Footprint", "Shape", "estimate", "kv_bytes", "read_shape", "shape_from", "shape_of", "weights_format"]

DeviceKind = Literal["cpu", "cuda"]

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CHUNK = 512  # tokens of a prompt read at once
BUCKET = 256  # tokens; by how much a KV cache grows at the least
HEAP_BYTES = 32_000_000  # larger buffers go back to the system as soon as they are freed (glibc)
INT4_GROUP = 128  # inputs that share a scale and a zero

# Measured by benchmarks/footprint.py: a worker with its libraries and the code of a model; an entry of the vocabulary;
# what conversions may leave in memory before it goes back to the system (core.models.memory).
PROCESS_BYTES = {"cpu": 390_000_000, "cuda": 500_000_000}
VOCABULARY_ENTRY_BYTES = 700
CONVERTED_AT_ONCE = 48_000_000
ACTIVATION_BYTES = {"int8": 45, "int4": 30, "nf4": 30}  # an element of a row: these products take and give fp32
FAULT_BYTES = 65_536  # Linux brings so much of a mapped file into memory where one row of a table is looked up


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes. workspace: what is needed besides for a moment, at the highest moment; overhead: the process itself."""

    weights: int
    kv_cache: int
    workspace: int
    overhead: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.workspace + self.overhead


def estimate(
    shape: Shape,
    options: LoadOptions = DEFAULT,
    *,
    context: int = 0,
    batch: int = 1,
    device: DeviceKind = "cpu",
    chunk: int = CHUNK,
    threads: int = 0,
    from_files: bool = True,
) -> Footprint:
    """The memory that `shape`, loaded with `options`, takes to hold `context` tokens in each of `batch` sequences.

    context: 0 for the options' own length, and where they say none the model's. options.device is not looked at:
    `device` says which kind of memory is meant, and core.models.device_plan spreads over several. from_files: weights
    that are left as they are stay mapped, in memory as far as they were looked at; else all of them were made here.
    """
    context = context or options.context_length or shape.context_length
    return Footprint(
        weights=weight_bytes(shape, options, device, context=context if from_files else 0),
        kv_cache=kv_bytes(shape, options, context=context, batch=batch),
        workspace=workspace_bytes(
            shape, options, context=context, batch=batch, device=device, chunk=chunk, from_files=from_files
        ),
        overhead=overhead_bytes(shape, device),
    )


def overhead_bytes(shape: Shape, device: DeviceKind = "cpu") -> int:
    """What the process takes by itself: libraries, and on a CPU the vocabulary, which lies there anyway."""
    return PROCESS_BYTES[device] + (shape.vocabulary * VOCABULARY_ENTRY_BYTES if device == "cpu" else 0)


def weights_format(shape: Shape, options: LoadOptions, device: DeviceKind = "cpu") -> str:
    """How the matrices will lie in memory: "bfloat16", "float16", "float32", "int8", "int4" or "nf4"."""
    if options.weights != "auto":
        return options.weights
    if shape.quantised is not None:
        return "int8" if shape.quantised.bits == 8 else "int4"
    return shape.stored


def weight_bytes(shape: Shape, options: LoadOptions, device: DeviceKind = "cpu", *, context: int = 0) -> int:
    """All weights as they will lie in memory. context: the tokens that will be looked up, 0 for any number."""
    body = sum(block_bytes(block, shape, options, device) for block in (*shape.layers, shape.final))
    table = block_bytes(shape.embedding, shape, options, device)
    is_mapped = device == "cpu" and weights_format(shape, options, device) == shape.stored
    if is_mapped and shape.head is not None and context:  # the table is only looked up in
        table = min(table, context * FAULT_BYTES)
    return body + table + head_bytes(shape, options, device)


def head_bytes(shape: Shape, options: LoadOptions, device: DeviceKind = "cpu") -> int:
    """Of the head, 0 where it is the embedding. Where layers are quantised while loading it has 8 bits, and then one
    that shares its weights with the embedding gets a copy of its own."""
    if options.weights in ("int8", "int4"):
        return shape.vocabulary * (shape.hidden + 4)
    return block_bytes(shape.head, shape, options, device) if shape.head else 0


def block_bytes(block: Block, shape: Shape, options: LoadOptions, device: DeviceKind = "cpu") -> int:
    """The weights of one part of the model as they will lie in memory."""
    form = weights_format(shape, options, device)
    plain = ITEM_BYTES.get(form) or ITEM_BYTES.get(shape.stored, 2)
    is_layer = block.memory is not None
    matrices = sum(_matrix_bytes(matrix, form if is_layer else shape.stored, plain, shape) for matrix in block.matrices)
    return matrices + block.others * plain


def kv_bytes(shape: Shape, options: LoadOptions = DEFAULT, *, context: int, batch: int = 1) -> int:
    """Keys and values of `context` tokens in each of `batch` sequences, in the buffers that will hold them."""
    return batch * sum(memory_bytes(block.memory, shape, options, context) for block in shape.layers if block.memory)


def memory_bytes(memory: Memory, shape: Shape, options: LoadOptions, context: int) -> int:
    """The most that one layer keeps of one sequence on its way to `context` tokens."""
    item = ITEM_BYTES.get(weights_format(shape, options), 2)
    if memory.kind == "recurrent":
        return memory.state * item
    plain = memory.elements_per_token * item
    if memory.kind == "sliding":
        return min(context, memory.window) * plain
    tokens = _bucket(context, shape, options)
    before = {"int8": int8_begins_at(plain) - 1, "int8_compatible": 0}.get(options.kv_cache, context)
    if context <= before:
        return tokens * plain
    scales = 2 if options.kv_cache == "int8" else 4  # of keys and of values, the published layout with a zero each
    packed = tokens * (memory.elements_per_token + scales * memory.heads * item)
    return max(packed, _bucket(before, shape, options) * plain)


def int8_begins(shape: Shape, options: LoadOptions = DEFAULT) -> int:
    """Tokens of a sequence from which on `kv_cache` "int8" has its keys and values in 8 bits."""
    item = ITEM_BYTES.get(weights_format(shape, options), 2)
    memories = [block.memory for block in shape.layers if block.memory and block.memory.kind == "full"]
    return int8_begins_at(item * max((memory.elements_per_token for memory in memories), default=0))


def _bucket(context: int, shape: Shape, options: LoadOptions) -> int:
    """Rows of the buffer that holds `context` tokens: as core.inference.kv_rows.room_for."""
    bucket = max(BUCKET, context // 8 // BUCKET * BUCKET)
    most = options.context_length or shape.context_length or context
    return max(context, min(most, -(-context // bucket) * bucket))


def _matrix_bytes(matrix: Matrix, form: str, plain: int, shape: Shape) -> int:
    match "" if matrix.is_expert else form:  # experts stay plain
        case "int8":
            return matrix.elements + matrix.rows * matrix.count * 4
        case "int4":
            group, marks = shape.quantised.group if shape.quantised and matrix.bits else INT4_GROUP, 4
            if shape.had_4_bits:  # a scale in fp32 and a zero in 16 bits
                group, marks = stored_grid.GROUP, 6
            groups = -(-matrix.columns // group) if group > 0 else 1
            return matrix.elements // 2 + matrix.rows * matrix.count * groups * marks
        case "nf4":
            return matrix.elements // 2 + matrix.elements // 64 * 4
        case _:
            return matrix.elements * plain


def workspace_bytes(
    shape: Shape,
    options: LoadOptions,
    *,
    context: int,
    batch: int = 1,
    device: DeviceKind = "cpu",
    chunk: int = CHUNK,
    from_files: bool = True,
) -> int:
    """What is needed for a moment besides weights and keys and values: while a prompt is read, or on a CPU while the
    weights are brought into another form, whichever is more."""
    form = weights_format(shape, options, device)
    rows = min(chunk, context) * batch
    width = max(3 * shape.hidden, 2 * _inner(shape))
    logits = batch * shape.vocabulary * (ITEM_BYTES.get(form, 2) + 4)
    if device == "cuda":
        return rows * width * 3 + logits
    wide = form in ("bfloat16", "float16") and not reads_half_precision()
    converted = (
        max((m.rows * m.columns for block in shape.layers for m in block.matrices), default=0) * 4 if wide else 0
    )
    activations = rows * width * _activation_bytes(form)
    experts = _experts_bytes(shape, ITEM_BYTES.get(form, 0))
    reading = converted + activations + logits + experts + _growing_bytes(shape, options, context, batch)
    if form in ITEM_BYTES:
        return reading
    # While the weights are quantised and packed no keys and values are held, but all of the table has been read.
    untouched = max(0, block_bytes(shape.embedding, shape, options, device) - context * FAULT_BYTES) * from_files
    kept = kv_bytes(shape, options, context=context, batch=batch)
    return max(0, reading - untouched, _packing_bytes(shape) - kept)


def _growing_bytes(shape: Shape, options: LoadOptions, context: int, batch: int) -> int:
    """Keys and values move to larger buffers as they grow; the smaller ones stay in the heap. In 8 bits there are more
    buffers, and rows on their way from one form to the other; the moment when they all move, one layer after the
    other, needs less than that."""
    if context <= BUCKET:
        return 0
    plain = kv_bytes(shape, msgspec.structs.replace(options, kv_cache="plain"), context=context, batch=batch)
    in_8_bits = options.kv_cache == "int8_compatible" or (
        options.kv_cache == "int8" and context >= int8_begins(shape, options)
    )
    share = 0.75 if in_8_bits else 0.5
    return min(round(share * plain), 2 * HEAP_BYTES * len(shape.layers))


def _inner(shape: Shape) -> int:
    """The widest inner row of an MLP that all tokens go through."""
    if not any(matrix.is_expert for block in shape.layers for matrix in block.matrices):
        return shape.inner
    return max((m.rows for block in shape.layers for m in block.matrices if not m.is_expert), default=0)


def _experts_bytes(shape: Shape, item: int) -> int:
    """The experts of a layer are laid out anew when they are loaded, and again while a prompt goes through them."""
    return 2 * max((sum(m.elements for m in block.matrices if m.is_expert) * item for block in shape.layers), default=0)


def _packing_bytes(shape: Shape) -> int:
    """Source weights that have not gone back to the system yet."""
    matrices = (matrix.rows * matrix.columns for block in shape.blocks for matrix in block.matrices)
    largest = max(shape.embedding.others, *matrices, 0)
    item = ITEM_BYTES.get(shape.stored, 2)
    again = largest if not builds_native() else 0  # torch's kernels keep codes beside what they pack them into
    return min(CONVERTED_AT_ONCE, shape.parameters * item) + largest * item // 4 - largest + again


def _activation_bytes(form: str) -> int:
    """Of an element of a row while a prompt is read."""
    return ACTIVATION_BYTES["int4" if form == "int8" and builds_native() else form] if form in ACTIVATION_BYTES else 9


def reads_half_precision() -> bool:
    """This CPU multiplies bf16 matrices at full speed, so prompts are not read in fp32."""
    return {"avx512bw", "avx512vl", "avx512dq"} <= processor()[1]
