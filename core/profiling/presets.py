"""The tables of the README as plans: on a card in full, on a processor the same ones, smaller and for the starter.

Invariant: a preset asks for nothing that needs a download, nor for what none of its models can do.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from core.load_options import KVChoice, WeightChoice
from core.profiling.estimating import config_of
from core.profiling.plan import Case, Preset, ProfilePlan, Subject, TrainingCase
from core.profiling.readme_table import CASES, KV_BATCHES, KV_LENGTHS, TRAINING_LENGTHS
from core.profiling.shapes import named

PRESETS: tuple[Preset, ...] = ("readme", "kv-cache", "training")
README_SHAPES, KV_SHAPES = ("1.8B", "7B", "14B", "72B"), ("7B",)
SMALL_CASES = (Case(1, 64), Case(1, 256), Case(256, 1))
SMALL_BATCHES, SMALL_NEW = (1, 2, 4, 8), 32
SMALL_LENGTHS = (32, 64, 128)
SMALL_TRAINING = (64, 128)
FORMS: tuple[WeightChoice, ...] = ("bfloat16", "int8", "int4")
KINDS: tuple[KVChoice, ...] = ("plain", "int8")


def preset(name: Preset, subjects: Sequence[Subject] = (), *, on_card: bool) -> ProfilePlan:
    """subjects: in place of the README's models; on a processor there must be some (the starter, usually)."""
    given = tuple(subjects)
    match name:
        case "readme":
            cases = CASES if on_card else SMALL_CASES
            models = given or tuple(map(named, README_SHAPES))
            return ProfilePlan(models, FORMS, ("plain",), cases, repeats=1, preset=name)
        case "kv-cache":
            batches: tuple[int, ...] = KV_BATCHES if on_card else SMALL_BATCHES
            lengths: tuple[int, ...] = KV_LENGTHS if on_card else SMALL_LENGTHS
            new = 1024 if on_card else SMALL_NEW
            table = [Case(1, length) for length in lengths] + [Case(1, new, batch) for batch in batches]
            models = given or tuple(map(named, KV_SHAPES))
            is_later = not any(map(_is_first_generation, models))
            return ProfilePlan(
                models, ("bfloat16",), KINDS, tuple(table), repeats=1, preset=name, plain_batches=is_later
            )
        case "training":
            tokens: tuple[int, ...] = TRAINING_LENGTHS if on_card else SMALL_TRAINING
            rows = 8 if on_card else 2
            work = [TrainingCase("lora", length, rows, embeddings=on_card) for length in tokens]
            work += [TrainingCase("qlora", length, rows) for length in tokens]
            models = given or (named("7B"), named("14B"))
            return ProfilePlan(models, cases=(), training=tuple(work), repeats=2, preset=name)
        case "":
            return ProfilePlan(given)


def _is_first_generation(subject: Subject) -> bool:
    """Only these keep the keys and values of several sequences in 8 bits. What cannot be read is told elsewhere."""
    try:
        return config_of(subject).get("model_type") == "qwen"
    except UserError:
        return True
