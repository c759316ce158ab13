"""What was measured: the result of a cell, and the machine it was measured on.

Values only. Invariant: a result holds everything a number on screen is asked about: its exact command, the versions,
the machine and the date; and a cell that has no figures says why. Zero or None is "not measured", never "none".
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from core.errors import Param
from core.profiling.plan import Cell
from core.profiling.timeline import MemoryTimeline, Phase

NO_MEMORY = 75  # exit status of a worker that ended itself for want of memory; a kill could be anybody's
CellState = Literal["done", "not_run", "out_of_memory", "failed"]
"""not_run: it was not begun, since it would not fit (or cannot be had here); failed: see its code."""


class Machine(Struct, frozen=True):
    """card, driver, card_bytes: "" and 0 where there is none."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    card: str = ""
    card_bytes: int = 0
    driver: str = ""

    @property
    def device(self) -> str:
        return self.card or self.processor


class Rate(Struct, frozen=True):
    """A limit of the machine. how: key of the catalogue (`probe.<how>`) with its params, how it was measured."""

    value: float
    how: str
    params: dict[str, Param] = {}


class MachineProbe(Struct, frozen=True):
    """What the machine can do at most, measured once and kept. Bytes and operations a second.

    device: "cpu" or "cuda"; copy counts what is read and what is written
    """

    machine: Machine
    device: str
    threads: int
    measured_at: datetime
    versions: dict[str, str]
    read: Rate
    copy: Rate
    matrix_bf16: Rate
    matrix_fp32: Rate


class PhaseMemory(Struct, frozen=True):
    """The highest of each within one phase, as of MemorySample. Bytes; 0 where it was not measured."""

    phase: Phase
    resident: int
    own: int = 0
    allocated: int = 0
    reserved: int = 0
    device: int = 0


class InferenceFigures(Struct, frozen=True):
    """Medians of the repeats. In a batch the rates count the tokens of all sequences.

    prompt_s: to read the prompt; first_token_s: from the question to the first token. decode_tokens_per_s: the mean of
    the steps after it; token_s_p50, token_s_p99: of all their times. whole_tokens_per_s: new tokens over all of the
    time, reading included, as the README counts
    weights, backend, precision, kv_cache, decoder: what was really used; weight_bytes: what its weights take
    """

    prompt_tokens: int
    new_tokens: int
    prompt_s: float
    prompt_tokens_per_s: float
    first_token_s: float
    decode_tokens_per_s: float
    token_s_p50: float
    token_s_p99: float
    whole_tokens_per_s: float
    repeats: int
    weights: str = ""
    backend: str = ""
    precision: str = ""
    kv_cache: str = ""
    attention: str = ""
    decoder: str = ""
    device: str = ""
    parameters: int = 0
    weight_bytes: int = 0


class TrainingFigures(Struct, frozen=True):
    """step_s: the median of the steps after the first; forward_s ... the parts of one."""

    step_s: float
    steps: int
    tokens_per_s: float
    trained_parameters: int
    precision: str = ""
    weights: str = ""
    device: str = ""
    checkpointing: bool = False
    forward_s: float = 0.0
    backward_s: float = 0.0
    optimiser_s: float = 0.0


class QualityFigures(Struct, frozen=True):
    """text: the name of the fixed text, with the beginning of its SHA-256."""

    perplexity: float
    tokens: int
    text: str
    seconds: float = 0.0


class Estimate(Struct, frozen=True):
    """The memory we said it would take. Bytes; the parts are those of core.models.footprint, or of its training.

    formula: their sum; total: what this machine's own runs have taught to say instead (core.profiling.learning)
    """

    total: int
    formula: int
    parts: dict[str, int] = {}


class CellResult(Struct, frozen=True):
    """
    code, params: why there are no figures, `error.<code>` of the catalogue; a worker is named by its key
    detail: for the log
    peak_bytes: the highest of all phases: what PyTorch reserved on a card, the process's own memory (USS) elsewhere
    card_peak_bytes: the highest that PyTorch allocated, as the README's memory is meant; 0 on a processor
    context_bytes: on a card, what the process took there beside PyTorch's allocator
    bandwidth_share: bytes read for a token times tokens a second, over the measured bandwidth; matrix_share: the same
    of operations while the prompt is read. None where nothing was probed
    power_w: mean of the card while it decoded. seconds: of the whole cell, process start included
    command: measures this cell again. snapshot: a file
    """

    cell: Cell
    state: CellState
    measured_at: datetime
    code: str = ""
    params: dict[str, Param] = {}
    detail: str = ""
    seconds: float = 0.0
    load_s: float = 0.0
    inference: InferenceFigures | None = None
    training: TrainingFigures | None = None
    quality: QualityFigures | None = None
    memory: tuple[PhaseMemory, ...] = ()
    peak_bytes: int = 0
    card_peak_bytes: int = 0
    context_bytes: int = 0
    estimate: Estimate | None = None
    bandwidth_share: float | None = None
    matrix_share: float | None = None
    power_w: float | None = None
    timeline: MemoryTimeline = MemoryTimeline()
    command: str = ""
    versions: dict[str, str] = {}
    machine: Machine | None = None
    snapshot: str = ""

    @property
    def estimate_error(self) -> float | None:
        """Of what was measured: 0.03 is 3 % too much, -0.03 too little. None for a cell that did not come to its end:
        what it would have taken is not known."""
        if self.state != "done" or self.estimate is None or not self.taken_bytes:
            return None
        return (self.estimate.total - self.taken_bytes) / self.taken_bytes

    @property
    def whole_peak(self) -> int:
        """peak_bytes, where the cell came to its end: what one took that broke off is no figure of it. Else 0."""
        return self.peak_bytes if self.state == "done" else 0

    @property
    def taken_bytes(self) -> int:
        """What an estimate speaks of: the highest, and on a card what the process has there besides."""
        return self.peak_bytes + self.context_bytes if self.peak_bytes else 0
