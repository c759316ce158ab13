"""What shall be measured: a table of cells, each of which a fresh worker process will run.

Values only: they cross the pipe and are kept in the store. Invariant: `cells_of` gives the same cells, with the same
keys and in the same order, whenever it is asked, so that an interrupted table can be gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from msgspec import Struct

from core.load_options import DeviceChoice, KVChoice, LoadOptions, WeightChoice

CellKind = Literal["inference", "training", "quality"]
TrainingMethod = Literal["full", "lora", "qlora"]
Preset = Literal["", "readme", "kv-cache", "training"]

# Of the fixed text, at most. On a processor a token takes its time, and forms of one model differ by little anyway.
QUALITY_TOKENS, QUALITY_ON_PROCESSOR = 2048, 576
MARGIN = 64  # tokens of the window that no case uses


class Subject(Struct, frozen=True):
    """What is measured: a model on the disk, or an architecture that gets random weights.

    name: as people know it: of the library, or of the shape ("7B", the name of a config's file)
    folder: of its files; "" for an architecture
    config: the text of its config.json; "" for a model on the disk. source: the file or folder that was named, ""
        where `name` alone finds it again
    """

    name: str
    folder: str = ""
    config: str = ""
    source: str = ""

    @property
    def is_random(self) -> bool:
        return bool(self.config)


class Case(Struct, frozen=True):
    """A prompt of so many tokens, answered with so many, in each of `batch` sequences."""

    prompt: int
    new: int
    batch: int = 1


class TrainingCase(Struct, frozen=True):
    """Steps of `accumulate` rows of `length` tokens, one row going through the model at a time as in the README.

    embeddings: the tables of embeddings are trained as well, as the README did with base models
    """

    method: TrainingMethod
    length: int
    accumulate: int = 8
    embeddings: bool = False


class ProfilePlan(Struct, frozen=True):
    """A table: every subject in every form of its weights and of its keys and values, with every case.

    weights, kv_caches, device: as of LoadOptions. cases: of inference. training: of every subject besides
    repeats: of a case; the median is told. A warm-up comes before, which does not count
    quality: the perplexity of every form as well, on one fixed text; not of random weights
    snapshot: keep what PyTorch's allocator held at the end of each cell (on a card)
    plain_batches: several sequences keep plain keys and values only, where the models can do no other
    threads: of a processor; 0 for all. preset: the table of the README that this is, "" for one's own
    """

    subjects: tuple[Subject, ...]
    weights: tuple[WeightChoice, ...] = ("auto",)
    kv_caches: tuple[KVChoice, ...] = ("auto",)
    cases: tuple[Case, ...] = (Case(512, 128),)
    training: tuple[TrainingCase, ...] = ()
    repeats: int = 3
    quality: bool = False
    snapshot: bool = False
    device: DeviceChoice = "auto"
    threads: int = 0
    preset: Preset = ""
    name: str = ""
    plain_batches: bool = False


class Cell(Struct, frozen=True):
    """One measurement. Which of `case` and `training` is set says its kind; neither is for quality."""

    subject: Subject
    weights: WeightChoice = "auto"
    kv_cache: KVChoice = "auto"
    case: Case | None = None
    training: TrainingCase | None = None
    repeats: int = 3
    device: DeviceChoice = "auto"
    threads: int = 0
    snapshot: bool = False

    @property
    def kind(self) -> CellKind:
        return "inference" if self.case else "training" if self.training else "quality"

    @property
    def key(self) -> str:
        """Its name within a table, and that of the same cell in another one: what was asked, not how often."""
        form = f"{self.subject.name}|{self.weights}|{self.kv_cache}"
        if self.case is not None:
            return f"{form}|{self.case.prompt}+{self.case.new}x{self.case.batch}"
        if (work := self.training) is not None:
            return f"{form}|{work.method}{'+emb' if work.embeddings else ''}|{work.length}x{work.accumulate}"
        return f"{form}|quality"

    @property
    def options(self) -> LoadOptions:
        """How its model is loaded: with as long a window as the case needs, so that no cell pays for a longer one."""
        return LoadOptions(self.weights, self.kv_cache, device=self.device, context_length=self.context)

    @property
    def context(self) -> int:
        """Tokens the window must hold, 0 for the model's own length."""
        if self.case is not None:
            return self.case.prompt + self.case.new + MARGIN
        return QUALITY_TOKENS + MARGIN if self.training is None else 0

    @property
    def tokens(self) -> int:
        """What it holds in the end in each sequence; of training, a row."""
        if self.case is not None:
            return self.case.prompt + self.case.new
        return self.training.length if self.training is not None else QUALITY_TOKENS


def cells_of(plan: ProfilePlan) -> tuple[Cell, ...]:
    """The cells of a table in the order in which they are run: cheap before costly within each form."""
    return tuple({cell.key: cell for cell in _cells(plan)}.values())


def _cells(plan: ProfilePlan) -> Iterator[Cell]:
    shared = partial(Cell, repeats=plan.repeats, device=plan.device, threads=plan.threads, snapshot=plan.snapshot)
    for subject in plan.subjects:
        for weights in plan.weights if plan.cases or plan.quality else ():
            for kv_cache in plan.kv_caches:
                is_packed = kv_cache not in ("auto", "plain")
                for case in plan.cases:
                    if case.batch > 1 and is_packed and plan.plain_batches:
                        continue
                    yield shared(subject, weights, kv_cache, case=case)
                if plan.quality and not subject.is_random:
                    yield shared(subject, weights, kv_cache)
        for work in plan.training:
            yield shared(subject, training=work)
