"""Installed in the real window: memory as measured or estimated, the row's menu, cards, what other programs left."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QApplication, QLabel

from app.context import AppContext
from app.ui.models.reading import ReadingDialog
from app.ui.widgets.button import Button
from app.ui.widgets.menu import Menu
from app.ui.window import Window
from core import paths, store
from core.models.importing import import_model
from core.models.steps import result
from core.store.records import MeasuredMemory
from core.translation import say
from tests.helpers import fake_hubs, shelf_models, tiny_models
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


@asynccontextmanager
async def installed() -> AsyncIterator[tuple[Window, Any, AppContext]]:
    async with live() as (window, context):
        context.discovery = fake_hubs.FakeDiscovery(context.discovery)
        page: Any = window.go("models")
        await until(lambda: page.is_ready)
        yield window, page, context


def cell(page: Any, name: str, column: int) -> Any:
    table = page.installed.table
    place = [model.manifest.name for model in table.models].index(name)
    return table._rows._rows[place][column]


async def test_memory_is_the_measured_figure_after_a_run_and_else_an_estimate() -> None:
    shelf_models.put(paths.models(), "first", shelf_models.QWEN_7B)
    shelf_models.put(paths.models(), "second")
    shelf_models.put_adapter(paths.models(), "cooking", "second")
    async with installed() as (_, page, context):
        await until(lambda: len(page.installed.models) == 3 and cell(page, "second", 3).badge)
        assert cell(page, "first", 3).words.startswith("≈ ") and "GB" in cell(page, "first", 3).hint
        assert cell(page, "cooking", 3).words == "–"

        def remember(s: Any) -> None:
            store.models.remember(s, "second", "x")
            store.models.note_memory(s, "second", MeasuredMemory(1_830_000_000, 2412, "int8", "plain", "cpu"))

        await context.store.call(remember)
        page.installed.refresh()
        await until(lambda: cell(page, "second", 3).words == "1.8 GB")
        hint = cell(page, "second", 3).hint
        assert "2,412" in hint and "Int8" in hint and say("status.on_processor") in hint
        index = page.installed.table.model().index(1, 3)
        assert index.data(Qt.ItemDataRole.ToolTipRole) == index.data(Qt.ItemDataRole.AccessibleDescriptionRole)
        page._toggle.setChecked(True)
        page.installed.table.choose("second")
        await settle(5)
        assert hint in [one.text() for one in page.detail.findChildren(QLabel)]


async def test_the_menu_of_a_row_has_everything_the_pane_has() -> None:
    shelf_models.put(paths.models(), "first")
    async with installed() as (_, page, _context):
        await until(lambda: page.installed.model() is not None)
        table = page.installed.table
        where = table.visualRect(table.currentIndex()).center()
        reason = QContextMenuEvent.Reason.Keyboard
        QApplication.sendEvent(table.viewport(), QContextMenuEvent(reason, where, table.viewport().mapToGlobal(where)))
        await until(lambda: page.findChildren(Menu))
        menu = page.findChildren(Menu)[-1]
        words = [action.text() for action in menu.actions() if action.text()]
        for key in ("models.chat_with", "load.open", "models.card", "models.verify", "models.reveal", "models.remove"):
            assert say(key) in words
        menu.close()


async def test_its_card_and_its_licence_are_read_here() -> None:
    shelf_models.put(paths.models(), "first")
    (paths.models() / "first" / "README.md").write_text("---\nx: y\n---\n# First\n\nA [link](https://a.example).\n")
    (paths.models() / "first" / "LICENSE").write_text("Do **what** you like.")
    async with installed() as (window, page, _context):
        await until(lambda: page.installed.model() is not None)
        page._act("card")
        await until(lambda: any(one._sheet.body for one in window.findChildren(ReadingDialog)))
        await settle(3)
        shown = window.findChildren(ReadingDialog)[-1]
        words = "\n".join(part.toPlainText() for part in shown._sheet.body.parts())  # type: ignore[union-attr]
        assert "First" in words and "x: y" not in words
        shown.reject()
        await until(lambda: not window.findChildren(ReadingDialog))
        page._act("licence")
        await until(lambda: any(one._sheet.body for one in window.findChildren(ReadingDialog)))
        shown = window.findChildren(ReadingDialog)[-1]
        assert shown._sheet.body.toPlainText() == "Do **what** you like."  # type: ignore[union-attr]
        shown.reject()
        await until(lambda: not window.findChildren(ReadingDialog))


async def test_what_is_removed_comes_back() -> None:
    shelf_models.put(paths.models(), "first")
    shelf_models.put(paths.models(), "second")
    async with installed() as (window, page, _context):
        await until(lambda: len(page.installed.models) == 2)
        page._by_key("remove")
        await until(lambda: len(page.installed.models) == 1)
        undo = next(one for one in window.findChildren(Button) if one.text() == say("chat.undo"))
        undo.click()
        await until(lambda: len(page.installed.models) == 2)


def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Models that another program has fetched."""
    root = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(root))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "scope"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in names or ("Qwen3-Tiny",):
        place = root / f"models--Qwen--{name}"
        tiny_models.write_model(place / "snapshots" / commit, "qwen3")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)
        json.loads((place / "snapshots" / commit / "config.json").read_text())


