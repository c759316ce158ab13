"""Discover in the real window: found at once, honest about what does not answer, fetched with consent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QDesktopServices
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog, QLabel

from app.context import AppContext
from app.services import machine
from app.services.discovery import Listing, Offer
from app.services.installed import Wanted
from app.ui.models.consent import Question
from app.ui.models.reading import ReadingDialog, readable
from app.ui.settings.token_dialog import TokenDialog
from app.ui.widgets.button import Button
from app.ui.window import Window
from core import figures, paths
from core.hardware import Memory
from core.hub.repository import RepoFile, Repository
from core.models import space
from core.sources import Source
from core.translation import say
from tests.helpers import shelf_models
from tests.helpers.fake_downloads import ARGV
from tests.helpers.fake_hubs import COMMIT, FakeDiscovery, gguf, repository
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")

FOUND = (
    Offer("Qwen3-8B-GGUF", (Source("huggingface", "unsloth/Qwen3-8B-GGUF"),), None, 231_000, 0, "apache-2.0"),
    Offer("Qwen3-tuned", (Source("huggingface", "someone/Qwen3-tuned"),), None, 45, 0, "other", gated=True),
)


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """22 GB are free, whatever runs beside the test."""
    monkeypatch.setattr(machine, "_read", lambda: machine.Reading(None, Memory(34_000_000_000, 12_000_000_000)))


@asynccontextmanager
async def discover(
    width: int = 1440, height: int = 900
) -> AsyncIterator[tuple[Window, Any, FakeDiscovery, AppContext]]:
    """The window on Discover, with hubs that can be told what to do."""
    async with live(width, height, library=ARGV) as (window, context):
        hubs = context.discovery = FakeDiscovery(context.discovery)
        hubs.answers.found = FOUND
        page: Any = window.go("models")
        await until(lambda: page.is_ready)
        page.show_view("discover")
        await until(lambda: page.discover.is_ready and context.estimates.free.memory > 0)
        await until(lambda: page.discover.table.offers[1].name != "" and page.offer.offer is not None)
        yield window, page, hubs, context


def names(page: Any) -> list[str]:
    return [offer.name for offer in page.discover.table.offers]


async def look_at(page: Any, offer_id: str) -> None:
    page.discover.table.choose(offer_id)
    await until(lambda: page.offer.look is not None and page.offer.look.offer.id == offer_id)


def dialog(window: Window, kind: type[QDialog]) -> Any:
    shown = [one for one in window.findChildren(kind) if one.isVisible()]
    return shown[-1] if shown else None


def button(widget: Any, words: str) -> Button:
    return next(one for one in widget.findChildren(Button) if one.text() == words)


async def test_the_catalogue_is_there_at_once_and_only_what_fits() -> None:
    async with discover() as (_, page, hubs, _context):
        assert names(page)[0] == "starter"  # it runs everywhere
        assert "Qwen3-8B" in names(page) and "Qwen-72B-Chat" not in names(page)
        assert "Qwen3-32B" in names(page)  # as Int4 it has room
        row = names(page).index("Qwen3-14B")
        cell = page.discover.table._cells[row][3]
        assert cell.badge == say("load.fits") and "Int8" in cell.words and "22.0 GB" in cell.hint
        page.discover.fits.setChecked(False)
        assert "Qwen-72B-Chat" in names(page)
        page.discover.kinds["code"].setChecked(True)
        assert names(page) and all("Coder" in name for name in names(page))
        assert not [asked for asked in hubs.answers.asked if asked.startswith("search")]


async def test_each_key_is_answered_at_once_and_the_hubs_are_asked_when_typing_has_ended() -> None:
    async with discover() as (_, page, hubs, _context):
        page.discover.field.setFocus()
        for key in "qwen3":
            QTest.keyClicks(page.discover.field, key)
            assert all(key in offer.entry.words for offer in page.discover.table.offers)
        assert "Qwen3-8B-GGUF" not in names(page)
        await until(lambda: "Qwen3-8B-GGUF" in names(page))
        assert [asked for asked in hubs.answers.asked if asked.startswith("search")] == ["search qwen3"]
        QTest.keyClicks(page.discover.field, "-8b")
        assert "Qwen3-8B-GGUF" in names(page) and "Qwen3-tuned" not in names(page)  # nothing flickers away


async def test_the_chosen_row_stays_when_a_hub_adds_others() -> None:
    async with discover() as (_, page, hubs, _context):
        hubs.answers.delay_s = 0.3
        page.discover.field.setText("qwen3")
        page.discover.table.choose("Qwen/Qwen3-4B")
        await until(lambda: "Qwen3-8B-GGUF" in names(page))
        assert page.discover.table.offer().name == "Qwen3-4B" and page.offer.offer.name == "Qwen3-4B"


async def test_a_hub_that_answers_while_another_is_asked_stays_a_source() -> None:
    async with discover() as (_, page, hubs, _context):
        hubs.answers.delay_s = 0.2
        page.discover.field.setText("qwen3-8b-gguf")
        await until(lambda: page.offer.offer is not None and page.offer.offer.id == FOUND[0].id)
        await until(lambda: f"look {FOUND[0].id}" in hubs.answers.asked)
        assert page.offer.look is None
        both = replace(FOUND[0], sources=(*FOUND[0].sources, Source("modelscope", "unsloth/Qwen3-8B-GGUF")))
        page.discover.search._tell(Listing((both,)))
        await until(lambda: page.offer.look is not None)
        assert [row.source.place for row in page.offer.source.rows] == ["huggingface", "modelscope"]


async def test_a_silent_hub_is_named_and_the_other_one_shown() -> None:
    async with discover() as (_, page, hubs, _context):
        hubs.answers.silent = {"modelscope"}
        page.discover.field.setText("qwen3")
        await until(lambda: "Qwen3-8B-GGUF" in names(page))
        assert "ModelScope" in page.discover.said() and "Hugging Face" not in page.discover.said()
        hubs.answers.silent, hubs.answers.refuse = set(), {"modelscope"}
        page.discover.field.setText("qwen3-8b")
        await until(lambda: "modelscope.cn" in page.discover.said())
        assert "Qwen3-8B-GGUF" in names(page) and "proxy" in page.discover._said.hint


async def test_without_a_network_the_catalogue_works_and_a_download_can_be_queued() -> None:
    async with discover() as (_, page, hubs, context):
        hubs.answers.refuse = {"huggingface", "modelscope"}
        page.discover.field.setText("qwen3-8b")
        await until(lambda: "huggingface.co" in page.discover.said())
        page.discover.table.choose("Qwen/Qwen3-8B")
        await until(lambda: page.offer.is_unreachable)
        assert page.offer.memory.rows and page.offer.go.isEnabled()
        assert page.offer._below.text() == say("discover.will_wait")
        page.offer.go.click()
        await until(lambda: context.downloads.find("Qwen3-8B") is not None)


async def test_all_uses_are_shown_and_the_chosen_weights_are_kept_for_loading() -> None:
    async with discover() as (_, page, _hubs, context):
        await look_at(page, "Qwen/Qwen3-8B")
        memory = page.offer.memory
        assert [line.text() for line in memory.rows.values()] == [
            say("discover.use_chat", form=form) for form in ("BF16", "Int8", "Int4")
        ] + [say("discover.use_train", form=form) for form in ("LoRA", "Q-LoRA")]
        assert all("GB" in line.accessibleName() for line in memory.rows.values())
        before = memory.bar.needed
        memory.weights.setFocus()
        QTest.keyClick(memory.weights, Qt.Key.Key_Right)
        QTest.keyClick(memory.weights, Qt.Key.Key_Right)
        assert memory.form == "int4" and memory.bar.needed < before / 2 and memory.rows["int4"].isChecked()
        QTest.mouseClick(memory.rows["lora"], Qt.MouseButton.LeftButton)
        assert memory.form == "int4" and memory.bar.needed > before  # training is looked at, the weights stay chosen
        page.offer.go.click()
        await until(lambda: context.downloads.find("Qwen3-8B") is not None)
        assert context.preferences.load_options("Qwen3-8B").weights == "int4"


async def test_what_qwen_measured_stands_where_it_did() -> None:
    async with discover() as (_, page, _hubs, _context):
        page.discover.table.choose("Qwen/Qwen-7B-Chat-Int4")
        assert "13.6 GB" in page.offer.memory._measured.text() and "34" in page.offer.memory._measured.text()
        page.discover.table.choose("Qwen/Qwen3-8B")
        assert page.offer.memory._measured.isHidden()


async def test_a_licence_is_asked_about_once() -> None:
    async with discover() as (window, page, _hubs, context):
        await look_at(page, "Qwen/Qwen-7B-Chat-Int4")
        page.offer.go.click()
        await until(lambda: dialog(window, ReadingDialog))
        await settle(3)
        asked = dialog(window, ReadingDialog)
        assert "You may use it." in asked._sheet.body.toPlainText()
        asked.reject()
        await until(lambda: not window.findChildren(ReadingDialog))
        assert context.downloads.items == []
        page.offer.go.click()
        await until(lambda: dialog(window, ReadingDialog))
        button(dialog(window, ReadingDialog), say("discover.licence_accept")).click()
        await until(lambda: context.downloads.find("Qwen-7B-Chat-Int4") is not None)
        assert context.preferences.settings.accepted_licences == ("tongyi-qianwen",)
        await look_at(page, "Qwen/Qwen-7B-Chat-Int8")
        page.offer.go.click()
        await until(lambda: context.downloads.find("Qwen-7B-Chat-Int8") is not None)


async def test_terms_of_the_hub_are_explained_and_a_token_opens_the_way() -> None:
    async with discover() as (window, page, hubs, context):
        hubs.answers.repositories["someone/qwen3-tuned"] = repository(
            "someone/Qwen3-tuned", 4_000_000_000, licence="mit", gated=True
        )
        page.discover.field.setText("tuned")
        await until(lambda: "Qwen3-tuned" in names(page))
        await look_at(page, "someone/Qwen3-tuned")
        page.offer.go.click()
        await until(lambda: dialog(window, Question))
        asked = dialog(window, Question)
        assert not asked.go.isEnabled()
        button(asked, say("discover.enter_token")).click()
        await until(lambda: dialog(window, TokenDialog))
        typed = dialog(window, TokenDialog)
        typed._take("secret")
        await until(lambda: asked.go.isEnabled())
        asked.go.click()
        await until(lambda: context.downloads.find("Qwen3-tuned") is not None)


async def test_pickles_are_converted_only_after_a_yes() -> None:
    async with discover() as (window, page, hubs, context):
        files = (
            RepoFile("config.json", 900),
            RepoFile("tokenizer.json", 900),
            RepoFile("pytorch_model.bin", 3_000_000_000),
        )
        old = Repository(Source("huggingface", "someone/Qwen3-tuned"), COMMIT, files, licence="mit")
        hubs.answers.repositories["someone/qwen3-tuned"] = old
        page.discover.field.setText("tuned")
        await until(lambda: "Qwen3-tuned" in names(page))
        await look_at(page, "someone/Qwen3-tuned")
        assert page.offer.go.text() == say("discover.download_convert_size", size="3.0 GB")
        page.offer.go.click()
        await until(lambda: dialog(window, Question))
        dialog(window, Question).reject()
        await until(lambda: not window.findChildren(Question))
        assert context.downloads.items == []
        page.offer.go.click()
        await until(lambda: dialog(window, Question))
        dialog(window, Question).go.click()
        await until(lambda: context.downloads.find("Qwen3-tuned") is not None)
        assert context.downloads.items[0].record.convert_pickle


async def test_one_of_several_gguf_files_is_chosen() -> None:
    async with discover() as (_, page, hubs, context):
        hubs.answers.repositories["unsloth/qwen3-8b-gguf"] = gguf(
            "unsloth/Qwen3-8B-GGUF", "Qwen3-8B-Q2_K.gguf", "Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q8_0.gguf"
        )
        page.discover.field.setText("gguf")
        await until(lambda: "Qwen3-8B-GGUF" in names(page))
        await look_at(page, "unsloth/Qwen3-8B-GGUF")
        select = page.offer.files.select
        assert select.text().startswith("Q4_K_M") and page.offer.go.text() == say(
            "discover.download_size", size="2.0 GB"
        )
        select._choose(next(word for word in select._values if word.startswith("Q8_0")))
        await until(lambda: page.offer.go.text() == say("discover.download_size", size="3.0 GB"))
        page.offer.go.click()
        await until(lambda: context.downloads.items)
        record = context.downloads.items[0].record
        assert (record.name, record.file) == ("Qwen3-8B-Q8_0", "Qwen3-8B-Q8_0.gguf")


async def test_of_several_gguf_files_only_the_one_that_is_here_is_installed() -> None:
    source = "Hugging Face unsloth/Qwen3-8B-GGUF @ 0123456789ab"
    shelf_models.put(paths.models(), "Qwen3-8B-Q4_K_M-unsloth", source=source)
    shelf_models.put(paths.models(), "Qwen3-8B-Q4_K_M", source="Hugging Face bartowski/Qwen3-8B-GGUF @ 0123456789ab")
    async with discover() as (_, page, hubs, _context):
        hubs.answers.repositories["unsloth/qwen3-8b-gguf"] = gguf(
            "unsloth/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q8_0.gguf"
        )
        page.discover.field.setText("gguf")
        await until(lambda: "Qwen3-8B-GGUF" in names(page))
        await look_at(page, "unsloth/Qwen3-8B-GGUF")
        await until(lambda: page.offer.go.text() == say("discover.open_chat"))
        assert page.offer._below.text() == say("discover.is_here", name="Qwen3-8B-Q4_K_M-unsloth")
        select = page.offer.files.select
        select._choose(next(word for word in select._values if word.startswith("Q8_0")))
        await until(lambda: page.offer.go.text() == say("discover.download_size", size="2.0 GB"))
        assert page.offer.choice().name == "Qwen3-8B-Q8_0"


async def test_the_faster_hub_is_asked_first_until_the_user_says_otherwise() -> None:
    async with discover() as (_, page, _hubs, context):
        await look_at(page, "Qwen/Qwen3-4B")
        assert [source.place for source in page.offer.source.ordered()] == ["huggingface", "modelscope"]
        page.offer.source.measure.click()
        await until(lambda: any(line.is_faster for line in page.offer.source.rows))
        first, second = page.offer.source.rows
        assert second.is_faster and second.isChecked() and second.fact == figures.speed(47.8e6)
        page.offer.go.click()
        await until(lambda: context.downloads.items)
        assert [source.place for source in context.downloads.items[0].record.sources] == ["modelscope", "huggingface"]
        first.click()
        assert page.offer.source.ordered()[0].place == "huggingface"


async def test_who_measures_nothing_gets_the_faster_hub_all_the_same() -> None:
    async with discover() as (_, page, hubs, context):
        await look_at(page, "Qwen/Qwen3-4B")
        page.offer.go.click()
        await until(lambda: context.downloads.items)
        assert [source.place for source in context.downloads.items[0].record.sources] == ["modelscope", "huggingface"]
        await look_at(page, "Qwen/Qwen3-8B")
        page.offer.source.rows[0].click()  # the user's own choice is not measured away
        asked = len(hubs.answers.asked)
        page.offer.go.click()
        await until(lambda: len(context.downloads.items) == 2)
        assert context.downloads.items[1].record.sources[0].place == "huggingface"
        assert not [one for one in hubs.answers.asked[asked:] if one.startswith("speeds")]


async def test_python_files_are_named_and_what_is_left_out_has_a_reason() -> None:
    async with discover() as (_, page, hubs, _context):
        extra = (("modeling_qwen.py", 4000), ("assets/picture.png", 90), ("pytorch_model.bin", 16_000_000_000))
        hubs.answers.repositories["qwen/qwen3-4b"] = repository(
            "Qwen/Qwen3-4B", 4_000_000_000, 4_000_000_000, extra=extra
        )
        await look_at(page, "Qwen/Qwen3-4B")
        await settle(3)
        shown = "\n".join(one.text() for one in page.offer.files.findChildren(type(page.offer._facts)))
        assert "modeling_qwen.py" in shown and say("models.code_files") in shown
        assert say("hubs.left_out_other_form") in shown and "8.0 GB" in shown


async def test_one_file_that_is_left_out_is_counted_as_one() -> None:
    async with discover() as (_, page, hubs, _context):
        hubs.answers.repositories["qwen/qwen3-4b"] = repository("Qwen/Qwen3-4B", 10**9, extra=(("picture.png", 90),))
        look = await hubs.look(page.discover.table.offers[names(page).index("Qwen3-4B")])
        count = len(look.needed.left_out)
        few = replace(look, needed=replace(look.needed, left_out=look.needed.left_out[:1]))
        page.offer.files.show_look(few, "")
        assert count and say("discover.left_out_one") in [one.text() for one in page.offer.files.findChildren(QLabel)]


async def test_a_licence_without_a_text_leads_to_the_page_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    async with discover() as (window, page, hubs, _context):
        hubs.answers.licence = ""
        await look_at(page, "Qwen/Qwen-7B-Chat-Int4")
        page.offer.go.click()
        await until(lambda: dialog(window, ReadingDialog))
        asked = dialog(window, ReadingDialog)
        await until(lambda: say("discover.open_page") in [one.text() for one in asked.findChildren(Button)])
        button(asked, say("discover.open_page")).click()
        assert opened == ["https://example.org/Qwen/Qwen-7B-Chat-Int4"]
        asked.reject()
        await until(lambda: not window.findChildren(ReadingDialog))


async def test_in_a_small_window_keys_lead_from_the_search_to_the_details() -> None:
    async with discover(1000, 640) as (_, page, _hubs, _context):
        assert not page.offer.isVisible()
        page.discover.field.setFocus()
        page.discover.field.setText("qwen3")
        page.discover.table.choose("Qwen/Qwen3-4B")
        QTest.keyClick(page.discover.field, Qt.Key.Key_Down)
        table = page.discover.table
        assert table.hasFocus() and table.currentIndex().row() == 0
        QTest.keyClick(table, Qt.Key.Key_Return)
        await until(lambda: page.offer.isVisible())
        assert page.offer.offer == table.offers[0]


async def test_a_model_that_is_here_is_marked_and_opens_in_chat() -> None:
    shelf_models.put(paths.models(), "Qwen3-0.6B", source="Hugging Face Qwen/Qwen3-0.6B @ 0123456789ab")
    async with discover() as (window, page, _hubs, context):
        row = names(page).index("Qwen3-0.6B")
        assert page.discover.table._cells[row][0].note == say("discover.installed")
        page.discover.table.choose("Qwen/Qwen3-0.6B")
        await until(lambda: page.offer.go.text() == say("discover.open_chat"))
        page.offer.go.click()
        await until(lambda: window._place == "chat")
        assert context.preferences.settings.last_model == "Qwen3-0.6B"


async def test_a_name_that_is_taken_is_no_model_that_is_here() -> None:
    shelf_models.put(paths.models(), "Qwen3-0.6B", source="/home/someone/Qwen3-0.6B")
    shelf_models.put(paths.models(), "Qwen3-4B-Qwen", source="Hugging Face someone/Qwen3-4B @ 0123456789ab")
    shelf_models.put(paths.models(), "Qwen3-4B", source="Hugging Face Qwen/Qwen3-4B-Base @ 0123456789ab")
    async with discover() as (_, page, _hubs, context):
        for name, free in (("Qwen3-0.6B", "Qwen3-0.6B-Qwen"), ("Qwen3-4B", "Qwen3-4B-Qwen-2")):
            assert not page.discover.table._cells[names(page).index(name)][0].note
            await look_at(page, f"Qwen/{name}")
            assert page.offer.go.text().startswith(say("discover.download")) and page.offer.go.isEnabled()
            assert say("discover.called", name=free) in page.offer._below.text()
            page.offer.go.click()
            await until(lambda free=free: context.downloads.find(free) is not None)  # type: ignore[misc]
            await until(lambda: page.offer.go.text() == say("discover.see_download"))


async def test_a_name_in_the_queue_is_taken_too() -> None:
    async with discover() as (_, page, _hubs, context):
        await context.downloads.add(Wanted("Qwen3-4B", (Source("huggingface", "someone/Qwen3-4B"),)))
        await look_at(page, "Qwen/Qwen3-4B")
        assert page.offer.choice().name == "Qwen3-4B-Qwen"
        assert page.offer.go.text().startswith(say("discover.download"))


async def test_another_name_hides_no_model_that_is_here() -> None:
    source = "ModelScope qwen/qwen3-0.6b @ 0123456789ab"
    shelf_models.put(paths.models(), "mine", source=source)
    async with discover() as (_, page, _hubs, _context):
        page.discover.table.choose("Qwen/Qwen3-0.6B")
        await until(lambda: page.offer.go.text() == say("discover.open_chat"))
        assert page.offer._below.text() == say("discover.is_here", name="mine")


async def test_a_full_disk_is_said_before_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda folder: 2_000_000_000)
    async with discover() as (_, page, _hubs, _context):
        await look_at(page, "Qwen/Qwen3-8B")
        await until(lambda: not page.offer.go.isEnabled())
        assert "2.0 GB" in page.offer._below.text()


async def test_the_card_is_read_without_pictures_and_tags() -> None:
    async with discover() as (window, page, hubs, _context):
        hubs.answers.card = "# Title\n\n![logo](http://x/y.png)\n\nSome **words**.\n"
        await look_at(page, "Qwen/Qwen3-8B")
        page.offer.card.click()
        await until(lambda: dialog(window, ReadingDialog) and dialog(window, ReadingDialog)._sheet.body is not None)
        await settle(3)
        body = dialog(window, ReadingDialog)._sheet.body
        words = "\n".join(part.toPlainText() for part in body.parts())
        assert "Title" in words and "Some words." in words and "logo" not in words
        dialog(window, ReadingDialog).reject()
        await until(lambda: not window.findChildren(ReadingDialog))


async def test_an_old_answer_does_not_reach_another_model() -> None:
    async with discover() as (_, page, hubs, _context):
        hubs.answers.delay_s = 0.4
        page.discover.table.choose("Qwen/Qwen3-8B")
        await until(lambda: "look Qwen/Qwen3-8B" in hubs.answers.asked)
        page.discover.table.choose("Qwen/Qwen3-4B")
        await until(lambda: page.offer.look is not None)
        assert page.offer.look.offer.name == "Qwen3-4B"
        await settle(40)
        assert page.offer.look.offer.name == "Qwen3-4B"


def test_a_card_becomes_markdown_alone() -> None:
    card = (
        '<p align="center"><img src="x.png"></p>\n\n<h2>Use</h2>\n<a href="https://a.example">here</a> <b>now</b><br>\n'
        "<!-- hidden -->\n[![badge](b.svg)](https://c.example)\n```html\n<b>kept</b>\n```\n<script>alert(1)</script>\n"
    )
    text = readable(card)
    assert "## Use" in text and "[here](https://a.example)" in text and "**now**" in text
    assert "<b>kept</b>" in text and "img" not in text and "hidden" not in text and "badge" not in text
    assert "<script>" not in text


async def test_another_language_leaves_the_view_as_it_was() -> None:
    async with discover() as (window, _page, _hubs, _context):
        window.preferences.change(language="zh")
        again: Any = window.go("models")
        await until(lambda: again.discover is not None and again.discover.is_ready)
        assert again.view == "discover" and again.choice.current == 1
