"""A run: the losses of everybody's script, the same after every stop, and a result that others can load."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from core.errors import UserError
from core.protocol.messages import CheckpointSaved, Finished, JobEvent, Metrics
from core.training import preparing, run_files, session
from core.training import recipe as recipes
from core.training.packing import Plan
from core.training.recipe import Recipe
from core.training.run_data import read_data
from core.training.run_files import RunFiles, Validation
from core.training.trainer import RowTrainer
from tests.helpers import tiny_models

pytestmark = pytest.mark.errors_logged


class Wish:
    """What the person at the window wants: to stop, or to pause, once they have seen so many steps."""

    def __init__(self, pause_at: int = 0, stop_at: int = 0) -> None:
        self.pause_at, self.stop_at, self.step = pause_at, stop_at, 0

    @property
    def is_paused(self) -> bool:
        return bool(self.pause_at) and self.step >= self.pause_at

    @property
    def is_cancelled(self) -> bool:
        return bool(self.stop_at) and self.step >= self.stop_at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_model(tmp_path_factory.mktemp("model") / "tiny-chat")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["over the lazy dog", "step by step", "quick brown fox", "how rainbows form", "hello"]
    rows = [
        {
            "id": str(number),
            "conversations": [
                {"from": "user", "value": f"Explain {words[number % 5]} {number}"},
                {"from": "assistant", "value": f"{words[(number * 3) % 5]} jumps {number * 7}"},
            ],
        }
        for number in range(30)
    ]
    file = tmp_path_factory.mktemp("data") / "rows.json"
    file.write_text(json.dumps(rows), "utf-8")
    return file


def recipe(data: Path, **changes: Any) -> Recipe:
    values = {
        "model": "tiny", "data": str(data), "steps": 8, "batch": 4, "precision": "float32", "learning_rate": 3e-3,
        "dropout": 0.1, "rank": 4, "alpha": 8.0, "save_every": 3, "evaluate_every": 4, "threads": 1, "seed": 5,
    }  # fmt: skip
    return Recipe(**(values | changes))


def create(place: Path, folder: Path, wanted: Recipe) -> RunFiles:
    return run_files.create(place, wanted, folder, "tiny")


def follow(run: RunFiles, wish: Wish | None = None) -> Iterator[JobEvent]:
    wish = wish or Wish()
    for event in session.train("job", run, wish):
        if isinstance(event, Metrics):
            wish.step = event.step
        if event is not None:
            yield event


def losses(events: list[JobEvent]) -> dict[int, float]:
    return {event.step: event.values["loss"] for event in events if isinstance(event, Metrics)}


def weights(run: RunFiles) -> dict[str, torch.Tensor]:
    return load_file(run.result / "adapter_model.safetensors")


def test_a_run_learns_tells_and_leaves_a_result(tmp_path: Path, folder: Path, data: Path) -> None:
    run = create(
        tmp_path, folder, recipe(data, steps=30, dropout=0.0, learning_rate=2e-2, prompts=("Explain step by step 6",))
    )
    events = list(follow(run))
    told = losses(events)
    assert list(told) == list(range(1, 31)) and told[30] < 0.6 * told[1]
    assert events[-1] == Finished("job", "stop")
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [*range(3, 31, 3)]
    best = run.best()
    assert best is not None and run.saved_steps() == sorted({best.step, 27, 30})
    assert {answer.step for answer in run.answers()} == {0, *range(3, 31, 3)}
    figures = [event.values for event in events if isinstance(event, Metrics)]
    assert all("eval_loss" in values for values in [*figures[3::4], *figures[2::3]]) and "eval_loss" not in figures[0]
    assert figures[0]["tokens_per_s"] > 0 and figures[0]["memory"] > 1e6
    facts = run.facts
    assert facts and facts.rows + facts.kept_aside == 30 and facts.packs and facts.precision == "float32"
    card = (run.result / "README.md").read_text()
    assert facts.fingerprint in card and "tiny" in card


@pytest.mark.parametrize("changes", [{}, {"method": "full", "learning_rate": 1e-3}, {"packing": False}])
def test_a_paused_run_goes_on_to_the_same_losses(
    tmp_path: Path, folder: Path, data: Path, changes: dict[str, Any]
) -> None:
    whole = create(tmp_path, folder, recipe(data, **changes))
    expected = losses(list(follow(whole)))
    broken = create(tmp_path, folder, recipe(data, **changes))
    first = list(follow(broken, Wish(pause_at=4)))
    assert first[-1] == Finished("job", "paused") and broken.saved_steps()[-1] == 5
    second = list(follow(broken))
    assert losses(first) | losses(second) == expected
    assert list(losses(second)) == [6, 7, 8]
    if changes.get("method") == "full":
        one, other = (load_file(run.result / "model.safetensors") for run in (whole, broken))
    else:
        one, other = weights(whole), weights(broken)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_run_keeps_its_result_and_can_go_on(tmp_path: Path, folder: Path, data: Path) -> None:
    run = create(tmp_path, folder, recipe(data))
    assert list(follow(run, Wish(stop_at=1)))[-1] == Finished("job", "cancelled")
    assert weights(run) and run.saved_steps() == [2]
    assert list(losses(list(follow(run)))) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("result", ["last", "best"])
def test_the_best_checkpoint_is_kept_and_becomes_the_result_where_that_is_asked(
    tmp_path: Path, folder: Path, data: Path, result: Any, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {2: 3.0, 4: 1.0, 6: 2.0, 8: 4.0}
    evaluate = RowTrainer.evaluate

    def scripted(trainer: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        found = evaluate(trainer, *args, **kwargs)
        trainer._measured = Validation(trainer.state.global_step, measured[trainer.state.global_step])
        return found

    monkeypatch.setattr(RowTrainer, "evaluate", scripted)
    run = create(tmp_path, folder, recipe(data, save_every=2, keep=1, result=result, method=method, evaluate_every=100))
    events = list(follow(run, Wish(pause_at=4)))  # it is found again
    assert events[-1] == Finished("job", "paused") and run.saved_steps() == [4, 5]
    list(follow(run))
    assert run.saved_steps() == [4, 8] and run.best() == Validation(4, 1.0)
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    left = load_file(run.result / name)
    last, best = (load_file(run.checkpoint(step) / name) for step in (8, 4))
    wanted, other = (best, last) if result == "best" else (last, best)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in left.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in left.items())
    assert f"| Steps | {4 if result == 'best' else 8} of 8 |" in (run.result / "README.md").read_text()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_what_was_changed_while_a_run_was_paused_is_in_force(
    tmp_path: Path, folder: Path, data: Path, optimiser: str
) -> None:
    wanted = recipe(data, optimiser=optimiser, weight_decay=0.1)
    kept, changed = (create(tmp_path, folder, wanted) for _ in range(2))
    for run in (kept, changed):
        list(follow(run, Wish(pause_at=4)))
    recipes.write(changed.path / run_files.CONFIG, msgspec.structs.replace(wanted, learning_rate=1e-3))
    before, after = (rates(list(follow(run))) for run in (kept, changed))
    assert list(before) == [6, 7, 8] and before[6] > 0
    assert all(after[step] == pytest.approx(before[step] / 3, rel=1e-9) for step in before)


def test_hardly_any_learning_rate_hardly_moves_a_weight(tmp_path: Path, folder: Path, data: Path) -> None:
    wanted = recipe(data, dropout=0.0)
    run = create(tmp_path, folder, wanted)
    list(follow(run, Wish(pause_at=4)))
    kept = load_file(run.checkpoint(5) / "adapter_model.safetensors")
    recipes.write(run.path / run_files.CONFIG, msgspec.structs.replace(wanted, learning_rate=1e-9))
    list(follow(run))
    assert all(torch.allclose(tensor, kept[name], atol=1e-7) for name, tensor in weights(run).items())


def rates(events: list[JobEvent]) -> dict[int, float]:
    return {event.step: event.values["learning_rate"] for event in events if isinstance(event, Metrics)}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("packing", [True, False])
def test_the_losses_are_those_of_a_plain_script(tmp_path: Path, folder: Path, data: Path, packing: bool) -> None:
    """transformers' Trainer and PEFT, as their documentation has it, on the same rows in the same order."""
    wanted = recipe(data, dropout=0.0, packing=packing, weight_decay=0.1)
    found = losses(list(follow(create(tmp_path, folder, wanted))))
    expected = plain_script(tmp_path / "plain", folder, wanted)
    assert list(found) == list(expected)
    assert all(abs(found[step] - expected[step]) < 1e-3 for step in found)