def takes(page: Any) -> list[Button]:
    """The buttons of the list."""
    return list(page.installed.found._takes.values())


async def test_models_of_other_programs_are_offered_and_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path, monkeypatch)
    async with installed() as (_, page, _context):
        found = page.installed.found
        await until(lambda: found.isVisible())
        found.open_.click()
        take = next(one for one in found.findChildren(Button) if one.text() == say("models.take_over"))
        take.click()
        await until(lambda: [model.manifest.name for model in page.installed.models] == ["Qwen3-Tiny"], 30)
        await until(lambda: not found.isVisible())


async def test_one_whose_name_is_taken_gets_a_free_one_and_the_others_stay_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(tmp_path, monkeypatch, "Qwen3-Tiny", "Qwen3-Wee", "Qwen3-Zero")
    shelf_models.put(paths.models(), "Qwen3-Tiny")
    async with installed() as (_, page, _context):
        found = page.installed.found
        await until(lambda: found.isVisible() and len(page.installed.models) == 1)
        found.open_.click()
        takes(page)[0].click()
        assert not takes(page)[0].isEnabled()
        await until(lambda: len(found.models) == 2, 30)
        await until(lambda: "Qwen3-Tiny-Qwen" in [model.manifest.name for model in page.installed.models])
        assert found._list.isVisible() and found._list.height() >= found._body.sizeHint().height() > 40
        assert all(button.isVisible() and button.isEnabled() for button in takes(page))


async def test_after_an_error_a_model_can_be_taken_over_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path, monkeypatch)
    async with installed() as (_, page, _context):
        found = page.installed.found
        await until(lambda: found.isVisible())
        config = found.models[0].folder / "config.json"
        kept = config.read_text()
        config.write_text("{")
        takes(page)[0].click()
        await until(lambda: bool(page.failed()), 30)
        await until(lambda: takes(page)[0].isEnabled())
        config.write_text(kept)
        takes(page)[0].click()
        await until(lambda: [model.manifest.name for model in page.installed.models] == ["Qwen3-Tiny"], 30)


async def test_nothing_is_offered_where_nothing_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "none"))
    async with installed() as (_, page, _context):
        await until(lambda: page.installed.empty.isVisible())
        await settle(20)
        assert not page.installed.found.isVisible()


async def test_a_model_whose_folder_is_gone_says_so(tmp_path: Path) -> None:
    source = tiny_models.write_model(tmp_path / "theirs", "qwen3")
    result(import_model(source, "away", paths.models()))
    shutil.rmtree(source)
    async with installed() as (_window, page, _context):
        await until(lambda: page.installed.model() is not None)
        assert cell(page, "away", 0).second == say("models.folder_gone")
