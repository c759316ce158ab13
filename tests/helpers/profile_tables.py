"""Tables in the store as they are after a day of measuring: every kind of cell, every way one ends, a card or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from app.context import AppContext
from core import store
from core.load_options import WeightChoice
from core.profiling import presets, shapes
from core.profiling.command import command_of
from core.profiling.plan import Case, Cell, ProfilePlan, Subject, TrainingCase, cells_of
from core.profiling.result import (
    CellResult,
    Estimate,
    InferenceFigures,
    Machine,
    PhaseMemory,
    QualityFigures,
    TrainingFigures,
)
from core.profiling.timeline import MemorySample, MemoryTimeline, PhaseMark
from core.store.records import ProfileRun, ProfileState

GIB = 1 << 30
PROCESSOR = Machine("Linux 6.1", "AMD EPYC 9654", 2, 25 * GIB)
CARD = Machine("Linux 6.1", "AMD EPYC 9654", 16, 128 * GIB, "NVIDIA H200", 141 * GIB, "580.82")
VERSIONS = {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.1.0"}
AT = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)
SPEED: dict[WeightChoice, float] = {"bfloat16": 1.0, "int8": 1.5, "int4": 2.4, "float32": 0.5}
SIZE: dict[WeightChoice, float] = {"bfloat16": 14.2, "int8": 8.4, "int4": 5.1, "float32": 28.4}
MOST = 60.0  # GiB; above it memory runs out
MODEL = Subject("Qwen3-0.6B", "/models/Qwen3-0.6B")
STARTER = Subject("starter", "/models/starter")

FORMS = ProfilePlan((MODEL,), ("bfloat16", "int8", "int4"), ("plain", "int8"), (Case(256, 64), Case(2048, 64)),
                    quality=True)  # fmt: skip
README = presets.preset("readme", (shapes.named("7B"),), on_card=True)
KV = presets.preset("kv-cache", on_card=True)
TRAINING = presets.preset("training", (shapes.named("7B"),), on_card=True)
SMALL_README = presets.preset("readme", (STARTER,), on_card=False)


def result(cell: Cell, machine: Machine = PROCESSOR, *, faster: float = 1.0, at: datetime = AT) -> CellResult:
    """What a cell of the plans above came to."""
    taken = _gib(cell)
    if taken > MOST:
        found = CellResult(cell, "out_of_memory", at, "out_of_memory")
        return _with_facts(found, machine)
    peak, is_card = int(taken * GIB), bool(machine.card)
    marks, phases = _phases(cell)
    found = CellResult(
        cell, "done", at, seconds=21.0, load_s=3.4, memory=tuple(_memory(phase, peak, is_card) for phase in phases),
        peak_bytes=peak, card_peak_bytes=int(peak * 0.95) if is_card else 0,
        estimate=Estimate(int(peak * 1.02), peak, {"weights": peak}), timeline=_timeline(peak, marks, is_card=is_card),
    )  # fmt: skip
    if (case := cell.case) is not None:
        speed = 50.0 * SPEED[cell.weights] * faster / (1 + cell.tokens / 20_000)
        decode = speed * case.batch**0.8 if case.new > 1 else 0.0
        figures = InferenceFigures(
            case.prompt, case.new, 0.2, 20 * speed, 0.21 / faster, decode, 1 / speed, 1.4 / speed, 0.9 * speed,
            cell.repeats, cell.weights, "triton", "bfloat16", cell.kv_cache, "sdpa", "dense", "cuda:0", 7_721_000_000,
            peak // 2,
        )  # fmt: skip
        share = 0.5 + 0.1 * SPEED[cell.weights]
        found = msgspec.structs.replace(found, inference=figures, bandwidth_share=share, matrix_share=0.4)
    elif (work := cell.training) is not None:
        step = work.length / 256 * (1.1 if work.method == "lora" else 2.0) / faster
        training = TrainingFigures(step, 3, work.length * work.accumulate / step, 4_884_480, forward_s=0.3 * step,
                                   backward_s=0.6 * step, optimiser_s=0.05 * step)  # fmt: skip
        found = msgspec.structs.replace(found, training=training)
    else:
        worse = {"bfloat16": 12.31, "int8": 12.34, "int4": 12.83}.get(cell.weights, 12.31)
        found = msgspec.structs.replace(found, quality=QualityFigures(worse, 1024, "fixed-text-1 3f2a91"))
    return _with_facts(found, machine)


def _with_facts(found: CellResult, machine: Machine) -> CellResult:
    return msgspec.structs.replace(found, command=command_of(found.cell), versions=VERSIONS, machine=machine)


def _gib(cell: Cell) -> float:
    if cell.training is not None:
        return (30.0 if cell.training.method == "lora" else 11.0) + cell.training.length / 512
    rows = cell.tokens * (cell.case.batch if cell.case else 1) / 2048
    return SIZE[cell.weights] + rows * (0.55 if cell.kv_cache == "int8" else 1.0)


def _phases(cell: Cell) -> tuple[tuple[PhaseMark, ...], tuple[str, ...]]:
    names = ("libraries", "load", "forward", "backward", "optimiser") if cell.training else (
        "libraries", "load", "warm_up", "prefill", "decode")  # fmt: skip
    marks = tuple(PhaseMark(4.0 * place, name) for place, name in enumerate(names))  # type: ignore[arg-type]
    return marks, names


def _memory(phase: str, peak: int, is_card: bool) -> PhaseMemory:
    if is_card:
        return PhaseMemory(phase, peak // 8, peak // 9, peak * 9 // 10, peak, peak * 11 // 10)  # type: ignore[arg-type]
    return PhaseMemory(phase, peak * 11 // 10, peak)  # type: ignore[arg-type]


def _timeline(peak: int, marks: tuple[PhaseMark, ...], *, is_card: bool) -> MemoryTimeline:
    samples = []
    for place in range(200):
        now = int(peak * min(1.0, 0.1 + place / 90))
        card = (now * 9 // 10, now, now * 11 // 10) if is_card else (0, 0, 0)
        samples.append(MemorySample(place / 10, now * 11 // 10, now if place % 3 == 0 else -1, *card))
    return MemoryTimeline(tuple(samples), marks)


async def put(
    context: AppContext, plan: ProfilePlan, name: str = "", *, machine: Machine = PROCESSOR,
    state: ProfileState = "done", cells: int = 1_000, faster: float = 1.0,
) -> ProfileRun:  # fmt: skip
    """A table of which the first so many cells have a result."""
    found = [result(cell, machine, faster=faster, at=AT + timedelta(seconds=30 * place))
             for place, cell in enumerate(cells_of(plan)[:cells])]  # fmt: skip

    def work(s: store.store.Session) -> ProfileRun:
        run = store.profiles.create(s, name or plan.subjects[0].name, plan, machine.device)
        for one in found:
            store.profiles.put(s, run.id, one)
        return store.profiles.end(s, run.id, state)

    return await context.store.call(work)


def training_plan() -> ProfilePlan:
    return ProfilePlan((MODEL,), cases=(), training=(TrainingCase("lora", 256), TrainingCase("qlora", 256)))
