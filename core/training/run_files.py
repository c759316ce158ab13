"""What lies in the directory of a fine-tune beside what core.run_dir keeps there.

    config.toml      the recipe
    facts.json       what was found out before the first step: RunFacts
    samples.jsonl    answers to the recipe's prompts, a line for each checkpoint and prompt
    data/            copies of data and eval_data, where they are not huge: all that is needed to make the run again
    checkpoints/     step-N, each whole: weights, optimiser, random numbers; validation.json where its loss was measured
    result/          the finished adapter, or the whole model of a full fine-tune

Invariant: whatever has its final name is whole; with config.toml, the data and the same versions a run can be made
again to the same losses. Imports no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from core.errors import UserError
from core.files import replace_file
from core.training import recipe as recipes
from core.training.recipe import Recipe

CONFIG, FACTS, SAMPLES, CHECKPOINTS, RESULT = "config.toml", "facts.json", "samples.jsonl", "checkpoints", "result"
DATA = "data"
VALIDATION = "validation.json"
COPIED_MOST = 256 << 20  # bytes of a data file that is copied into the run
ORIGIN = "origin.json"
LOG = "worker.log"
METRICS = "metrics.jsonl"
_STEP = re.compile(r"step-(\d+)")


class Origin(Struct, frozen=True):
    """Where a run comes from. model_folder: the files of the model it starts from; model: its name for people"""

    model: str
    model_folder: str
    created: float


class RunFacts(Struct, frozen=True):
    """
    steps: of the whole run; rows, kept_aside: conversations; cut: how many of them were too long
    tokens: of one epoch; learned: those of them that count for the loss
    trained, parameters: of how many parameters how many change
    fingerprint: sha256 of the data; versions: of what computes; reason: why this precision, `reason.<key>`
    checkpointing, packs: what "auto" came to; pass_tokens: tokens that go through the model at once
    """

    steps: int
    rows: int
    kept_aside: int
    tokens: int
    learned: int
    cut: int
    trained: int
    parameters: int
    precision: str
    reason: str
    device: str
    packs: bool
    checkpointing: bool
    pass_tokens: int
    fingerprint: str
    versions: dict[str, str]
    weights: str = ""


class Answer(Struct, frozen=True):
    """What the model said to a prompt after so many steps. 0 is the model before the run."""

    step: int
    prompt: str
    text: str


class Validation(Struct, frozen=True):
    """loss: the mean over the rows kept aside, of the checkpoint of this step"""

    step: int
    loss: float


class RunFiles:
    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.checkpoints = self.path / CHECKPOINTS
        self.result = self.path / RESULT
        self.samples = self.path / SAMPLES

    @property
    def recipe(self) -> Recipe:
        """Raises UserError."""
        return recipes.read(self.path / CONFIG)

    @property
    def origin(self) -> Origin:
        """Raises UserError."""
        try:
            return msgspec.json.decode((self.path / ORIGIN).read_bytes(), type=Origin)
        except (OSError, msgspec.DecodeError) as error:
            raise UserError("run_damaged", folder=str(self.path), file=ORIGIN) from error

    @property
    def facts(self) -> RunFacts | None:
        """None before they are known."""
        try:
            return msgspec.json.decode((self.path / FACTS).read_bytes(), type=RunFacts)
        except (OSError, msgspec.DecodeError):
            return None

    def data_file(self, key: str, file: str) -> Path:
        """The run's own copy of the file that the recipe names as `key`, else the file itself."""
        copy = self.path / DATA / key / Path(file).name
        return copy if copy.is_file() else Path(file)

    def write_facts(self, facts: RunFacts) -> None:
        replace_file(self.path / FACTS, msgspec.json.format(msgspec.json.encode(facts), indent=2))

    def saved_steps(self) -> list[int]:
        """Of the checkpoints, rising."""
        if not self.checkpoints.is_dir():
            return []
        found = (_STEP.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def last_checkpoint(self) -> Path | None:
        steps = self.saved_steps()
        return self.checkpoint(steps[-1]) if steps else None

    def best(self) -> Validation | None:
        """Of the checkpoints that were measured the one with the lowest loss; it is kept for as long as it is that."""
        found = [known for step in self.saved_steps() if (known := _validation(self.checkpoint(step)))]
        return min(found, key=lambda known: (known.loss, known.step), default=None)

    def answers(self) -> list[Answer]:
        """By step; of answers that came again after a resume the later."""
        try:
            lines = self.samples.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        found: dict[tuple[int, str], Answer] = {}
        for line in lines:
            try:
                answer = msgspec.json.decode(line, type=Answer)
            except msgspec.DecodeError:
                continue  # torn by a kill; the rest is still worth showing
            found[answer.step, answer.prompt] = answer
        return sorted(found.values(), key=lambda answer: answer.step)

    def add_answer(self, answer: Answer) -> None:
        with self.samples.open("ab", buffering=0) as out:
            out.write(msgspec.json.encode(answer) + b"\n")


def create(runs: Path, recipe: Recipe, model_folder: Path, model: str) -> RunFiles:
    """A new run, whole when it has its name: `<name>-<number>`, the first that is free.

    Raises:
        OSError: the folder cannot be written, or a data file not be read.
    """
    runs.mkdir(parents=True, exist_ok=True)
    draft = runs / f".new-{os.getpid()}-{time.time_ns()}"
    draft.mkdir()
    try:
        recipes.write(draft / CONFIG, recipe)
        _copy_data(draft / DATA, recipe)
        origin = Origin(model, str(model_folder.resolve()), time.time())
        replace_file(draft / ORIGIN, msgspec.json.format(msgspec.json.encode(origin), indent=2))
        return RunFiles(_named(runs, draft, slug(recipe.name or f"{model} {recipe.method}")))
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_validation(checkpoint: Path, found: Validation) -> None:
    """Into a folder that has not got its final name yet."""
    (checkpoint / VALIDATION).write_bytes(msgspec.json.encode(found))


def _validation(checkpoint: Path) -> Validation | None:
    """None where it was not measured, or is no number."""
    try:
        return msgspec.json.decode((checkpoint / VALIDATION).read_bytes(), type=Validation)
    except (OSError, msgspec.DecodeError):
        return None


def _copy_data(place: Path, recipe: Recipe) -> None:
    """What cannot be read is said by whoever reads it."""
    for key, file in (("data", Path(recipe.data)), ("eval_data", Path(recipe.eval_data))):
        if file.is_file() and file.stat().st_size <= COPIED_MOST:
            (place / key).mkdir(parents=True)
            shutil.copyfile(file, place / key / file.name)


def _named(runs: Path, draft: Path, name: str) -> Path:
    for number in range(1, 100_000):
        place = runs / (name if number == 1 else f"{name}-{number}")
        if place.exists():
            continue
        try:
            draft.rename(place)
        except OSError:
            if not place.exists():
                raise
            continue
        return place
    raise OSError(f"no free name for {name} in {runs}")


def slug(words: str) -> str:
    """A folder name of it, on every system."""
    kept = re.sub(r"[^\w.-]+", "-", words, flags=re.UNICODE).strip("-._")
    return kept[:60] or "run"
