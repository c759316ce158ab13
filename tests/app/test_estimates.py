"""Badges of many models at once: there without waiting, made anew when the memory has changed, never against other
numbers than the load dialog's."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import badges, consent, estimates, fitting, machine
from app.services.discovery import Look, Offer, entry_subject
from app.services.estimates import Estimates
from app.services.fitting import Room
from app.services.library import LibraryService
from core.hardware import Memory
from core.hub import catalogue
from core.hub.needed_files import needed_files
from core.sources import Source
from core.store.records import MeasuredMemory
from tests.helpers import shelf_models
from tests.helpers.fake_hubs import offer_of, repository

pytestmark = pytest.mark.loops("asyncio")


def with_memory(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(machine, "_read", lambda: machine.Reading(None, Memory(free + 1_000_000_000, 1_000_000_000)))


async def test_every_model_of_the_catalogue_has_its_badges(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 24_000_000_000)
    found = Estimates()
    assert found.of(offer_of("Qwen3-8B")) == {}
    assert await found.refresh()
    for entry in catalogue.entries():
        offer = offer_of(entry.name)
        if entry.config is None:
            assert found.of(offer) == {}
        else:
            subject = entry_subject(entry)
            assert subject is not None and found.of(offer) == badges.badges(subject, found.free)
    assert {"bfloat16", "int8", "int4", "lora", "qlora"} == set(found.of(offer_of("Qwen3-8B")))


async def test_a_little_more_memory_changes_nothing_much_less_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 24_000_000_000)
    found = Estimates()
    await found.refresh()
    before = estimates.best(found.of(offer_of("Qwen3-8B")))
    with_memory(monkeypatch, 24_100_000_000)
    assert not await found.refresh()
    with_memory(monkeypatch, 9_500_000_000)
    assert await found.refresh()
    after = estimates.best(found.of(offer_of("Qwen3-8B")))
    assert before is not None and after is not None
    assert (before.form, before.verdict, after.form) == ("bfloat16", "fits", "int4")


async def test_what_a_hub_told_is_kept_when_the_memory_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 24_000_000_000)
    found = Estimates()
    await found.refresh()
    known = entry_subject(catalogue.find("Qwen3-4B"))
    offer = Offer("other", (Source("huggingface", "someone/Other"),))
    repo = repository("someone/Other", 8_000_000_000)
    found.learn(Look(offer, repo, needed_files(repo), known))
    with_memory(monkeypatch, 3_000_000_000)
    await found.refresh()
    assert [badge.free for badge in found.of(offer).values()] == [3_000_000_000] * 5


async def test_models_that_are_here_are_read_once_and_broken_ones_left_out(tmp_path: Path) -> None:
    shelf_models.put(tmp_path, "good")
    shelf_models.put(tmp_path, "broken")
    (tmp_path / "broken" / "config.json").write_text("{", "utf-8")
    models = await LibraryService(tmp_path).installed()
    found = Estimates()
    assert set(await found.of_installed(models)) == {"good"}
    (tmp_path / "good" / "config.json").unlink()
    assert set(await found.of_installed(models)) == {"good"}


def test_what_was_measured_is_held_against_what_is_free() -> None:
    took = MeasuredMemory(9_500_000_000, 800, "bfloat16", "plain", "cpu")
    assert estimates.measured(took, Room(20_000_000_000)).verdict == "fits"
    assert estimates.measured(took, Room(10_000_000_000)).verdict == "tight"
    assert estimates.measured(took, Room(9_000_000_000)).verdict == "too_big"


def test_the_same_reading_as_the_load_dialogs() -> None:
    subject = entry_subject(catalogue.find("Qwen3-8B"))
    assert subject is not None
    free = Room(20_000_000_000)
    found = badges.badges(subject, free)["int4"]
    options = fitting.LoadOptions(weights="int4", context_length=8192)
    assert found.needed == fitting.fit(subject, options, free).footprint.total


@pytest.mark.parametrize(
    "name, licence, asked",
    [
        ("Qwen3-8B", "", ""),
        ("Qwen-7B-Chat", "", "tongyi-qianwen"),
        ("", "mit", ""),
        ("", "", "unknown:someone/Model"),
        ("", "other", "other:someone/Model"),
        ("", "cc-by-nc-4.0", "cc-by-nc-4.0"),
    ],
)
def test_which_licences_are_asked_about(name: str, licence: str, asked: str) -> None:
    offer = offer_of(name) if name else Offer("Model", (Source("huggingface", "someone/Model"),), licence=licence)
    assert consent.to_accept(offer, None) == asked
