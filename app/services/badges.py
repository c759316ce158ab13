"""Fits, tight or too big: one answer for each way a model can be run or trained here, before anything is fetched.

Invariant: the same arithmetic as the load dialog's bar; a badge never promises what the dialog then denies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.services import fitting
from app.services.fitting import TIGHT_FROM, Room, Subject, Verdict
from core.load_options import LoadOptions, WeightChoice
from core.models.training_footprint import Method, Step, estimate_training

Form = Literal["stored", "bfloat16", "int8", "int4", "lora", "qlora"]

USUAL_CONTEXT = 8192  # tokens; what a badge promises, where the model goes that far
TRAINING_LENGTH = 1024
FORMS: dict[Form, WeightChoice] = {"stored": "auto", "bfloat16": "bfloat16", "int8": "int8", "int4": "int4"}


@dataclass(frozen=True, slots=True)
class Badge:
    """needed, free: bytes; context: the tokens that are meant; parts: what it is made of, by key of the catalogue"""

    form: Form
    verdict: Verdict
    needed: int
    free: int
    on_card: bool
    context: int
    parts: tuple[tuple[str, int], ...]


def badges(subject: Subject, free: Room, context: int = 0) -> dict[Form, Badge]:
    """Of a model whose weights are published in 8 or 4 bits only those forms that can be had from it.

    context: 0 for the usual one
    """
    tokens = min(context or USUAL_CONTEXT, subject.longest) if subject.longest else context or USUAL_CONTEXT
    quantised = subject.shape.quantised is not None
    running: tuple[Form, ...] = ("stored",) if quantised else ("bfloat16", "int8", "int4")
    training: tuple[Method, ...] = ("qlora",) if quantised else ("lora", "qlora")
    found: dict[Form, Badge] = {form: _running(subject, form, free, tokens) for form in running}
    return found | {method: _training(subject, method, free) for method in training if method != "full"}


def stored_form(subject: Subject) -> Form:
    """The one it is run in unless something else is chosen."""
    return "stored" if subject.shape.quantised is not None else "bfloat16"


def _running(subject: Subject, form: Form, free: Room, tokens: int) -> Badge:
    fit = fitting.fit(subject, LoadOptions(weights=FORMS[form], context_length=tokens), free)
    need = fit.footprint
    rest = ("workspace", need.workspace), ("process", need.overhead)
    parts = (("weights", need.weights), ("kv_cache", need.kv_cache), *rest)
    return Badge(form, fit.verdict, need.total, fit.free, fit.on_card, tokens, parts)


def _training(subject: Subject, method: Literal["lora", "qlora"], free: Room) -> Badge:
    on_card = bool(free.card)
    room = free.card if on_card else free.memory
    length = min(TRAINING_LENGTH, subject.lengths.trained or TRAINING_LENGTH)
    need = estimate_training(subject.shape, Step(method, length), "cuda" if on_card else "cpu")
    parts = (
        ("weights", need.weights), ("adapter", need.trained), ("activations", need.activations),
        ("process", need.overhead),
    )  # fmt: skip
    return Badge(method, verdict_of(need.total, room), need.total, room, on_card, length, parts)


def verdict_of(needed: int, free: int) -> Verdict:
    """Of something that is needed whole."""
    return "too_big" if needed > free else "tight" if needed > TIGHT_FROM * free else "fits"
