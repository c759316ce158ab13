"""The page of a fine-tune in the real window: every state and its buttons, live steps, long histories, keys of help."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from PySide6.QtCore import QTimer

from app.context import AppContext
from app.detached import RunStatus
from app.services.training import Run
from app.ui.training_run import actions
from app.ui.training_run.news import ended_words
from app.ui.training_run.page import RunPage
from app.ui.widgets.button import Button
from app.ui.widgets.toast import Toast
from app.ui.window import Window
from core import translation
from core.protocol.messages import Progress
from core.run_dir import RunDir, RunRecord
from core.training import run_files
from core.translation import say
from tests.helpers import run_pages
from tests.helpers.live_window import settle
from tests.helpers.run_pages import page_of, put, recipe
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


def shown(page: RunPage) -> list[str]:
    return [verb for verb, button in page.head.buttons.items() if button.isVisible()]


def body(page: RunPage) -> Any:
    assert page.body is not None
    return page.body


def points(page: RunPage, key: str = "loss") -> int:
    return len(body(page).charts.feed.lines[key].series)


def run_of(context: AppContext, page: RunPage) -> Run:
    return context.training.run(page.id)


def toast(window: Window) -> Any:
    found = [one for one in window.findChildren(Toast) if one.isVisible()]
    return found[-1] if found else None


STATES: list[tuple[Any, str, list[str]]] = [
    (run_pages.finished(), "state_finished", ["more"]),
    (run_pages.finished(reason="cancelled"), "state_stopped", ["resume"]),
    (run_pages.finished(reason="paused"), "state_paused", ["resume"]),
    (run_pages.DIVERGED, "state_failed", ["resume"]),
    (None, "state_new", ["resume"]),
]


async def test_each_state_has_its_word_its_sentence_and_its_buttons() -> None:
    runs = [put(recipe(state), end=end, checkpoints=(50, 100)) for end, state, _ in STATES]
    async with page_of(None) as (_, page, context):
        for run, (_, state, verbs) in zip(runs, STATES, strict=True):
            await run_pages.show(page, run.path.name)
            assert page.head.badge.accessibleName() == say(f"run_ui.{state}")
            assert shown(page) == verbs
            assert body(page).sentence.text() == str(run_of(context, page).status)
            assert "step 100 of 400" in page.head.words.text() and "1.0 of 4 times over" in page.head.words.text()
            assert body(page).trouble.isVisible() == (state == "state_failed")
            await until(lambda: body(page).result.compare.isVisible())
            assert not body(page).result.merge.isVisible()
        loading = Progress("", 1, 4, "loading_weights")
        context.training._change(page.id, progress=loading, status=RunStatus("running"))
        await until(lambda: page.head.words.text() == say("progress.loading_weights") + " 25%")
        assert page.head.badge.accessibleName() == say("run_ui.state_preparing") and shown(page) == ["pause", "stop"]
        context.training._look(runs[-1].path)
        await run_pages.show(page, runs[0].path.name)
        await check_reasons(page, context)


async def check_reasons(page: RunPage, context: AppContext) -> None:
    """What cannot be done says why."""
    found = actions.reasons(run_of(context, page))
    assert found["pause"] and found["resume"] == say("run_ui.why_finished") and not found["more"]
    page.actions_.open_menu(page, run_of(context, page), page.mapToGlobal(page.rect().center()))
    menus = page.findChildren(actions.Menu)
    entries = {entry.text(): entry.isEnabled() for menu in menus for entry in menu.actions()}
    assert entries[say("run_ui.not_now", verb=say("run_ui.verb_pause"), why=found["pause"])] is False
    assert entries[say("run_ui.verb_folder")] and entries[say("run_ui.verb_remove")]
    for menu in menus:
        menu.close()


async def test_a_run_is_started_followed_paused_gone_on_with_and_stopped() -> None:
    run = put(recipe(), steps=0, fake={"steps": 100_000, "step_s": 0.002})
    async with page_of(run) as (window, page, context):
        page.head.buttons["resume"].click()
        await until(lambda: points(page) > 30 and points(page, "eval_loss") > 0)
        await until(lambda: shown(page) == ["pause", "stop"])
        await until(lambda: page.head.badge.accessibleName() == say("run_ui.state_running"))
        await until(lambda: body(page).cards.values["loss"].text().startswith("0.0"))
        chart = body(page).charts.charts["loss"]
        await until(lambda: len(chart.lines) == 2)
        await until(lambda: window.status._job.text() == say("run_ui.status", name="identity"))
        await until(lambda: 100 in body(page).wall.rows.steps, 10)
        page.head.buttons["pause"].click()
        await until(lambda: shown(page) == ["resume"], 10)
        await until(lambda: toast(window) is not None)
        paused_at = run_of(context, page).status.step
        await until(lambda: points(page) == paused_at)
        page.head.buttons["resume"].click()
        await until(lambda: points(page) > paused_at + 20, 10)
        await until(lambda: shown(page) == ["pause", "stop"])
        page.head.buttons["stop"].click()
        await until(lambda: page.head.badge.accessibleName() == say("run_ui.state_stopped"), 10)
        await until(lambda: points(page) == run_of(context, page).status.step)
        await until(lambda: not window.status._job_part.isVisible())


async def test_a_long_history_comes_in_pieces_and_holds_no_frame() -> None:
    short, run = (put(recipe(), steps=1, end=run_pages.finished()) for _ in range(2))
    line = json.dumps(run_pages.values(20))[1:]
    with (run.path / run_files.METRICS).open("w") as out:
        out.writelines(f'{{"step": {step}, {line}\n' for step in range(1, 200_001))
    async with page_of(None) as (_, page, context):
        await run_pages.show(page, short.path.name)  # what is imported for the first page
        held, last = [], time.perf_counter()

        def beat() -> None:
            nonlocal last
            held.append(time.perf_counter() - last)
            last = time.perf_counter()

        timer = QTimer(page, interval=2)
        timer.timeout.connect(beat)
        timer.start()
        await run_pages.show(page, run.path.name)
        timer.stop()
        assert points(page) == points(page, "memory") == 200_000
        assert body(page).charts.feed.lines["loss"].series.steps[-1] == 200_000
        assert sorted(held)[int(0.95 * len(held))] < 0.1  # figures are the benchmark's; here only that it is in pieces
        pieces = [len(piece) async for piece in context.training.pieces(run.path.name, most=60_000)]
        assert sum(pieces) == 200_000 and len(pieces) >= 3


def loss(page: Any, step: int) -> float:
    return float(body(page).charts.feed.lines["loss"].series.values[step - 1])


async def test_steps_made_anew_after_an_earlier_checkpoint_take_the_place_of_the_old() -> None:
    run = put(recipe(), steps=150, checkpoints=(100,), fake={"steps": 190, "step_s": 0.002})
    (run.path / "checkpoint").write_text("100")
    RunDir(run.path).write_record(RunRecord("running", 1))
    async with page_of(run) as (_, page, context):
        assert page.head.badge.accessibleName() == say("run_ui.state_interrupted")
        page.head.buttons["resume"].click()
        await until(lambda: run_of(context, page).status.state == "finished", 10)
        await until(lambda: points(page) == 190 and loss(page, 120) == pytest.approx(1 / 120), 20)
        assert loss(page, 100) > 1


async def test_a_silent_run_can_be_ended_by_force() -> None:
    run = put(recipe(), steps=0, fake={"steps": 100_000, "mood": "freezes"})
    async with page_of(run) as (_, page, context):
        page.head.buttons["resume"].click()
        await until(lambda: run_of(context, page).status.step == 49, 10)
        past = time.time() - 60
        for _ in range(30):  # the door beats from a thread; a frozen one does not
            os.utime(RunDir(run.path).heartbeat, (past, past))
            await context.training.check(page.id)
            if not run_of(context, page).status.is_responsive:
                break
        await until(lambda: shown(page) == ["kill", "pause", "stop"])
        assert page.head.badge.accessibleName() == say("run_ui.state_silent")
        page.head.buttons["kill"].click()
        await until(lambda: page.head.badge.accessibleName() == say("run_ui.state_interrupted"), 10)


async def test_a_removed_run_comes_back_by_undo() -> None:
    run = put(recipe(), end=run_pages.finished())
    async with page_of(run) as (window, page, context):
        gone: list[bool] = []
        page.closed.connect(lambda: gone.append(True))
        page.actions_.act("remove", run_of(context, page))
        await until(lambda: bool(gone) and toast(window) is not None)
        assert not run.path.exists() and page.id == ""
        next(one for one in toast(window).findChildren(Button) if one.text() == say("chat.undo")).click()
        await until(lambda: bool(context.training.runs))
        await run_pages.show(page, run.path.name)
        assert points(page) == 100
        context.training._argv = lambda run_dir: ["/nowhere/at/all"]
        page.actions_.act("resume", run_of(context, page))
        await until(lambda: bool(page.failure()))  # it stands on the page


async def test_in_chinese() -> None:
    async with page_of(None) as (window, page, context):
        translation.use("zh")
        run = put(recipe(), end=run_pages.finished())
        context.training._look(run.path)
        await run_pages.show(page, run.path.name)
        assert page.head.badge.accessibleName() == "已完成" and "第 100 / 400 步" in page.head.words.text()
        window._pages["finetune"] = page
        window.rebuild()
        await settle()


async def test_the_end_of_a_run_is_told_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.ui.training_run import news

    told: list[str] = []
    monkeypatch.setattr(news.QSystemTrayIcon, "isSystemTrayAvailable", lambda: True)
    monkeypatch.setattr(news.QSystemTrayIcon, "supportsMessages", lambda: True)
    monkeypatch.setattr(news.QSystemTrayIcon, "showMessage", lambda self, title, words, kind: told.append(words))
    run = put(recipe(), steps=0, fake={"steps": 60, "mood": "diverges"})
    async with page_of(run) as (window, _, context):
        monkeypatch.setattr(window, "isActiveWindow", lambda: False)
        await context.training.resume(run.path.name)
        await until(lambda: bool(told), 10)
        assert (
            told
            == [ended_words(context.training.run(run.path.name))[0]]
            == [say("run_ui.ended_failed", name="identity")]
        )
        assert toast(window) is not None
