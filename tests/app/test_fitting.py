"""What a model would take, against what is free: the verdict, the room for a conversation, and what would help."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import fitting
from app.services.fitting import Room, Subject
from app.services.machine import Reading
from core.errors import UserError
from core.hardware import Card, Memory
from core.load_options import LoadOptions
from core.models.device_plan import Device
from core.protocol.messages import ModelLoaded
from tests.helpers import shelf_models

GB = 10**9


@pytest.fixture
def seven(tmp_path: Path) -> Subject:
    """Of the shape and length of Qwen-7B; its file is sparse."""
    shelf_models.put(tmp_path, "seven", shelf_models.QWEN_7B)
    return fitting.look_now("seven", tmp_path / "seven")


def test_a_model_is_looked_at_without_loading_it(seven: Subject) -> None:
    assert (seven.family, seven.shape.stored, seven.own) == ("qwen", "bfloat16", 32_768)
    assert (seven.lengths.trained, seven.longest) == (8192, 32_768)
    assert abs(seven.shape.parameters - 7.72e9) < 0.01e9


@pytest.mark.parametrize(
    "free, options, verdict",
    [
        (100 * GB, LoadOptions(), "fits"),
        (34 * GB, LoadOptions(), "tight"),  # nearly all of it
        (24 * GB, LoadOptions(), "tight"),  # the weights, and half of the context
        (14 * GB, LoadOptions(), "too_big"),
        (14 * GB, LoadOptions(weights="int8", context_length=4096), "fits"),
        (24 * GB, LoadOptions(kv_cache="int8"), "tight"),
        (30 * GB, LoadOptions(kv_cache="int8"), "fits"),
    ],
)
def test_the_verdict_follows_the_choices(seven: Subject, free: int, options: LoadOptions, verdict: str) -> None:
    assert fitting.fit(seven, options, Room(free)).verdict == verdict


def test_what_is_tight_says_how_long_a_conversation_has_room(seven: Subject) -> None:
    fit = fitting.fit(seven, LoadOptions(), Room(24 * GB))
    assert 8_000 < fit.room < fit.context == 32_768
    assert fitting.fit(seven, LoadOptions(context_length=fit.room // 256 * 256), Room(25 * GB)).is_whole


def test_the_least_change_that_helps_is_offered(seven: Subject) -> None:
    def offered(gigabytes: int) -> LoadOptions | None:
        return fitting.smaller(seven, LoadOptions(), Room(gigabytes * GB))

    assert offered(100) is None
    assert offered(30) == LoadOptions(weights="int8")
    assert offered(27) == LoadOptions(weights="int4")
    assert offered(24) == LoadOptions(context_length=8192)
    assert offered(18) == LoadOptions(weights="int8", context_length=8192)
    assert offered(2) is None  # nothing helps
    for room in (30, 27, 24, 18, 11):
        helped = offered(room)
        assert helped is not None and fitting.fit(seven, helped, Room(room * GB)).is_whole


def test_free_is_what_the_next_model_can_have() -> None:
    """The present one goes; mapped weights are free already, packed ones and those on a card are not."""
    memory, card = Memory(32 * GB, 12 * GB), Card("RTX", Memory(24 * GB, 10 * GB), "")

    def loaded(device: str, weights: str) -> ModelLoaded:
        return ModelLoaded("", "a", "", device, "", "bfloat16", "", 1, 5 * GB, 1, True, False, 0.1, weights=weights)

    assert fitting.room(Reading(None, memory)) == Room(20 * GB)
    assert fitting.room(Reading(None, memory), loaded("cpu", "bfloat16")) == Room(20 * GB)
    assert fitting.room(Reading(None, memory), loaded("cpu", "int4")) == Room(25 * GB)
    two = Reading(card, memory, (card, card))
    found = fitting.room(two, loaded("cuda:0", "bfloat16"))
    assert found == Room(20 * GB, (Device("cuda:0", 19 * GB, "RTX"), Device("cuda:1", 14 * GB, "RTX")))
    assert (found.card, found.card_name, [one.name for one in found.devices]) == (
        19 * GB, "RTX", ["cuda:0", "cuda:1", "cpu"]
    )  # fmt: skip


def test_the_processor_is_asked_for_its_own_memory(seven: Subject) -> None:
    room = Room(100 * GB, (Device("cuda:0", 12 * GB, "RTX"),))
    assert fitting.fit(seven, LoadOptions(), room).free == 12 * GB
    assert fitting.fit(seven, LoadOptions(device="cpu"), room).free == 100 * GB


def test_spread_over_devices_there_is_a_plan(seven: Subject) -> None:
    room = Room(100 * GB, (Device("cuda:0", 12 * GB, "RTX"), Device("cuda:1", 12 * GB, "RTX")))
    spread = fitting.fit(seven, LoadOptions(device="spread", context_length=8192), room)
    assert spread.plan is not None and spread.verdict == "fits"
    assert [share.device.name for share in spread.plan.shares] == ["cuda:0", "cuda:1"]
    assert spread.footprint.weights == sum(share.weights for share in spread.plan.shares)
    none = Room(1 * GB, (Device("cuda:0", 1 * GB),))
    assert fitting.fit(seven, LoadOptions(device="spread"), none).verdict == "too_big"
    assert fitting.fit(seven, LoadOptions(device="spread"), Room(100 * GB)).plan is None  # nothing to spread over


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    shelf_models.put(tmp_path, "cut")
    file = tmp_path / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError) as error:
        fitting.look_now("cut", tmp_path / "cut")
    assert error.value.code == "safetensors_truncated"
