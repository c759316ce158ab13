"""What a fine-tune will take: steps, and memory on one device and on several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from app.services import training_plan
from app.services.fitting import Room, Subject, look_now
from app.services.training import TrainingService
from core import hardware
from core.errors import UserError
from core.models.device_plan import Device
from core.training.recipe import Recipe
from tests.helpers import shelf_models

CARDS = tuple(Device(f"cuda:{number}", free) for number, free in enumerate((80_000_000_000, 60_000_000_000)))
ROOM = Room(200_000_000_000, CARDS)


@pytest.fixture
def big(tmp_path: Path) -> Subject:
    shelf_models.put(tmp_path, "big", shelf_models.QWEN_7B)
    return look_now("big", tmp_path / "big")


def recipe(**values: Any) -> Recipe:
    return msgspec.structs.replace(Recipe("big", "rows", method="full", batch=16, steps=5, pass_tokens=1024), **values)


def test_each_device_holds_its_part(big: Subject) -> None:
    alone = training_plan.plan(recipe(), big, ROOM)
    two = {
        parallel: training_plan.plan(recipe(devices=2, parallel=parallel), big, ROOM)
        for parallel in ("ddp", "zero2", "zero3", "fsdp")
    }
    held, one = {name: found.footprint for name, found in two.items()}, alone.footprint
    assert held["ddp"].weights == one.weights and held["ddp"].gradients > one.gradients  # summed up in buckets
    assert held["zero2"].weights == one.weights
    assert held["zero2"].optimiser == pytest.approx(one.optimiser / 2)
    assert held["zero2"].gradients == pytest.approx(one.gradients / 2)
    for whole in ("zero3", "fsdp"):
        assert one.weights / 2 < held[whole].weights < one.weights * 0.75  # its part, and a layer that is put together
        assert held[whole].optimiser == held["zero2"].optimiser
    assert two["zero2"].free == CARDS[1].free_bytes and alone.free == CARDS[0].free_bytes  # the fullest that takes part
    assert two["zero2"].devices == 2 and two["zero2"].steps == alone.steps  # the batch is that of all devices


def test_processes_on_the_processor_share_its_memory(big: Subject) -> None:
    found = training_plan.plan(recipe(devices=4, parallel="fsdp", device="cpu"), big, ROOM)
    assert found.free == ROOM.memory // 4 and not found.on_card


async def test_devices_that_are_not_there_are_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    library: Any = SimpleNamespace(files_of=lambda name: SimpleNamespace(folder=home, base=name, adapter=None))
    service = TrainingService(None, library)  # type: ignore[arg-type]  # nothing is stored
    monkeypatch.setattr(hardware, "usable_cards", lambda: ("0",))
    with pytest.raises(UserError, match="devices") as caught:
        await service.start(recipe(devices=2, parallel="fsdp"))
    assert caught.value.code == "devices_missing" and not (home / "runs").exists()


def test_cards_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    card = hardware.Card("A", hardware.Memory(1, 0), "1")
    monkeypatch.setattr(hardware, "cards", lambda: ([card] * 3, ""))
    for shown, named in (("0,1", "01"), ("", ""), ("-1", ""), ("2,-1,1", "2"), ("0,1,2,3", "012")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert hardware.usable_cards() == tuple(named)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert hardware.usable_cards() == ("0", "1", "2")