def plain_script(out: Path, folder: Path, wanted: Recipe) -> dict[int, float]:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from core.chat.vocabulary import Vocabulary
    from core.training.library import Trainer, TrainingArguments

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(wanted.seed)
    targets = preparing.target_layers(model, wanted)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets)
    model = get_peft_model(model, config)
    rows = read_data(wanted, folder, Vocabulary.load(folder)).rows
    plan = Plan([len(row.ids) for row in rows], wanted.batch, 1 << 20, wanted.seed)
    ordered = [rows[row] for step in range(wanted.steps) for row in plan.rows(step)]

    def collate(some: list[Any]) -> dict[str, torch.Tensor]:
        longest = max(len(row.ids) for row in some)
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for at, row in enumerate(some):
            ids[at, : len(row.ids)], mask[at, : len(row.ids)] = torch.tensor(row.ids), 1
            kept = [id if learned else -100 for id, learned in zip(row.ids, row.learned, strict=True)]
            labels[at, : len(row.ids)] = torch.tensor(kept)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        output_dir=str(out), max_steps=wanted.steps, per_device_train_batch_size=wanted.batch,
        learning_rate=wanted.learning_rate, lr_scheduler_type="cosine", warmup_steps=wanted.warmup, logging_steps=1,
        weight_decay=wanted.weight_decay, report_to="none", disable_tqdm=True, use_cpu=True, save_strategy="no",
        train_sampling_strategy="sequential", seed=wanted.seed,
        dataloader_pin_memory=False, remove_unused_columns=False,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=ordered, data_collator=collate)  # type: ignore[arg-type]
    trainer.train()
    return {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks for it
def test_peft_alone_loads_the_adapter_to_the_same_logits(tmp_path: Path, folder: Path, data: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = create(tmp_path, folder, recipe(data))
    kept: list[Any] = []
    original = preparing.prepare

    def remembering(*args: Any) -> Any:
        kept.append(original(*args))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "prepare", remembering)
        list(follow(run))
    ids = torch.tensor([[5, 9, 200, 31, 77]])
    base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, str(run.result)).eval()
    with torch.no_grad():
        expected = kept[0].model.eval()(input_ids=ids).logits
        assert torch.allclose(loaded(input_ids=ids).logits, expected, atol=1e-5)


