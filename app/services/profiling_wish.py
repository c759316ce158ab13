"""A table that is being put together: what was chosen so far, as a plan or as why it is none yet.

Invariant: the plan holds exactly what is chosen. A table of the README is named as one only while it is that very one.
No Qt, no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from core.errors import UserError
from core.load_options import DeviceChoice, KVChoice, WeightChoice
from core.profiling import presets, shapes
from core.profiling.plan import Case, ProfilePlan, Subject, TrainingCase, TrainingMethod

Kind = Literal["compare", "readme", "kv-cache", "training", "own"]
KINDS: tuple[Kind, ...] = ("compare", "readme", "kv-cache", "training", "own")
AXES: dict[Kind, tuple[str, ...]] = {
    "compare": ("weights", "cases"),
    "readme": (),
    "kv-cache": (),
    "training": ("training",),
    "own": ("weights", "kv_caches", "cases", "training"),
}
STARTER, STARTER_SHAPE = "starter", "starter-shape"
MOST = 10_000_000  # tokens, or sequences


@dataclass(slots=True)
class Wish:
    """
    models: names of the library; shapes: of core.profiling.shapes, with random weights
    on_card: whether the machine has one, which the README's tables go by
    """

    kind: Kind = "compare"
    models: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    weights: list[WeightChoice] = field(default_factory=lambda: ["bfloat16", "int8", "int4"])
    kv_caches: list[KVChoice] = field(default_factory=lambda: ["plain"])
    prompts: tuple[int, ...] = (256,)
    news: tuple[int, ...] = (64,)
    batches: tuple[int, ...] = (1,)
    methods: list[TrainingMethod] = field(default_factory=list)
    lengths: tuple[int, ...] = (64, 128)
    rows: int = 2
    quality: bool = False
    repeats: int = 0
    device: DeviceChoice = "auto"
    snapshot: bool = False
    on_card: bool = False
    is_touched: bool = False  # a model was chosen or taken away by hand

    @property
    def is_for_card(self) -> bool:
        return self.on_card and self.device != "cpu"

    def turn(self, kind: Kind) -> None:
        """To another kind of table, with what is usual there; the models stay."""
        self.kind = kind
        if kind == "compare":
            self.kv_caches, self.methods = ["plain"], []
        elif kind == "training":
            usual = presets.preset("training", on_card=self.is_for_card)
            self.methods = ["lora", "qlora"]
            self.lengths = tuple(dict.fromkeys(case.length for case in usual.training))
            self.rows = usual.training[0].accumulate

    def settle(self, installed: list[str], on_card: bool) -> None:
        """What is usual on this machine, as long as nobody chose: the README's shapes on a card, else the starter."""
        self.on_card = on_card
        self.models = [name for name in self.models if name in installed]
        if self.is_touched or self.models or self.shapes:
            return
        if on_card and self.kind in ("readme", "kv-cache", "training"):
            self.shapes = list({"readme": presets.README_SHAPES, "kv-cache": presets.KV_SHAPES}.get(self.kind, ("7B",)))
        elif installed:
            self.models = [STARTER if STARTER in installed else installed[0]]
        else:
            self.shapes = [STARTER_SHAPE]

    def plan(self, subject: Callable[[str], Subject]) -> ProfilePlan:
        """subject: of a model of the library.

        Raises:
            UserError: profile_empty, and what `subject` raises.
        """
        subjects = tuple(subject(name) for name in self.models) + tuple(shapes.named(name) for name in self.shapes)
        if not subjects:
            raise UserError("profile_empty")
        if self.kind in ("readme", "kv-cache"):
            plan = presets.preset(self.kind, subjects, on_card=self.is_for_card)
        elif self.kind == "training":
            plan = self._training(subjects)
        else:
            plan = ProfilePlan(subjects, tuple(self.weights), tuple(self.kv_caches), self._cases(), self._work())
        if not plan.training and not (plan.weights and plan.kv_caches and (plan.cases or self.quality)):
            raise UserError("profile_empty")
        return msgspec.structs.replace(
            plan, repeats=self.repeats or plan.repeats, quality=self.quality and self.kind != "training",
            snapshot=self.snapshot and self.is_for_card, device=self.device,
        )  # fmt: skip

    def _training(self, subjects: tuple[Subject, ...]) -> ProfilePlan:
        usual = presets.preset("training", subjects, on_card=self.is_for_card)
        named = {(case.method, case.length, case.accumulate): case for case in usual.training}
        work = tuple(named.get((c.method, c.length, c.accumulate), c) for c in self._work())
        is_usual = set(work) == set(usual.training)
        return usual if is_usual else msgspec.structs.replace(usual, training=work, preset="")

    def _cases(self) -> tuple[Case, ...]:
        """None without a form: a table may be of fine-tunes alone."""
        if not (self.weights and self.kv_caches):
            return ()
        return tuple(Case(p, n, b) for b in self.batches for p in self.prompts for n in self.news)

    def _work(self) -> tuple[TrainingCase, ...]:
        return tuple(TrainingCase(method, length, self.rows) for method in self.methods for length in self.lengths)


def on_the_starter(subject: Subject) -> ProfilePlan:
    """What an empty page offers: three forms of the starter, in about a minute."""
    return ProfilePlan((subject,), ("bfloat16", "int8", "int4"), ("plain",), (Case(128, 32),), repeats=1)


def numbers(words: str) -> tuple[int, ...] | None:
    """ "512, 2048": None where that is not what it says."""
    parts = [part.strip() for part in words.replace("，", ",").replace("、", ",").split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and 0 < int(part) <= MOST for part in parts):
        return None
    return tuple(dict.fromkeys(map(int, parts)))
