"""One fine-tune from its directory: prepare, train, answer the prompts, keep checkpoints, leave a result.

Invariant: it goes on from the last whole checkpoint, if there is one, to the same losses as if it had never stopped;
and whatever ends it, what the last checkpoint holds is kept.
"""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.figures import size
from core.models import memory
from core.models.footprint import DeviceKind
from core.models.load import LoadStep
from core.models.shape import read_shape
from core.protocol.messages import CheckpointSaved, Finished, JobEvent, Metrics, Progress
from core.training import answers as wall
from core.training import results
from core.training.arguments import arguments
from core.training.callbacks import Control, Enough, Keeping, Obeying, least_of_all
from core.training.first_rank import is_first
from core.training.packing import Plan
from core.training.pass_size import pass_size
from core.training.preparing import Prepared, prepare
from core.training.recipe import Recipe
from core.training.run_data import RunData, read_data
from core.training.run_files import Answer, RunFacts, RunFiles
from core.training.stepped import Stepped
from core.training.trainer import STAGING, RowTrainer

VERSIONS = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")

Tell = Callable[[JobEvent], None]


def train(job_id: str, run: RunFiles, control: Control) -> Iterator[JobEvent | None]:
    """The events of the run; the last is its Finished.

    Raises:
        UserError: the recipe, the data or the model cannot be used; training_diverged, training_memory, training_disk.
    """
    session = _Session(job_id, run, control)
    yield from Stepped[JobEvent](session.work, "training")
    yield Finished(job_id, session.end)


def train_here(job_id: str, run: RunFiles, control: Control, tell: Tell) -> Finished:
    """The same in this thread, as one of several ranks."""
    session = _Session(job_id, run, control)
    session.work(tell)
    return Finished(job_id, session.end)


class _Session:
    def __init__(self, job_id: str, run: RunFiles, control: Control) -> None:
        self._job_id, self._run, self._control = job_id, run, control
        self.end: Any = "stop"

    def work(self, tell: Tell) -> None:
        self._tell = tell
        recipe, origin = self._own_data(self._run.recipe), self._run.origin
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        folder = Path(origin.model_folder)
        vocabulary = Vocabulary.load(folder)
        memory.trim_heap()  # reading it takes twice what it keeps
        self._progress("reading_data")
        data = read_data(recipe, folder, vocabulary, self._told_rows)
        if self._control.is_cancelled and not self._run.saved_steps():  # nothing was learned yet
            self.end = "cancelled"
            return
        if (
            (before := self._run.facts) is not None
            and self._run.saved_steps()
            and before.fingerprint != data.fingerprint
        ):
            raise UserError("training_data_changed", file=Path(recipe.data).name)
        self._free = _free_for_one(recipe)
        prepared = prepare(recipe, folder, data.new_ids, self._told_load)
        facts = self._facts(recipe, folder, data, prepared, self._free)
        if is_first():
            self._run.write_facts(facts)
        with _memory_in_words(recipe, prepared):
            self._train(recipe, data, prepared, facts, vocabulary, folder)

    def _train(
        self, recipe: Recipe, data: RunData, prepared: Prepared, facts: RunFacts, vocabulary: Vocabulary, folder: Path
    ) -> None:
        args = arguments(recipe, facts, prepared, self._run, has_eval=bool(data.kept_aside))
        if args.world_size > 1:  # they wait for each other in every pass
            facts = self._facts(recipe, folder, data, prepared, least_of_all(self._free, args.device))
            if is_first():
                self._run.write_facts(facts)
        if facts.checkpointing:
            prepared.model.gradient_checkpointing_enable({"use_reentrant": False})
            memory.keep_no_large_blocks()  # memory is short, so time goes before it
        if is_first():
            shutil.rmtree(self._run.checkpoints / STAGING, ignore_errors=True)
        lengths = [len(row.ids) for row in data.rows]
        obeying = Obeying(self._control)
        trainer = RowTrainer(
            model=prepared.model,
            args=args,
            rows=data.rows,
            kept_aside=data.kept_aside,
            plan=Plan(lengths, recipe.batch, facts.pass_tokens, recipe.seed, facts.packs),
            padding=vocabulary_padding(vocabulary),
            head=prepared.head,
            tell=self._told_step,
            callbacks=[Keeping(partial(self._saved, keep=recipe.keep), measures=bool(data.kept_aside)), obeying],
        )
        self._asker = _Asker(prepared, vocabulary, data.chat, recipe, self._run, folder)
        last = self._run.last_checkpoint()
        if last is None:
            self._asker.ask(0)
        with suppress(Enough):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        is_done = trainer.state.global_step >= facts.steps
        if not is_done and obeying.wish == "paused":
            self.end = "paused"
            return
        self._progress("writing_result")
        step = self._take_best(trainer) if recipe.result == "best" else trainer.state.global_step
        state = trainer.whole_state()
        if is_first():
            results.write(prepared, recipe, folder, self._run, step, state)
        self.end = "stop" if is_done else "cancelled"

    def _take_best(self, trainer: RowTrainer) -> int:
        """The step whose weights the model has now; the last one where none was measured."""
        trainer.accelerator.wait_for_everyone()  # until the first has named and kept its checkpoints
        last, best = int(trainer.state.global_step), self._run.best()
        if best is None or best.step == last:
            return last
        trainer.take_weights(self._run.checkpoint(best.step))
        return best.step

    def _own_data(self, recipe: Recipe) -> Recipe:
        """With the copies of the data that lie in the run."""
        files = {
            key: str(self._run.data_file(key, name)) for key in ("data", "eval_data") if (name := getattr(recipe, key))
        }
        return msgspec.structs.replace(recipe, **files)

    # --- told from within ----------------------------------------------------------------

    def _saved(self, step: int, keep: int) -> None:
        best = self._run.best()
        olds = self._run.saved_steps()[:-keep] if is_first() else ()
        for old in (old for old in olds if best is None or old != best.step):
            shutil.rmtree(self._run.checkpoint(old), ignore_errors=True)
        self._asker.ask(step)
        self._asker.name_format(step)
        self._tell(CheckpointSaved(self._job_id, step, str(self._run.checkpoint(step))))  # who looks finds the answers

    def _told_step(self, step: int, figures: dict[str, float]) -> None:
        figures["memory"] = float(memory_now())
        self._tell(Metrics(self._job_id, step, figures))

    def _told_rows(self, done: int, total: int) -> None:
        self._tell(Progress(self._job_id, done, total, "reading_data", "files"))

    def _told_load(self, step: LoadStep) -> None:
        self._tell(Progress(self._job_id, step.done, step.total or None, step.stage))

    def _progress(self, stage: str) -> None:
        self._tell(Progress(self._job_id, 0, stage=stage))

    def _facts(self, recipe: Recipe, folder: Path, data: RunData, prepared: Prepared, free: int) -> RunFacts:
        lengths = [len(row.ids) for row in data.rows]
        steps = recipe.steps or max(1, math.ceil(len(data.rows) * recipe.epochs / recipe.batch))
        device: DeviceKind = "cuda" if prepared.loaded.placement.device.type == "cuda" else "cpu"
        room = pass_size(recipe, read_shape(folder), max(lengths), free, device)
        return RunFacts(
            steps=steps,
            rows=len(data.rows),
            kept_aside=len(data.kept_aside),
            tokens=sum(lengths),
            learned=sum(row.targets for row in data.rows),
            cut=data.cut,
            trained=prepared.trained,
            parameters=prepared.loaded.parameters,
            precision=str(prepared.compute).removeprefix("torch."),
            reason=prepared.reason,
            device=str(prepared.loaded.placement.device),
            packs=prepared.packs,
            checkpointing=room.checkpointing,
            pass_tokens=room.tokens,
            fingerprint=data.fingerprint,
            versions=versions(),
            weights=prepared.loaded.weights,
        )


