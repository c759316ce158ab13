"""A fine-tune as it was asked for: everything that decides the losses, in one file that people can read.

Owns config.toml of a run, which is also what `finetune run CONFIG.toml` takes. Invariant: the same recipe, data and
versions give the same run; every value is checked when it is read, and a wrong one is named by its key. Imports no
torch: the window makes recipes too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomli_w
from msgspec import Struct

from core.data.conversation import Mask
from core.errors import UserError
from core.files import replace_file
from core.training import recipe_words
from core.training.recipe_words import plain

Method = Literal["full", "lora", "qlora"]
Precision = Literal["auto", "bfloat16", "float16", "float32"]
BaseWeights = Literal["auto", "nf4", "int4"]
Optimiser = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"]
Schedule = Literal["cosine", "linear", "constant", "constant_with_warmup"]
Switch = Literal["auto", "on", "off"]
NewTokens = Literal["auto", "rows", "full", "none"]
Result = Literal["last", "best"]
Parallel = Literal["none", "ddp", "fsdp", "zero2", "zero3"]


class Recipe(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """
    model: a name of the library or a folder; data, eval_data: files; columns: what the columns of a table are
    length: tokens, longer rows are cut; validation_share: of the rows, kept aside where there is no eval_data
    steps: 0 for as many as `epochs` take; batch: rows that are learned from in one step, over all devices
    pass_tokens: tokens that go through the model at once, 0 for what the memory lets in
    packing: rows of one step are put one after the other in place of being padded
    weights: of a Q-LoRA's base model, "auto" for those it is stored in, else NF4
    new_tokens: how marks of turns that a base model has never seen are learned: their rows, all rows, or not
    targets: the last parts of the names of the layers LoRA is put on, () for those of the family
    evaluate_every, save_every: steps, 0 for ten times a run; keep: so many of the last checkpoints, and the best one
    result: of which step it is: the last, or of the checkpoint with the lowest validation loss
    prompts: answered at every checkpoint
    """

    model: str
    data: str
    name: str = ""
    eval_data: str = ""
    columns: dict[str, str] = {}
    validation_share: float = 0.05
    mask: Mask = "answers"
    length: int = 1024
    method: Method = "lora"
    weights: BaseWeights = "auto"
    precision: Precision = "auto"
    device: Literal["auto", "cpu"] = "auto"
    epochs: float = 3.0
    steps: int = 0
    batch: int = 8
    pass_tokens: int = 0
    packing: bool = True
    learning_rate: float = 2e-4
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 1.0
    optimiser: Optimiser = "adamw"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    targets: tuple[str, ...] = ()
    new_tokens: NewTokens = "auto"
    checkpointing: Switch = "auto"
    compile: bool = False
    liger: bool = False
    seed: int = 0
    threads: int = 0
    evaluate_every: int = 0
    save_every: int = 0
    keep: int = 2
    result: Result = "last"
    prompts: tuple[str, ...] = ()
    answer_tokens: int = 96
    devices: int = 1
    parallel: Parallel = "none"


# key: (least, most)
RANGES: dict[str, tuple[float, float]] = {
    "length": (16, 1_048_576), "epochs": (0.001, 10_000), "steps": (0, 100_000_000), "batch": (1, 65_536),
    "pass_tokens": (0, 1_048_576), "learning_rate": (1e-9, 1.0), "warmup": (0.0, 1.0), "weight_decay": (0.0, 10.0),
    "beta1": (0.0, 0.9999), "beta2": (0.0, 0.99999), "clip": (0.0, 1e6), "rank": (1, 4096), "alpha": (0.0, 1e5),
    "dropout": (0.0, 0.95), "seed": (0, 2**31 - 1), "threads": (0, 1024), "evaluate_every": (0, 100_000_000),
    "save_every": (0, 100_000_000), "keep": (1, 1000), "validation_share": (0.0, 0.5), "answer_tokens": (1, 4096),
    "devices": (1, 1024),
}  # fmt: skip


def checked(recipe: Recipe) -> Recipe:
    """
    Raises:
        UserError: recipe_value, with the key, the value and what is let in; recipe_learns_nothing.
    """
    if recipe.learning_rate == 0:
        raise UserError("recipe_learns_nothing")
    for key, (least, most) in RANGES.items():
        value = getattr(recipe, key)
        if not least <= value <= most:  # false for NaN too
            raise UserError("recipe_value", key=key, value=str(value), least=plain(least), most=plain(most))
    if not recipe.model:
        raise UserError("recipe_empty", key="model")
    if not recipe.data:
        raise UserError("recipe_empty", key="data")
    return recipe


def made(values: dict[str, Any]) -> Recipe:
    """From plain values, as TOML, JSON and the command line give them.

    Raises:
        UserError: recipe_missing, recipe_unknown_key, recipe_kind; what `checked` says.
    """
    known = set(Recipe.__struct_fields__)
    for key in values:
        if key not in known:
            raise recipe_words.unknown(key, known)
    for key in ("model", "data"):
        if key not in values:
            raise UserError("recipe_missing", key=key)
    try:
        return checked(msgspec.convert(values, Recipe))
    except msgspec.ValidationError as error:
        key = str(error).rpartition("$.")[2].strip("`") if "$." in str(error) else "?"
        key = key.split("[")[0].split(".")[0]
        raise UserError("recipe_kind", key=key, value=str(values.get(key)), allowed=can_be(key)) from error


def allowed(key: str) -> str:
    """The words a key may have, or "" where it is a number or a text."""
    return ", ".join(choices(key))


def choices(key: str) -> tuple[str, ...]:
    """Of a setting that is one of several words."""
    kind = get_type_hints(Recipe).get(key)
    return get_args(kind) if get_origin(kind) is Literal else ()


def can_be(key: str) -> str:
    """What a setting can be, as a sentence; "" for what is none."""
    words = tuple(allowed(key).split(", ")) if allowed(key) else ()
    return recipe_words.can_be(str(Recipe.__annotations__.get(key, "")), words, RANGES.get(key))


def read(file: Path) -> Recipe:
    """
    Raises:
        UserError: as recipe_words.unreadable; what `made` says.
    """
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise recipe_words.unreadable(file, error) from error
    return made(values)


def text(recipe: Recipe) -> str:
    """As TOML."""
    return tomli_w.dumps(msgspec.to_builtins(recipe))


def write(file: Path, recipe: Recipe) -> None:
    """Atomic."""
    replace_file(file, text(recipe).encode())
