"""One job of this program on a card at a time, whoever started it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from app.services import gpu_lease, machine
from app.services.gpu_lease import GpuLease, Holder, held_by_process
from app.services.inference import InferenceService, ModelFiles
from app.services.training import TrainingService
from core import paths
from core.errors import UserError
from core.hardware import Card, Memory
from core.load_options import LoadOptions
from core.store import owner
from core.store.store import Store
from core.training.recipe import Recipe
from core.training.run_files import RunFiles
from tests.helpers import fake_model, fake_training, shelf_models
from tests.helpers.training_data import MESSAGES, as_lines
from tests.helpers.waiting import until

CARD = GpuLease(lambda: ("0",))
TRAINING = Recipe("little", "rows.jsonl", "style")


@pytest.fixture
def other() -> int:
    """Another process, which lives for as long as the test."""
    return os.getppid()


def test_a_card_has_one_owner_and_the_refusal_has_numbers(other: int) -> None:
    CARD.take(["0"], held_by_process("chat", "Qwen3-8B", other, 16_400_000_000))
    with pytest.raises(UserError, match=r"Qwen3-8B.*16\.4 GB") as caught:
        CARD.take(["0", "1"], held_by_process("training", "style", owner.here()[0]))
    assert caught.value.code == "gpu_in_use_chat" and CARD.holder("1") is None  # all of them or none
    CARD.take(["0"], held_by_process("chat", "Qwen3-4B", other, 8_000_000_000))  # its own card, noted anew
    assert (found := CARD.holder("0")) is not None and found.name == "Qwen3-4B"
    CARD.give_back(owner.here()[0])
    assert CARD.holder("0") == found
    CARD.give_back(other)
    assert CARD.holder("0") is None


def test_a_dead_owner_and_a_pid_that_came_again_hold_nothing(other: int) -> None:
    here, began = owner.here()
    CARD.take(["0"], Holder("training", "gone", 2**22 + 1, 5.0))
    CARD.take(["0"], Holder("chat", "other start", other, owner.started(other) - 60))
    assert CARD.holder("0") is None
    CARD.take(["0"], Holder("training", "mine", here, began))
    (paths.cards() / "0.json").write_text("{torn")
    CARD.need(["0"])


def test_the_starter_hands_over_to_its_worker(other: int) -> None:
    here = owner.here()[0]
    CARD.take(["0"], held_by_process("training", "style", here))
    with pytest.raises(UserError):
        CARD.take(["0"], held_by_process("training", "style", other))
    CARD.take(["0"], held_by_process("training", "style", other), here)
    assert (found := CARD.holder("0")) is not None and found.pid == other


def test_the_next_process_of_a_run_need_not_wait_for_the_last_one_to_be_gone(other: int) -> None:
    CARD.take(["0"], held_by_process("training", "style", other, job="/runs/style"))
    CARD.take(["0"], held_by_process("training", "style", owner.here()[0], job="/runs/style"))
    with pytest.raises(UserError):
        CARD.take(["0"], held_by_process("training", "style", other, job="/runs/style-2"))


@pytest.mark.loops("asyncio")
async def test_a_model_is_not_loaded_onto_a_card_that_trains(home: Path, other: int) -> None:
    CARD.take(["0"], held_by_process("training", "style", other, 9_000_000_000))
    chosen = {"carded": LoadOptions()}
    service = InferenceService(
        lambda name: ModelFiles(name, home), options=chosen.__getitem__, argv=fake_model.ARGV, lease=CARD
    )
    try:
        with pytest.raises(UserError, match=r"style.*9\.0 GB"):
            await service.load("carded")
        assert service.state.phase == "none"
        chosen["plain"] = LoadOptions(device="cpu")
        await service.load("plain")  # which needs no card
        CARD.give_back(other)
        loaded = await service.load("carded")
        found = CARD.holder("0")
        assert found is not None and (found.name, found.bytes) == ("carded", loaded.weight_bytes)
        await service.load("plain")  # the same process lets go of it
        assert CARD.holder("0") is None
        await service.load("carded")
        await service.unload()
        assert CARD.holder("0") is None
    finally:
        await service.close()


@pytest.mark.loops("asyncio")
async def test_a_run_has_the_card_for_as_long_as_its_worker_lives(home: Path, other: int) -> None:
    shelf_models.put(paths.models(), "little")
    files = ModelFiles("little", paths.models() / "little")
    (home / "rows.jsonl").write_text(as_lines(MESSAGES))
    recipe = msgspec.structs.replace(TRAINING, data=str(home / "rows.jsonl"))
    library: Any = SimpleNamespace(files_of=lambda name: files, at=lambda place: None)
    store = Store(paths.database())
    service = TrainingService(store, library, lambda run_dir: fake_training.argv(run_dir), CARD)
    try:
        CARD.take(["0"], held_by_process("chat", "big", other, 3_000_000_000))
        with pytest.raises(UserError, match=r"big.*3\.0 GB"):
            await service.start(recipe)
        assert not paths.runs().exists()  # refused before anything was made
        CARD.give_back(other)
        id = await _started(service, recipe)
        run = RunFiles(paths.runs() / id)
        await until(lambda: (found := CARD.holder("0")) is not None and found.pid != owner.here()[0])
        found = CARD.holder("0")
        assert found is not None and (found.what, found.name) == ("training", "style") and found.bytes > 1e6
        await service.pause(id)
        await until(lambda: CARD.holder("0") is None)
        assert run.path.is_dir()
    finally:
        await service.close()
        await store.close()


async def _started(service: TrainingService, recipe: Recipe) -> str:
    """The worker that trains nothing wants its own settings in the folder of the run."""
    begin = service._begin

    async def with_settings(id: str) -> None:
        (paths.runs() / id / "config.json").write_text(
            msgspec.json.encode({"steps": 100_000, "step_s": 0.01, "mood": "good"}).decode()
        )
        await begin(id)

    service._begin = with_settings  # type: ignore[method-assign]
    return await service.start(recipe)


@pytest.mark.loops("asyncio")
async def test_the_memory_of_a_card_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter((9, 9, 2))

    async def read() -> machine.Reading:
        card = Card("A", Memory(10, next(readings)), "1")
        return machine.Reading(card, Memory(10, 1), (card,))

    monkeypatch.setattr(machine, "read", read)
    monkeypatch.setattr(gpu_lease, "LOOK_S", 0.0)
    assert await gpu_lease.until_free(5)