class _Asker:
    """Answers the recipe's prompts, and writes them down."""

    def __init__(
        self, prepared: Prepared, vocabulary: Vocabulary, chat: Any, recipe: Recipe, run: RunFiles, folder: Path
    ) -> None:
        self._prepared, self._vocabulary, self._chat, self._recipe, self._run = prepared, vocabulary, chat, recipe, run
        self._folder = folder

    def ask(self, step: int) -> None:
        loaded = self._prepared.loaded
        found = wall.answers(
            self._prepared.model, self._vocabulary, self._chat, loaded.stop_ids, self._recipe.prompts,
            self._recipe.answer_tokens,
        )  # fmt: skip
        for prompt, text in found:
            if is_first():  # the others ask as well: a model that is spread over them answers only together
                self._run.add_answer(Answer(step, prompt, text))

    def name_format(self, step: int) -> None:
        """So that whoever chats with the checkpoint asks as it was asked here."""
        if is_first() and self._recipe.method != "full":
            results.name_format(self._vocabulary, self._run.checkpoint(step))


class _memory_in_words:
    """Turns torch's word for full memory, and the system's for a full disk, into sentences with numbers."""

    def __init__(self, recipe: Recipe, prepared: Prepared) -> None:
        self._device = prepared.loaded.placement.device

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise UserError("training_memory", held=size(memory_now()), free=size(_free(self._device))) from error
        if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
            raise UserError("training_memory", held=size(memory_now()), free=size(_free(self._device))) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError("training_disk", file=str(error.filename or "")) from error


def memory_now() -> int:
    """What this process takes, on the card where it computes on one. Bytes."""
    return memory.taken("cuda" if torch.cuda.is_available() and torch.cuda.memory_reserved() else "cpu")


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def _free_for_one(recipe: Recipe) -> int:
    """Of this process's card; processes on the processor share the system's memory."""
    if recipe.device == "cpu" or not torch.cuda.is_available():
        return _free(torch.device("cpu")) // recipe.devices
    return _free(torch.device("cuda"))


def versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def vocabulary_padding(vocabulary: Vocabulary) -> int:
    """Any token will do: what stands there is never looked at."""
    return min(vocabulary.control_ids, default=0)
