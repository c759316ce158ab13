"""A recipe in the words of transformers' Trainer.

Invariant: what the recipe does not say is settled in its facts, so that nothing here decides anything.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

from core.errors import UserError
from core.training import deepspeed
from core.training.library import TrainingArguments
from core.training.preparing import Prepared
from core.training.recipe import Recipe
from core.training.run_files import RunFacts, RunFiles

OPTIMISERS = {
    "adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit", "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor", "sgd": "sgd",
}  # fmt: skip
TIMES_A_RUN = 10  # that is evaluated and saved where the recipe does not say


def arguments(recipe: Recipe, facts: RunFacts, prepared: Prepared, run: RunFiles, *, has_eval: bool) -> Any:
    every = max(1, facts.steps // TIMES_A_RUN)
    on_card = prepared.loaded.placement.device.type == "cuda"
    optimiser = OPTIMISERS[recipe.optimiser]
    if recipe.optimiser.endswith("_8bit") and not on_card:
        raise UserError("optimiser_needs_card", optimiser=recipe.optimiser)
    with warnings.catch_warnings(action="ignore"):
        arguments = TrainingArguments(
            output_dir=str(run.checkpoints),
            max_steps=facts.steps,
            per_device_train_batch_size=1,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            warmup_steps=recipe.warmup,  # below 1: a share of all steps
            weight_decay=recipe.weight_decay,
            adam_beta1=recipe.beta1,
            adam_beta2=recipe.beta2,
            max_grad_norm=recipe.clip,
            optim=optimiser,
            bf16=facts.precision == "bfloat16",
            fp16=facts.precision == "float16",
            use_cpu=not on_card,
            seed=recipe.seed,
            logging_steps=1,
            logging_nan_inf_filter=False,
            eval_strategy="steps" if has_eval else "no",
            eval_steps=recipe.evaluate_every or every,
            save_strategy="steps",
            save_steps=recipe.save_every or every,
            ignore_data_skip=True,
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            torch_compile=recipe.compile,
            use_liger_kernel=recipe.liger and on_card and find_spec("liger_kernel") is not None,
            **_spread(recipe, prepared),
        )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several cards are several processes, never threads of this one
    return arguments


def _spread(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """What TrainingArguments are told of several devices."""
    if recipe.parallel == "fsdp":
        blocks = list(getattr(prepared.loaded.model, "_no_split_modules", None) or ())
        return {"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": blocks}}
    if recipe.parallel in ("zero2", "zero3"):
        return {"deepspeed": deepspeed.settings(recipe.parallel)}
    return {"ddp_find_unused_parameters": False} if recipe.devices > 1 else {}
