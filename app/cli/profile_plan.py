"""From the words of the command line to a table.

Invariant: a word that is not known is a usage error which names those that are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import typer

from app.services.profiling import ProfilingService
from core.errors import UserError
from core.figures import count
from core.load_options import DeviceChoice, KVChoice, WeightChoice
from core.profiling import machine, presets, shapes
from core.profiling.plan import Case, Preset, ProfilePlan, TrainingCase, TrainingMethod
from core.translation import say

WEIGHTS: dict[str, WeightChoice] = {
    "auto": "auto", "bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16",
    "fp32": "float32", "float32": "float32", "int8": "int8", "int4": "int4", "nf4": "nf4",
}  # fmt: skip
KINDS: dict[str, KVChoice] = {
    "auto": "auto", "plain": "plain", "bf16": "plain", "int8": "int8", "int8_compatible": "int8_compatible",
    "compatible": "int8_compatible",
}  # fmt: skip
METHODS: dict[str, tuple[TrainingMethod, bool]] = {
    "lora": ("lora", False), "lora+emb": ("lora", True), "qlora": ("qlora", False), "full": ("full", False),
}  # fmt: skip
PROMPT, NEW, LENGTH = 512, 128, 256
DEVICES: dict[str, DeviceChoice] = {"auto": "auto", "cpu": "cpu", "spread": "spread"}
MOST = 10_000_000  # tokens, or sequences
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options as they were typed; "" and 0 where they were not."""

    models: tuple[str, ...]
    architectures: tuple[str, ...]
    weights: str
    kv: str
    prompt: str
    new: str
    batch: str
    train: str
    length: str
    accumulate: int
    preset: Preset
    quality: bool
    only_quality: bool
    repeats: int
    device: DeviceChoice
    threads: int
    snapshot: bool
    name: str


def preset_of(word: str) -> Preset:
    known: dict[str, Preset] = {name: name for name in presets.PRESETS}
    return _known("--preset", [word], known)[0] if word else ""


def device_of(word: str) -> DeviceChoice:
    return _known("--device", [word], DEVICES)[0]


def table_of(word: str) -> int:
    """The number of a table. Raises typer.BadParameter."""
    if not (word.isascii() and word.isdigit()):
        raise typer.BadParameter(say("profile.id_unknown", word=word))
    return int(word)


def need_meaning(asked: Asked) -> None:
    """Nothing that was asked for is passed over in silence.

    Raises:
        typer.BadParameter: an option says nothing beside the others.
    """
    if asked.only_quality:
        for option, words in (("--prompt", asked.prompt), ("--new", asked.new), ("--batch", asked.batch)):
            if words:
                raise typer.BadParameter(say("profile.not_of_quality"), param_hint=option)
    if asked.length and not asked.train:
        raise typer.BadParameter(say("profile.only_of_training"), param_hint="--length")


def made(asked: Asked, service: ProfilingService) -> ProfilePlan:
    """
    Raises:
        UserError: a model or an architecture is not there; snapshot_needs_card.
        typer.BadParameter: a word is not known.
    """
    on_card = machine.runs_on_card(asked.device)
    if asked.snapshot and not on_card:
        raise UserError("snapshot_needs_card")
    models = asked.models
    if asked.preset and not on_card and not models and not asked.architectures:
        models = ("starter",)
    subjects = tuple(service.subject(model) for model in models)
    subjects += tuple(shapes.architecture(one) for one in asked.architectures)
    plan = presets.preset(asked.preset, subjects, on_card=on_card)
    changes: dict[str, Any] = {
        "device": asked.device, "threads": asked.threads, "snapshot": asked.snapshot, "name": asked.name,
        "quality": asked.quality or asked.only_quality,
    }  # fmt: skip
    if asked.weights:
        changes["weights"] = _known("--weights", asked.weights.split(","), WEIGHTS)
    if asked.kv:
        changes["kv_caches"] = _known("--kv", asked.kv.split(","), KINDS)
    if asked.repeats:
        changes["repeats"] = asked.repeats
    if not asked.preset or asked.prompt or asked.new or asked.batch:
        changes["cases"] = _cases(asked)
    if asked.train:
        changes["training"] = _training(asked)
    return msgspec.structs.replace(plan, **changes)


def _cases(asked: Asked) -> tuple[Case, ...]:
    """Of a table that only trains, or only looks at quality, none unless they are asked for."""
    is_given = bool(asked.prompt or asked.new or asked.batch)
    if asked.only_quality or (asked.train and not is_given):
        return ()
    prompts, new = _numbers("--prompt", asked.prompt, PROMPT), _numbers("--new", asked.new, NEW)
    batches = _numbers("--batch", asked.batch, 1)
    return tuple(Case(p, n, b) for b in batches for p in prompts for n in new)


def _training(asked: Asked) -> tuple[TrainingCase, ...]:
    lengths = _numbers("--length", asked.length, LENGTH)
    methods = _known("--train", asked.train.split(","), METHODS)
    return tuple(TrainingCase(method, length, asked.accumulate, tables) for method, tables in methods
                 for length in lengths)  # fmt: skip


def _known(option: str, words: list[str], known: Mapping[str, T]) -> tuple[T, ...]:
    found = []
    for word in words:
        if (key := word.strip().lower()) not in known:
            raise typer.BadParameter(say("profile.word_unknown", word=word, known=", ".join(known)), param_hint=option)
        found.append(known[key])
    return tuple(dict.fromkeys(found))


def _numbers(option: str, words: str, default: int) -> tuple[int, ...]:
    found = []
    for word in (one.strip() for one in (words or str(default)).split(",")):
        if not word.isascii() or not word.isdigit() or not int(word):
            raise typer.BadParameter(say("profile.number_unknown", word=word), param_hint=option)
        if int(word) > MOST:
            raise typer.BadParameter(say("profile.number_large", word=word, most=count(MOST)), param_hint=option)
        found.append(int(word))
    return tuple(dict.fromkeys(found))
