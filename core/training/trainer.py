"""transformers' Trainer with our passes, our loss and our files: each of its steps is a whole step of the plan.

Invariant: a checkpoint folder that has its final name is whole, and everything that the steps before it said was handed
to `tell` before. The loss of a step is the mean over all tokens learned in it, on all ranks.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError
from core.training import passes
from core.training.attention import rows_of
from core.training.library import Trainer, TrainerCallback
from core.training.loss import Head, sum_of
from core.training.packing import Pass, Plan
from core.training.passes import ModelPass, Row
from core.training.run_files import Validation, write_validation

STAGING = ".writing"
# A run is lost when its smoothed loss stays this much above its best for so many steps.
TREND, LOST, LOST_LEAST, PATIENCE = 0.9, 2.0, 1.0, 30
Tell = Callable[[int, dict[str, float]], None]


class Steps:
    """What Trainer takes for a data loader: the numbers of the steps to come, from where the run stands."""

    def __init__(self, count: int, made: Callable[[], int]) -> None:
        self._count, self._made = count, made

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        yield from range(self._made(), self._count)


class RowTrainer(Trainer):
    """
    head: None where the loss is to be made of whole logits
    tell: gets each step with its figures, before a checkpoint of that step is written and before the next one begins
    """

    def __init__(
        self,
        *,
        model: Any,
        args: Any,
        rows: Sequence[Row],
        kept_aside: Sequence[Row],
        plan: Plan,
        padding: int,
        head: Head | None,
        tell: Tell,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        self._rows, self._kept_aside, self._plan, self._padding = rows, kept_aside, plan, padding
        self._tell, self._head = tell, head
        self._figures: dict[str, float] = {}
        self._trend: float | None = None  # of the loss, smoothed
        self._best, self._worse = math.inf, 0
        self._measured: Validation | None = None  # the last one
        self._began = time.perf_counter()
        asides: Any = kept_aside or None  # Trainer only wants to know that there are some
        super().__init__(model=model, args=args, train_dataset=asides, eval_dataset=asides, callbacks=[*callbacks])

    # --- data ------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        return Steps(self.args.max_steps, lambda: self.state.global_step)

    def num_examples(self, dataloader: Any) -> int:
        return len(dataloader)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The steps come singly, and each knows by itself how much is learned in it."""
        step = next(epoch_iterator, None)
        return ([] if step is None else [step]), None

    def floating_point_ops(self, inputs: Any) -> int:
        """Trainer's guess is not ours."""
        return 0

    # --- one step --------------------------------------------------------------------

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """inputs: the number of the step. The mean loss over all that is learned in it, on every rank the same."""
        step: int = inputs
        self._began = time.perf_counter()
        model.train()
        rank, ranks = self.args.process_index, self.args.world_size
        planned = self._plan.passes(step, rank, ranks)
        rows = self._plan.rows(step)
        learned = max(1, sum(self._rows[row].targets for row in rows))
        total = torch.zeros((), device=self.args.device)
        for number, numbers in enumerate(planned):
            is_last = number == len(planned) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(model):
                total += self._learn(model, numbers, ranks / learned)
        if ranks > 1:
            total = self.accelerator.reduce(total, "mean")
        self._need_sense(step + 1, float(total))
        tokens = sum(len(self._rows[row].ids) for row in rows)
        self._figures |= {"tokens": float(tokens), "learned": float(learned)}
        return total.detach()

    def _learn(self, model: Any, numbers: Pass, scale: float) -> Tensor:
        # A rank without rows of its own learns nothing from the first one of all, so that it takes part in the pass.
        work = self._pass([self._rows[row] for row in numbers] or [self._rows[0]], self.args.device)
        with rows_of(work.lengths):
            with self.compute_loss_context_manager():
                loss = self._loss_sum(model, work) * (scale if numbers else 0.0)
            self.accelerator.backward(loss)
        return loss.detach()

    def _pass(self, rows: Sequence[Row], device: torch.device) -> ModelPass:
        if self._plan.packs:
            return passes.packed(rows, device)
        return passes.padded(rows, self._padding, device)

    def _loss_sum(self, model: Any, work: ModelPass) -> Tensor:
        if self._head is None:
            return sum_of(model(**work.inputs, use_cache=False).logits, work.places, work.labels)
        self._head.expect(work.places, work.labels)
        try:
            found: Tensor = model(**work.inputs, use_cache=False).logits.float().sum()
            return found
        finally:
            self._head.give_logits()

    def _need_sense(self, step: int, loss: float) -> None:
        """Before the weights change, so that a checkpoint of the step before still makes sense.

        Raises:
            UserError: training_diverged
        """
        if not math.isfinite(loss):
            raise UserError("training_diverged", step=step, loss=f"{loss:g}", best=f"{self._best:.3g}")
        self._trend = loss if self._trend is None else self._trend * TREND + loss * (1 - TREND)
        self._best = min(self._best, self._trend)
        self._worse = self._worse + 1 if self._trend > max(self._best * LOST, self._best + LOST_LEAST) else 0
        if self._worse > PATIENCE:
            raise UserError("training_diverged", step=step, loss=f"{self._trend:.3g}", best=f"{self._best:.3g}")

    # --- the rows kept aside -----------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        model = self.model_wrapped
        model.eval()
        rank, ranks = self.args.process_index, self.args.world_size
        lengths = [len(row.ids) for row in self._kept_aside]
        plan = Plan(lengths, len(lengths), self._plan.most, 0, self._plan.packs)
        total, learned = torch.zeros(2, device=self.args.device, dtype=torch.float64)
        for numbers in plan.passes(0, rank, ranks):
            rows = [self._kept_aside[row] for row in numbers]
            work = self._pass(rows or [self._kept_aside[0]], self.args.device)
            with rows_of(work.lengths), self.compute_loss_context_manager():
                found = self._loss_sum(model, work)
            if rows:
                total += found
                learned += len(work.labels)
        if ranks > 1:
            total, learned = self.accelerator.reduce(torch.stack([total, learned]), "sum")
        loss = float(total / learned.clamp_min(1))
        self._figures["eval_loss"] = loss
        self._measured = Validation(self.state.global_step, loss)
        return {"eval_loss": loss}

    # --- what is told -----------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Figures wait for those of the evaluation that may follow; then they are told at once."""
        seconds = time.perf_counter() - self._began
        self._figures |= {key: logs[key] for key in ("loss", "grad_norm", "learning_rate") if key in logs}
        self._figures |= {"seconds": seconds, "tokens_per_s": self._figures.get("tokens", 0.0) / seconds}

    def hand_over(self) -> None:
        """Tell what is known of the step that was made."""
        if "loss" not in self._figures:
            return
        figures, self._figures = self._figures, {}
        self._tell(self.state.global_step, figures)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.hand_over()

    def whole_state(self) -> dict[str, Tensor] | None:
        """The weights of a model that is spread over the ranks, all of which must ask; None where the model itself has
        them."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        found: dict[str, Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return found

    # --- checkpoints --------------------------------------------------------------------

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What a checkpoint brings back is where the optimiser stood, never what was asked of it: a learning rate that
        was changed since is in force from here on."""
        asked = [{key: group[key] for key in group if key != "params"} for group in self._groups]
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        schedule: Any = self.lr_scheduler
        schedule.base_lrs = [group["initial_lr"] for group in asked]
        shares = [share(schedule.last_epoch) for share in schedule.lr_lambdas]
        rates = [rate * share for rate, share in zip(schedule.base_lrs, shares, strict=True)]
        for group, wanted, rate in zip(self._groups, asked, rates, strict=True):
            group.update(wanted | {"lr": rate})
        schedule._last_lr = rates

    @property
    def _groups(self) -> list[dict[str, Any]]:
        optimiser: Any = self.optimizer
        groups: list[dict[str, Any]] = optimiser.param_groups
        return groups

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Written under another name, then renamed; older ones go only after that."""
        self.hand_over()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            adopt(self._checkpoints, self.state.global_step, self._measured)

    def take_weights(self, checkpoint: Path) -> None:
        """Those of another checkpoint. Every rank must ask; it cannot go on training from there."""
        self.state.best_model_checkpoint = str(checkpoint)
        self._load_best_model()

    @property
    def _checkpoints(self) -> Path:
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._checkpoints / STAGING)


def adopt(checkpoints: Path, step: int, measured: Validation | None = None) -> Path:
    """The checkpoint that was just written gets its final name, with its validation loss where that was measured."""
    written, final = checkpoints / STAGING / f"checkpoint-{step}", checkpoints / f"step-{step}"
    if measured is not None and measured.step == step:
        write_validation(written, measured)
    shutil.rmtree(final, ignore_errors=True)
    written.rename(final)
    return final