def test_a_loss_that_is_no_number_ends_the_run_in_words(tmp_path: Path, folder: Path, data: Path) -> None:
    run = create(tmp_path, folder, recipe(data, learning_rate=1.0, clip=0.0, method="full", steps=40))
    told: list[JobEvent] = []
    with pytest.raises(UserError) as caught:
        for event in follow(run):
            told.append(event)
    assert caught.value.code == "training_diverged"


def test_a_run_needs_nothing_but_its_folder_and_the_model(tmp_path: Path, folder: Path, data: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_bytes(data.read_bytes())
    run = create(tmp_path, folder, recipe(own))
    first = list(follow(run, Wish(pause_at=3)))
    own.unlink()
    assert losses(first) | losses(list(follow(run))) == losses(list(follow(create(tmp_path, folder, recipe(data)))))


def test_changed_data_is_noticed(tmp_path: Path, folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "COPIED_MOST", 10)
    own = tmp_path / "mine.json"
    own.write_bytes(data.read_bytes())
    run = create(tmp_path, folder, recipe(own))
    list(follow(run, Wish(pause_at=3)))
    own.write_text(data.read_text("utf-8").replace("jumps", "sleeps"), "utf-8")
    with pytest.raises(UserError) as caught:
        list(follow(run))
    assert caught.value.code == "training_data_changed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "training_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "training_memory"),
        (OSError(errno.ENOSPC, "No space left on device", "optimizer.pt"), "training_disk"),
    ],
)
def test_a_full_memory_or_disk_ends_the_run_in_words_and_keeps_its_checkpoint(
    tmp_path: Path, folder: Path, data: Path, error: Exception, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(tmp_path, folder, recipe(data))
    told: list[JobEvent] = []
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        for event in follow(run):
            told.append(event)
            if isinstance(event, CheckpointSaved):

                def fail(*args: Any, **kwargs: Any) -> Any:
                    raise error

                patch.setattr(RowTrainer, "_learn", fail)
    assert caught.value.code == code and str(caught.value)
    assert run.saved_steps() == [3] and list(losses(told)) == [1, 2, 3]
    assert list(losses(list(follow(run)))) == [4, 5, 6, 7, 8]
