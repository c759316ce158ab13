"""The data of a fine-tune: its faults mended in a copy, columns named, chats taken, a row as the model sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt

from app.ui.finetune.chats import ChatsDialog
from app.ui.finetune.mending import MendDialog
from core import paths, store
from core.translation import say
from tests.helpers import training_data
from tests.helpers.audit import faults
from tests.helpers.finetune_page import data_file, dropped, finetune, put_model
from tests.helpers.live_window import settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")
FAULTY = (
    training_data.chat(("user", "Who?"), ("bot", "Me.")),
    training_data.chat(("user", "Blank?"), ("assistant", "  yes ")),
    training_data.chat(("user", "Nothing?"), ("assistant", "")),
    training_data.chat(("user", "What is 1?"), ("assistant", "It is 1.")),
)


async def test_planted_faults_are_told_and_mended_in_a_copy(tmp_path: Path) -> None:
    file = data_file(tmp_path, more=FAULTY)
    before = file.read_bytes()
    async with finetune() as (window, page, context):
        step = await dropped(page, context, file)
        draft = context.finetune_draft
        assert draft.report is not None and draft.report.rows == 44 and draft.report.usable_rows == 43
        assert set(step.problems.buttons) == {"odd_role", "blank_around_answer", "empty_answer", "duplicate"}
        step.problems.table.clicked.emit(step.problems.table.model().index(0, 0))
        assert draft.row == 41
        await until(lambda: step.xray.found is not None and step.xray.found.row == 41, 10)
        await settle(5)
        assert faults(window) == []
        step.problems.mend_all.click()
        await until(lambda: bool(window.findChildren(MendDialog)))
        dialog = window.findChildren(MendDialog)[-1]
        await settle(3)
        assert dialog.name.text() == "examples-mended.jsonl" and faults(dialog) == []
        dialog.name.setText("examples.jsonl")
        assert not dialog.write.isEnabled()  # nothing is overwritten
        dialog.name.setText("clean.jsonl")
        dialog.write.click()
        await until(lambda: draft.recipe.data.endswith("clean.jsonl"), 20)
        await until(lambda: not draft.is_checking and draft.report is not None, 20)
        assert draft.report is not None and draft.report.counts == () and draft.report.rows == 42
        await until(step.problems.isHidden)
        assert file.read_bytes() == before


async def test_one_kind_alone_can_be_mended(tmp_path: Path) -> None:
    async with finetune() as (window, page, context):
        step = await dropped(page, context, data_file(tmp_path, more=FAULTY))
        step.problems.buttons["odd_role"].click()
        await until(lambda: bool(window.findChildren(MendDialog)))
        window.findChildren(MendDialog)[-1].write.click()
        draft = context.finetune_draft
        await until(lambda: draft.recipe.data.endswith("-mended.jsonl") and not draft.is_checking, 20)
        assert draft.report is not None and {code for code, _ in draft.report.counts} == {
            "blank_around_answer", "empty_answer", "duplicate"
        }  # fmt: skip


async def test_unsure_columns_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("left,right\n" + "".join(f"ask {n},say {n}\n" for n in range(30)), "utf-8")
    async with finetune() as (window, page, context):
        step = await dropped(page, context, file)
        draft = context.finetune_draft
        assert draft.hindrance("data") == "needs_columns" and step.columns.isVisible()
        assert not step.columns.use.isEnabled() and step.problems.isHidden()
        step.columns.selects["question"]._choose("left")
        step.columns.selects["answer"]._choose("right")
        await settle(5)
        assert faults(window) == []
        step.columns.use.click()
        await until(lambda: not draft.is_checking and draft.report is not None, 20)
        await until(lambda: draft.report is not None and draft.report.usable_rows == 30)
        assert draft.recipe.columns == {"question": "left", "answer": "right"} and not draft.hindrance("data")


async def test_what_cannot_be_read_says_so_and_another_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("")
    async with finetune() as (window, page, context):
        step = await dropped(page, context, tmp_path / "empty.json")
        assert step.failed() == say("error.data_empty", file=str(tmp_path / "empty.json"))
        assert not page.wizard.next.isEnabled() and faults(window) == []
        await dropped(page, context, data_file(tmp_path))
        assert step.failed() == "" and step.findings.isVisible()


async def test_chats_become_training_data(tmp_path: Path) -> None:
    async with finetune() as (window, page, context):

        def talk(s: Any) -> int:
            made = store.conversations.create(s, "About pears").id
            asked = store.messages.append(s, made, "user", "What is a pear?", parent_id=None)
            store.messages.append(s, made, "assistant", "A fruit.", parent_id=asked.id)
            return made

        await context.store.call(talk)
        step = await dropped(page, context, data_file(tmp_path))
        step.ask_chats()
        await until(lambda: any(one.list.count() for one in window.findChildren(ChatsDialog)), 10)
        dialog = window.findChildren(ChatsDialog)[-1]
        await settle(3)
        assert not dialog.use.isEnabled() and faults(dialog) == []
        dialog.list.item(0).setCheckState(Qt.CheckState.Checked)
        dialog.use.click()
        draft = context.finetune_draft
        await until(lambda: "chats-" in draft.recipe.data and not draft.is_checking, 20)
        assert draft.report is not None and draft.report.usable_rows == 1
        assert Path(draft.recipe.data).parent == paths.home() / "datasets"


async def test_a_row_is_seen_as_the_model_sees_it(tmp_path: Path) -> None:
    put_model("little")
    async with finetune() as (_, page, context):
        step = await dropped(page, context, data_file(tmp_path))
        draft = context.finetune_draft
        await until(lambda: draft.recipe.model == "little" and not draft.is_checking, 20)
        await until(lambda: draft.report is not None and draft.report.lengths is not None, 20)
        await until(lambda: step.xray.found is not None and bool(step.xray.found.tokens), 20)
        found = step.xray.found
        said = "".join(token.text for token, learned in zip(found.tokens, found.learned, strict=True) if learned)
        assert said.startswith("It is 0.") and "What" not in said
        assert say("finetune_ui.token_learned") in step.xray.view.words_of(found.learned.index(True))
        step.xray.masks.choose(1)
        await until(lambda: not draft.is_checking and step.xray.found.count_learned > found.count_learned, 20)
        draft.change(length=16)
        await until(lambda: not draft.is_checking and step.xray.found.cut > 0, 20)
        assert draft.report.lengths.cut_rows == 40 and step.facts.cut.text()
        step.xray.after.click()
        await until(lambda: step.xray.found.row == 2, 10)


async def test_a_check_can_be_stopped_and_begun_again(tmp_path: Path) -> None:
    put_model("little")
    file = data_file(tmp_path, rows=60_000)
    async with finetune() as (_, page, context):
        draft = context.finetune_draft
        page.take_file(file)
        await until(lambda: "data" in page.wizard.steps and page.wizard.steps["data"].is_built, 10)
        step = page.wizard.steps["data"]
        await until(lambda: draft.is_checking and step.progress.isVisible(), 10)
        await until(lambda: draft.recipe.model == "little", 10)
        step.progress.cancelled.emit()
        assert not draft.is_checking and step.failed() == say("error.data_check_stopped")
        assert page.wizard.hint.text() == say("finetune_ui.needs_readable")
