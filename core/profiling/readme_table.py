"""What the README of the first generation printed for an A100, to stand beside what is measured here.

Values of the README (QwenLM/Qwen): of the first version where it has them (7B and 14B; PyTorch 2.0.1, CUDA 11.4), of
its later one for sizes and formats that came after it (1.8B, 72B, Int8; FlashAttention 2). Its "GB" are GiB. Invariant:
nothing is compared but like with like: same shape, form of the weights, lengths and number of sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from core.profiling.plan import Case, Cell, TrainingCase
from core.profiling.result import CellResult

GIB = 1 << 30
DEVICE = "A100-SXM4-80G"

Quantity = Literal["speed", "memory", "step"]
"""speed: tokens a second, prompt counted; memory: bytes; step: seconds."""

SPEEDS = {  # (shape, weights): tokens/s for 2048 and 8192 new tokens
    ("7B", "bfloat16"): (30.34, 29.32), ("7B", "int4"): (43.56, 33.92),
    ("14B", "bfloat16"): (30.70, 21.73), ("14B", "int4"): (37.11, 26.11),
}  # fmt: skip
LATER_SPEEDS = {  # for 2048 new tokens: tokens/s, GiB
    ("1.8B", "bfloat16"): (54.09, 4.23), ("1.8B", "int8"): (55.56, 3.48), ("1.8B", "int4"): (71.07, 2.91),
    ("7B", "int8"): (37.47, 11.20), ("14B", "int8"): (29.28, 18.81),
    ("72B", "bfloat16"): (8.48, 144.69), ("72B", "int8"): (9.05, 81.27), ("72B", "int4"): (11.32, 48.86),
}  # fmt: skip
LATER_BF16_7B = (40.93, 16.99)  # beside which its Int8 stands
MEMORY = {  # GiB for a prompt of 2048, and for 8192 new tokens
    ("7B", "bfloat16"): (17.66, 22.58), ("7B", "int4"): (8.21, 13.62),
    ("14B", "bfloat16"): (30.15, 38.94), ("14B", "int4"): (13.00, 21.79),
}  # fmt: skip
KV_BATCHES = (1, 4, 16, 32, 64, 100)  # of 1024 new tokens, 7B in BF16
KV_OF_BATCH = {
    "plain": (16.3, 24.1, 31.7, 48.7, None, None),  # None: out of memory
    "int8": (15.5, 17.2, 22.3, 30.2, 48.2, 72.4),
}
KV_LENGTHS = (512, 1024, 2048, 4096, 8192)
KV_OF_LENGTH = {"plain": (15.2, 16.3, 17.6, 19.5, 23.2), "int8": (15.0, 15.5, 15.8, 16.6, 17.6)}
TRAINING_LENGTHS = (256, 512, 1024, 2048)
# "LoRA" of the first version trained embedding and head as well; (GiB, s/iter) for each length.
TRAINING = {
    ("7B", "lora"): ((33.5, 1.6), (34.0, 1.7), (35.0, 3.0), (35.0, 5.7)),
    ("7B", "qlora"): ((11.5, 3.0), (12.2, 3.6), (12.7, 4.8), (13.9, 7.3)),
    ("14B", "lora"): ((51.0, 2.1), (51.0, 2.7), (51.5, 5.0), (53.9, 9.2)),
    ("14B", "qlora"): ((18.3, 5.4), (18.4, 6.4), (18.5, 8.5), (19.9, 12.4)),
}

SHORT, LONG, ENCODING = Case(1, 2048), Case(1, 8192), Case(2048, 1)
CASES = (SHORT, LONG, ENCODING)


class Published(NamedTuple):
    """value: None where the README says that memory ran out."""

    quantity: Quantity
    value: float | None


class Compared(NamedTuple):
    """One number of the README beside ours. ratio: ours over the README's; None where one of them is missing."""

    cell: Cell
    quantity: Quantity
    published: float | None
    measured: float | None
    is_out_of_memory: bool = False

    @property
    def ratio(self) -> float | None:
        return self.measured / self.published if self.measured and self.published else None


def published(cell: Cell) -> tuple[Published, ...]:
    """What the README says of a cell; nothing for most. Both versions of its tables speak of the first generation."""
    if cell.training is not None:
        return _training(cell, cell.training)
    if cell.case is None:
        return ()
    form, at = (cell.subject.name, cell.weights), cell.case
    found: list[Published] = []
    if cell.kv_cache in ("auto", "plain") and at in CASES:
        if form in SPEEDS and at != ENCODING:
            found.append(Published("speed", SPEEDS[form][at == LONG]))
        if form in MEMORY and at != SHORT:
            found.append(Published("memory", MEMORY[form][at == LONG] * GIB))
        if form in LATER_SPEEDS and at == SHORT:
            speed, memory = LATER_SPEEDS[form]
            found += [Published("speed", speed), Published("memory", memory * GIB)]
    if not any(one.quantity == "memory" for one in found):
        found += _kv(cell, at)
    return tuple(found)


