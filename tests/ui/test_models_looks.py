"""All views of the Models page, full, empty and in trouble, where room is least: nothing clipped, everything named."""

from __future__ import annotations

import time
from typing import Any

import pytest
from PySide6.QtWidgets import QDialog

from app.services import machine
from app.services.discovery import Offer
from app.ui import aio
from app.ui.models.consent import Question, accept_terms
from app.ui.models.reading import ReadingDialog
from core import paths
from core.hardware import Memory
from core.sources import Source
from tests.helpers import fake_hubs, shelf_models
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
LOOKS = (
    ("en", "larger", "dark", (1000, 640)),
    ("zh", "larger", "light", (1440, 900)),
    ("zh", "normal", "dark", (1000, 640)),
    ("en", "normal", "light", (1240, 800)),
)
CODE = (("modeling_qwen.py", 4000), ("configuration_qwen.py", 900), ("assets/a_picture_with_a_long_name.png", 90))


@pytest.mark.parametrize("language, text_size, theme, size", LOOKS)
async def test_nothing_is_clipped_and_everything_has_a_name(
    language: str, text_size: str, theme: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_read", lambda: machine.Reading(None, Memory(34_000_000_000, 12_000_000_000)))
    shelf_models.put(paths.models(), "Qwen3-0.6B", licence="apache-2.0")
    found: list[str] = []
    async with live(*size) as (window, context):
        hubs = context.discovery = fake_hubs.FakeDiscovery(context.discovery)
        hubs.answers.found = (
            Offer("Qwen3-8B-GGUF", (Source("huggingface", "unsloth/Qwen3-8B-GGUF"),), None, 231_000, 0, "apache-2.0"),
        )
        hubs.answers.repositories = {
            "unsloth/qwen3-8b-gguf": fake_hubs.gguf("unsloth/Qwen3-8B-GGUF", "Q3-Q2_K.gguf", "Q3-Q4_K_M.gguf"),
            "qwen/qwen3-8b": fake_hubs.repository("Qwen/Qwen3-8B", *[4_000_000_000] * 4, extra=CODE),
        }
        window.preferences.change(language=language, text_size=text_size, theme=theme)
        page: Any = window.go("models")
        await until(lambda: page.is_ready and page.installed.models)

        async def look(what: str, root: Any = None) -> None:
            await settle(8)
            found.extend(f"{what}: {fault}" for fault in faults(root or window))

        context.downloads.items = [
            fake_hubs.item(1, "Qwen2.5-Coder-32B-Instruct-with-a-long-name", done=6_100_000_000),
            fake_hubs.item(2, "Qwen3-4B", "paused", done=4_000_000_000),
            fake_hubs.item(3, "Qwen3-1.7B", "waiting"),
        ]
        context.downloads.changed.emit(None)
        for is_open in (False, True):
            page._toggle.setChecked(is_open)
            await look("installed")
        page.show_view("discover")
        await until(lambda: page.discover.is_ready and context.estimates.free.memory > 0)
        for is_open in (False, True):
            page._toggle.setChecked(is_open)
            page.discover.table.choose("Qwen/Qwen3-8B")
            await until(lambda: page.offer.look is not None)
            await look("discover")
        for fold in page.offer.files.findChildren(type(page.offer.files._lines.itemAt(1).widget())):
            fold.button.click()
        page.offer.source.measure.click()
        await look("discover, all open")
        page.discover.table.choose("Qwen/Qwen-7B-Chat-Int4")
        await look("first generation")
        hubs.answers.refuse = {"modelscope"}
        page.discover.field.setText("qwen3-8b")
        await until(lambda: any(offer.name == "Qwen3-8B-GGUF" for offer in page.discover.table.offers))
        page.discover.table.choose("unsloth/Qwen3-8B-GGUF")
        await until(lambda: page.offer.look is not None and page.offer.look.offer.name == "Qwen3-8B-GGUF")
        await look("one hub, GGUF")
        hubs.answers.refuse = {"modelscope", "huggingface"}
        page.discover.field.setText("Qwen3-4B")
        page.discover.table.choose("Qwen/Qwen3-4B")
        await until(lambda: page.offer.is_unreachable)
        await look("offline")
        page.discover.field.setText("zzz")
        await look("none")
        page.show_view("downloads")
        waiting = fake_hubs.item(6, "Qwen-7B-Chat", "waiting", code="hub_unreachable", hub="ModelScope", host="m.cn")
        waiting.again_at = time.monotonic() + 24
        context.downloads.items.append(waiting)
        context.downloads.items.append(fake_hubs.item(7, "Qwen3-0.6B", "done"))
        context.downloads.changed.emit(None)
        await look("downloads")
        context.downloads.items = []
        context.downloads.changed.emit(None)
        await look("no downloads")
        reading = ReadingDialog(window, "A title that is long enough to be cut somewhere", "https://example.org")
        asking = aio.spawn(aio.ask(reading), "card")
        reading.show_markdown("# A\n\nb **c**\n\n```python\nx = 1\n```\n")
        await look("card", reading)
        reading.reject()
        await asking
        terms = aio.spawn(accept_terms(window, context, Source("huggingface", "someone/Model")), "terms")
        await until(lambda: window.findChildren(Question))
        await look("terms", window.findChildren(Question)[-1])
        window.findChildren(Question)[-1].done(QDialog.DialogCode.Rejected)
        await terms
    assert not found, "\n".join(sorted(set(found)))
