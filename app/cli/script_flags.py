"""The flags of the published fine-tuning scripts as a recipe, with the settings of those scripts where one is left out.

Invariant: a flag that changes what is learned is followed or refused in words; one that does not is taken and named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from core.training.recipe_words import listed
from core.translation import say

# As in finetune_lora_single_gpu.sh. Everything is trained on, so nothing is kept aside.
DEFAULTS: dict[str, Any] = {
    "mask": "original", "validation_share": 0.0, "length": 512, "epochs": 5.0, "batch": 16, "learning_rate": 1e-5,
    "weight_decay": 0.1, "beta2": 0.95, "warmup": 0.01, "schedule": "cosine", "rank": 64, "alpha": 16.0,
    "dropout": 0.05, "checkpointing": "on", "save_every": 1000, "keep": 10, "seed": 42,
}  # fmt: skip
# flag: (key of the recipe, how its value is read)
STRAIGHT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "model_name_or_path": ("model", str), "data_path": ("data", str), "eval_data_path": ("eval_data", str),
    "model_max_length": ("length", int), "num_train_epochs": ("epochs", float),
    "learning_rate": ("learning_rate", float),
    "weight_decay": ("weight_decay", float), "adam_beta1": ("beta1", float), "adam_beta2": ("beta2", float),
    "warmup_ratio": ("warmup", float), "lr_scheduler_type": ("schedule", str), "max_grad_norm": ("clip", float),
    "save_steps": ("save_every", int), "save_total_limit": ("keep", int), "eval_steps": ("evaluate_every", int),
    "seed": ("seed", int), "run_name": ("name", str), "lora_r": ("rank", int), "lora_alpha": ("alpha", float),
    "lora_dropout": ("dropout", float),
}  # fmt: skip
HARMLESS = frozenset({
    "lazy_preprocess", "report_to", "cache_dir", "per_device_eval_batch_size", "lora_weight_path",
    "logging_steps", "logging_strategy", "logging_dir", "logging_first_step", "log_level", "disable_tqdm", "tf32",
    "save_strategy", "save_safetensors", "overwrite_output_dir", "do_train", "do_eval", "remove_unused_columns",
    "dataloader_num_workers", "dataloader_pin_memory", "ddp_find_unused_parameters", "ddp_timeout", "local_rank",
    "preprocessing_num_workers", "eval_accumulation_steps", "use_fast_tokenizer", "trust_remote_code",
})  # fmt: skip
# What is followed at these values only, since nothing else is done here.
ONLY: dict[str, tuple[str, ...]] = {
    "lora_bias": ("none",), "fix_vit": ("true",), "warmup_steps": ("0",), "adam_epsilon": ("1e-8", "1e-08"),
    "label_smoothing_factor": ("0", "0.0"), "group_by_length": ("false",), "push_to_hub": ("false",),
    "load_best_model_at_end": ("false",), "resume_from_checkpoint": ("false", "none"),
}  # fmt: skip
OPTIMISERS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "adamw_bnb_8bit": "adamw_8bit",
    "adamw_8bit": "adamw_8bit", "paged_adamw_8bit": "paged_adamw_8bit", "adafactor": "adafactor", "sgd": "sgd",
}  # fmt: skip
SWITCHES = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


@dataclass(slots=True)
class ScriptRun:
    """
    Attributes:
        values: of the recipe; out: where the result is wanted; unused: flags that have no effect here
        rows: that each device learns from in a step, as these scripts count
    """

    values: dict[str, Any]
    rows: int = DEFAULTS["batch"]
    out: Path | None = None
    unused: list[str] = field(default_factory=list)


def read(arguments: Sequence[str], devices: int = 1) -> ScriptRun:
    """devices: that this machine has

    Raises:
        typer.BadParameter: a flag that is unknown, has no value, or wants what is not done here.
    """
    given = _given(arguments)
    run = ScriptRun(dict(DEFAULTS))
    for flag, words in given.items():
        if flag in STRAIGHT:
            key, kind = STRAIGHT[flag]
            run.values[key] = _one(flag, words, kind)
        elif flag in HARMLESS:
            run.unused.append(flag)
        elif flag in ONLY:
            if _one(flag, words, str).lower() not in ONLY[flag]:
                raise _refused("finetune.flag_value", flag, words, say("recipe.can_be_word", words=listed(ONLY[flag])))
        elif flag not in SPECIAL:
            near = get_close_matches(flag, [*STRAIGHT, *SPECIAL, *HARMLESS, *ONLY], 1, 0.75)
            hint = say("finetune.flag_near", near=f"--{near[0]}") if near else ""
            raise _refused("finetune.flag_unknown", flag, words, hint)
    for flag, follow in SPECIAL.items():
        if flag in given:
            follow(run, flag, given[flag])
    _put_together(run, given)
    _spread(run, given, devices)
    return run


def beside_a_recipe(arguments: Sequence[str]) -> str:
    """What to say of words after the name of a recipe file, where flags have no place."""
    if not arguments[0].startswith("--"):
        return say("finetune.flag_stray", word=arguments[0])
    flag, words = next(iter(_given(arguments).items()))
    key = STRAIGHT[flag][0] if flag in STRAIGHT else flag
    return say("finetune.use_set", set=f"--set {key}={' '.join(words) or 'VALUE'}")


def _given(arguments: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    words: list[str] | None = None
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.removeprefix("--").partition("=")
            words = found[flag.replace("-", "_")] = [value] if equals else []
        elif words is None:
            raise typer.BadParameter(say("finetune.flag_stray", word=argument))
        else:
            words.append(argument)
    return found


# --- flags that are more than one value --------------------------------------------


def _targets(run: ScriptRun, flag: str, words: list[str]) -> None:
    run.values["targets"] = tuple(part for word in words for part in word.split(",") if part)


def _optimiser(run: ScriptRun, flag: str, words: list[str]) -> None:
    name = _one(flag, words, str)
    if name not in OPTIMISERS:
        raise _refused("finetune.flag_value", flag, words, say("recipe.can_be_word", words=listed(list(OPTIMISERS))))
    run.values["optimiser"] = OPTIMISERS[name]


def _steps(run: ScriptRun, flag: str, words: list[str]) -> None:
    run.values["steps"] = max(0, _one(flag, words, int))  # -1 stands for none


def _checkpointing(run: ScriptRun, flag: str, words: list[str]) -> None:
    run.values["checkpointing"] = "on" if _switch(flag, words) else "off"


def _out(run: ScriptRun, flag: str, words: list[str]) -> None:
    run.out = Path(_one(flag, words, str)).expanduser().absolute()


def _processor(run: ScriptRun, flag: str, words: list[str]) -> None:
    run.values["device"] = "cpu" if _switch(flag, words) else "auto"


def _turned(key: str) -> Callable[[ScriptRun, str, list[str]], None]:
    def follow(run: ScriptRun, flag: str, words: list[str]) -> None:
        run.values[key] = _switch(flag, words)

    return follow


def _later(run: ScriptRun, flag: str, words: list[str]) -> None:
    """Followed in _put_together, with others."""


SPECIAL: dict[str, Callable[[ScriptRun, str, list[str]], None]] = {
    "lora_target_modules": _targets, "optim": _optimiser, "max_steps": _steps, "output_dir": _out,
    "gradient_checkpointing": _checkpointing, "use_cpu": _processor, "no_cuda": _processor,
    "torch_compile": _turned("compile"), "use_liger_kernel": _turned("liger"),
    "bf16": _later, "fp16": _later, "use_lora": _later, "q_lora": _later, "per_device_train_batch_size": _later,
    "gradient_accumulation_steps": _later, "deepspeed": _later, "evaluation_strategy": _later, "eval_strategy": _later,
}  # fmt: skip


def _put_together(run: ScriptRun, given: dict[str, list[str]]) -> None:
    on = {flag: _switch(flag, given[flag]) for flag in ("bf16", "fp16", "use_lora", "q_lora") if flag in given}
    if on.get("bf16") and on.get("fp16"):
        raise typer.BadParameter(say("finetune.flag_precisions"))
    run.values["precision"] = "bfloat16" if on.get("bf16") else "float16" if on.get("fp16") else "auto"
    run.values["method"] = "qlora" if on.get("q_lora") else "lora" if on.get("use_lora") else "full"
    if run.values["method"] == "lora":
        run.values["new_tokens"] = "full"  # as the script does with base models
    rows = {flag: _one(flag, given[flag], int) for flag in BATCH if flag in given}
    if rows:
        run.rows = rows.get(BATCH[0], 2) * rows.get(BATCH[1], 1 if BATCH[0] in rows else 8)
    strategy = given.get("evaluation_strategy", given.get("eval_strategy", ["steps"]))
    if strategy == ["no"] and run.values.pop("eval_data", None):
        run.unused.append("eval_data_path")


def _spread(run: ScriptRun, given: dict[str, list[str]], devices: int) -> None:
    """With --deepspeed the scripts take every card there is, and give each as many rows. On one it changes nothing."""
    if "deepspeed" in given:
        stage = _stage(Path(_one("deepspeed", given["deepspeed"], str)).expanduser())
        if not stage:
            raise _refused("finetune.flag_value", "deepspeed", given["deepspeed"])
        if devices > 1:
            run.values |= {"devices": devices, "parallel": stage}
        else:
            run.unused.append("deepspeed")
    run.values["batch"] = run.rows * run.values.get("devices", 1)


def _stage(file: Path) -> str:
    """ "zero2" or "zero3", as the file says, or its name where it is not here; "" for what is neither."""
    try:
        stage = str(json.loads(file.read_bytes())["zero_optimization"]["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        stage = file.stem[-1:] if "zero" in file.stem else ""
    return f"zero{stage}" if stage in ("2", "3") else ""


BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


# --- values ------------------------------------------------------------------------


def _one(flag: str, words: list[str], kind: Callable[[str], Any]) -> Any:
    if len(words) != 1:
        raise _refused("finetune.flag_one_value", flag, words)
    try:
        return kind(words[0])
    except ValueError:
        kinds = {int: "finetune.flag_whole", float: "finetune.flag_number"}
        raise _refused("finetune.flag_value", flag, words, say(kinds[kind]) if kind in kinds else "") from None


def _switch(flag: str, words: list[str]) -> bool:
    """Alone it stands for True."""
    if not words:
        return True
    value = SWITCHES.get(_one(flag, words, str).lower())
    if value is None:
        raise _refused("finetune.flag_value", flag, words, say("recipe.can_be_word", words=listed(("True", "False"))))
    return value


def _refused(key: str, flag: str, words: list[str], can_be: str = "") -> typer.BadParameter:
    said = say(key, flag=f"--{flag}", value=" ".join(words))
    return typer.BadParameter(said + say("discover.space") + can_be if can_be else said)