def _kv(cell: Cell, case: Case) -> Iterator[Published]:
    kind = "plain" if cell.kv_cache in ("auto", "plain") else "int8"
    if (cell.subject.name, cell.weights) != ("7B", "bfloat16") or case.prompt != 1:
        return
    if case.new == 1024 and case.batch in KV_BATCHES:
        value = KV_OF_BATCH[kind][KV_BATCHES.index(case.batch)]
    elif case.batch == 1 and case.new in KV_LENGTHS:
        value = KV_OF_LENGTH[kind][KV_LENGTHS.index(case.new)]
    else:
        return
    yield Published("memory", value * GIB if value else None)


def _training(cell: Cell, work: TrainingCase) -> tuple[Published, ...]:
    values = TRAINING.get((cell.subject.name, work.method))
    is_like = work.embeddings == (work.method == "lora")  # Q-LoRA never trained them
    if values is None or not is_like or work.accumulate != 8 or work.length not in TRAINING_LENGTHS:
        return ()
    memory, seconds = values[TRAINING_LENGTHS.index(work.length)]
    return Published("memory", memory * GIB), Published("step", seconds)


def compared(results: Iterable[CellResult]) -> list[Compared]:
    """Every number the README has for these cells beside ours; of cells it does not know, ours alone."""
    found: list[Compared] = []
    for result in results:
        known = {one.quantity: one.value for one in published(result.cell)}
        for quantity in known or _usual(result.cell):
            value = _measured(result, quantity)
            found.append(Compared(result.cell, quantity, known.get(quantity), value, result.state == "out_of_memory"))
    return found


def _usual(cell: Cell) -> tuple[Quantity, ...]:
    if cell.training is not None:
        return ("memory", "step")
    if cell.case is None:
        return ()
    return ("memory",) if cell.case.new == 1 else ("speed", "memory")


def _measured(result: CellResult, quantity: Quantity) -> float | None:
    """As the README counts: what PyTorch allocated on a card; the process's own memory elsewhere."""
    if result.state != "done":
        return None
    if quantity == "memory":
        return float(result.card_peak_bytes or result.peak_bytes) or None
    if quantity == "step":
        return result.training.step_s if result.training else None
    return result.inference.whole_tokens_per_s if result.inference else None


class Relative(NamedTuple):
    """A form beside BF16 of the same model and case: published of 7B, and here. Of other models the ratio is all that
    can be compared."""

    model: str
    weights: str
    quantity: Quantity
    published: float
    measured: float


def relative(results: Iterable[CellResult]) -> list[Relative]:
    """What a form gains or saves over BF16: here, and in the README's table of 7B for the nearest case of its kind."""
    known = list(results)
    found: list[Relative] = []
    for result in known:
        plain = next((one for one in known if _is_plain_of(one, result)), None)
        case = result.cell.case
        if plain is None or case is None:
            continue
        for quantity in _usual(result.cell):
            here, there = _measured(result, quantity), _measured(plain, quantity)
            pair = _of_seven(result.cell.weights, quantity, is_encoding=case.new == 1)
            if here and there and pair:
                found.append(
                    Relative(result.cell.subject.name, result.cell.weights, quantity, pair[0] / pair[1], here / there)
                )
    return found


def _is_plain_of(plain: CellResult, other: CellResult) -> bool:
    a, b = plain.cell, other.cell
    same = (a.subject, a.kv_cache, a.case) == (b.subject, b.kv_cache, b.case)
    return same and a.weights == "bfloat16" and b.weights != "bfloat16"


def _of_seven(weights: str, quantity: Quantity, *, is_encoding: bool) -> tuple[float, float] | None:
    """(of the form, of BF16)"""
    form, plain = ("7B", weights), ("7B", "bfloat16")
    if quantity == "speed":
        value = SPEEDS[form][0] if form in SPEEDS else LATER_SPEEDS[form][0] if form in LATER_SPEEDS else None
        before = SPEEDS[plain][0] if form in SPEEDS else LATER_BF16_7B[0]
        return (value, before) if value else None
    if form in MEMORY:
        at = 0 if is_encoding else 1
        return MEMORY[form][at], MEMORY[plain][at]
    return (LATER_SPEEDS[form][1], LATER_BF16_7B[1]) if form in LATER_SPEEDS and not is_encoding else None
