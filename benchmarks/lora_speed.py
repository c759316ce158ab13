"""LoRA on rows of 128 to 512 tokens: `python -m benchmarks.lora_speed FOLDER [steps]` prints one JSON object.

Our trainer (packed rows, loss at the learned tokens) against transformers' Trainer with PEFT that pads each batch to
its longest row, on the model in FOLDER: the same rows in the same order, batch 8, rank 16, precision and optimiser
alike, the two in turn, several rounds. Counted are learned tokens a second, the first step of each round left out.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PrinterCallback

from core.training import preparing
from core.training.library import Trainer, TrainerCallback, TrainingArguments
from core.training.packing import Plan
from core.training.passes import Row
from core.training.recipe import Recipe
from core.training.trainer import RowTrainer

MUST = 1.5
BATCH, ROUNDS, SHORTEST, LONGEST = 8, 3, 128, 512
LEARNED = 0.5  # of a row, at its end


def some_rows(count: int, vocabulary: int) -> list[Row]:
    chance = random.Random(7)
    found = []
    for _ in range(count):
        length = chance.randint(SHORTEST, LONGEST)
        ids = [chance.randrange(vocabulary) for _ in range(length)]
        found.append(Row(ids, [at >= length * (1 - LEARNED) for at in range(length)]))
    return found


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def arguments(out: str, steps: int, batch: int, compute: torch.dtype) -> Any:
    return TrainingArguments(
        output_dir=out, max_steps=steps, per_device_train_batch_size=batch, learning_rate=2e-4, logging_steps=1,
        report_to="none", disable_tqdm=True, use_cpu=not torch.cuda.is_available(), save_strategy="no",
        bf16=compute == torch.bfloat16, train_sampling_strategy="sequential", dataloader_pin_memory=False,
        remove_unused_columns=False,
    )  # fmt: skip


def ours(
    folder: Path, recipe: Recipe, rows: Sequence[Row], steps: int, batch: int = BATCH
) -> tuple[Callable[[], list[float]], Any]:
    prepared = preparing.prepare(recipe, folder)
    plan = Plan([len(row.ids) for row in rows], batch, recipe.pass_tokens, 0, prepared.packs)

    def run() -> list[float]:
        clock = Clock()
        with tempfile.TemporaryDirectory() as out:
            trainer = RowTrainer(
                model=prepared.model, args=arguments(out, steps, 1, prepared.compute), rows=rows, kept_aside=[],
                plan=plan, padding=0, head=prepared.head, tell=lambda step, figures: None, callbacks=[clock],
            )  # fmt: skip
            trainer.train()
        return clock.seconds

    return run, prepared


def theirs(
    folder: Path, recipe: Recipe, rows: Sequence[Row], steps: int, compute: torch.dtype
) -> Callable[[], list[float]]:
    from peft import LoraConfig, get_peft_model

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=compute)
    targets = preparing.target_layers(model, recipe)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=targets))
    plan = Plan([len(row.ids) for row in rows], BATCH, 1 << 20, 0)
    ordered: Any = [rows[row] for step in range(steps) for row in plan.rows(step)]

    def collate(some: list[Row]) -> dict[str, torch.Tensor]:
        longest = max(len(row.ids) for row in some)
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for at, row in enumerate(some):
            ids[at, : len(row.ids)], mask[at, : len(row.ids)] = torch.tensor(row.ids), 1
            kept = [id if learned else -100 for id, learned in zip(row.ids, row.learned, strict=True)]
            labels[at, : len(row.ids)] = torch.tensor(kept)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def run() -> list[float]:
        clock = Clock()
        with tempfile.TemporaryDirectory() as out:
            trainer = Trainer(
                model=model, args=arguments(out, steps, BATCH, compute), train_dataset=ordered, data_collator=collate,
                callbacks=[clock],
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return clock.seconds

    return run


def main() -> None:
    folder = Path(sys.argv[1])
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    pass_tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 2048
    recipe = Recipe(model="starter", data="-", pass_tokens=pass_tokens)
    rows = some_rows(BATCH * steps, 40_000)
    mine, prepared = ours(folder, recipe, rows, steps)
    other = theirs(folder, recipe, rows, steps, prepared.compute)
    plan = Plan([len(row.ids) for row in rows], BATCH, 1 << 20, 0)
    learned = [sum(rows[row].targets for row in plan.rows(step)) for step in range(steps)]
    speeds: dict[str, list[float]] = {"ours": [], "trainer_peft": []}
    for _ in range(ROUNDS):
        for name, run in (("ours", mine), ("trainer_peft", other)):
            seconds = run()
            speeds[name].append(sum(learned[1:]) / sum(seconds[1:]))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    print(json.dumps({
        "what": "LoRA, rows of 128 to 512 tokens, batch 8, learned tokens per second", "must": {"ratio": MUST},
        "learned_tokens_per_s": medians, "ratio": medians["ours"] / medians["trainer_peft"], "rounds": speeds,
        "precision": str(prepared.compute), "pass_tokens": pass_tokens, "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0], "processor": platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
