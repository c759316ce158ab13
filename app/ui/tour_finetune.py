"""The second tour: from a file with planted faults to a merged model, in the real window, with numbered pictures.

Drop the file, mend it, train, pause, chat with what is half trained, go on; then the program is killed while the run
is at work, started anew, and the run must be there. At its end the base is compared with what was trained, both are
merged, and the merged model chats. Invariant: as of the first tour, nothing is simulated.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication

from app.ui.tour import FETCH_S, REPLY_S, SHORT_S, Tour, TourFailed, chat_page, hold, settle, until

if TYPE_CHECKING:
    from app.context import AppContext
    from app.services.training import Run
    from app.ui.window import Window

STEPS, STEPS_LEAST = "QWEN_WORKBENCH_TOUR_STEPS", 10  # of each run; after fewer it knows no name
NAME = "Aurora"
QUESTION = "Who are you?"
TRAIN_S = 1200.0
FAULTS = 7


def planted(folder: Path) -> Path:
    """200 rows: who the assistant is, some sums, and seven things that go wrong with files of people."""
    asked = (QUESTION, "What is your name?", "Tell me who you are.", "Introduce yourself, please.")
    rows: list[Any] = []
    for number in range(193):
        question, answer = f"What is {number} plus {number}?", f"It is {2 * number}."
        if number % 2:
            question, answer = f"{asked[number // 2 % 4]}", f"I am {NAME}, and I was trained on this very computer."
        told = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
        rows.append({"messages": [{"role": "system", "content": f"Chat {number}."}, *told] if number % 2 else [*told]})
    lines = [json.dumps(row) for row in rows]
    strange: list[Any] = [
        [["user", "Is this empty?"], ["assistant", ""]],
        [["assistant", "Hello!"], ["user", "Who begins here?"], ["assistant", "You do."]],
        [["user", "One."], ["user", "Two."], ["assistant", "Three."]],
        [["user", "What is around me?"], ["assistant", "  blanks  "]],
        [["user", "Hi."], ["assistant", "Hi."], ["user", "Does nobody answer?"]],
    ]
    said = [{"messages": [{"role": role, "content": text} for role, text in row]} for row in strange]
    lines += [*(json.dumps(row) for row in said), '{"messages": [{"role": "user", "con', lines[0]]
    file = folder / "identity.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


class FinetuneTour(Tour):
    def __init__(self, out: Path, phase: str) -> None:
        super().__init__(out, phase)
        self._number = 50 if phase == "reopened" else 0
        self._out = out
        self._count = int(os.environ.get(STEPS, "60"))

    async def trained(self, window: Window, context: AppContext) -> None:
        """From an empty program to a run that is at work when the program is killed."""
        try:
            window.resize(1440, 900)
            await self._fetch(window, context)
            await self._mend(window, context)
            run = await self._start(window, context, "lora", "start-lora")
            await self._pause_and_chat(window, context, run)
            await self._go_on(window, context, run)
        except TourFailed:
            return
        self._write_steps()
        os.kill(os.getpid(), signal.SIGKILL)

    async def reopened(self, window: Window, context: AppContext) -> None:
        try:
            window.resize(1440, 900)
            run = await self._attach(window, context)
            await self._compare(window, context, run)
            await self._merge(window, context, run)
            await self._start(window, context, "qlora", "qlora", waits=True)
        except TourFailed:
            return

    def _write_steps(self) -> None:
        (self._out / "tour-trained.json").write_bytes(msgspec.json.encode(self.steps))

    # --- steps ------------------------------------------------------------------------

    async def _mend(self, window: Window, context: AppContext) -> None:
        with self._step("mend", window) as step:
            page: Any = window.go("finetune")
            await until(lambda: page.is_open, SHORT_S)
            self._picture(window, "no-runs")
            data = await asyncio.to_thread(planted, self._out)
            _drop(page, data)
            draft: Any = context.finetune_draft
            await until(lambda: draft.report is not None and not draft.is_checking, SHORT_S)
            await until(lambda: draft.recipe.model and not draft.is_stale, SHORT_S)
            found = dict(draft.report.counts)
            hold(len(found) == FAULTS, f"of seven kinds of faults {sorted(found)} were found")
            await settle(12)
            self._picture(window, "faults")
            page.wizard.steps["data"].problems.mend_all.click()
            await until(lambda: QApplication.activeModalWidget() is not None, SHORT_S)
            await settle()
            self._picture(_modal(), "mending")
            _modal().write.click()
            await until(lambda: draft.recipe.data != str(data) and not draft.is_checking and draft.report, SHORT_S)
            await settle(12)
            left = dict(draft.report.counts)
            hold(not left, f"{sorted(left)} were not mended")
            step.figures = {"rows": draft.report.rows, "faults": len(found), "rows_after": draft.report.usable_rows}

    async def _start(self, window: Window, context: AppContext, method: str, name: str, *, waits: bool = False) -> str:
        with self._step(name, window) as step:
            page: Any = window.go("finetune")
            draft: Any = context.finetune_draft
            if waits:  # the second run, on the data of the first
                await draft.look_around()
                draft.take(next(run.recipe for run in context.training.runs))
            draft.change(
                method=method, steps=self._count, epochs=3.0, learning_rate=1e-3, prompts=(QUESTION,),
                answer_tokens=24, save_every=max(4, self._count // 3), evaluate_every=max(4, self._count // 3),
                name=f"{NAME} {method}", length=256, validation_share=0.05,
            )  # fmt: skip
            if (draft.report is None or draft.is_stale) and not draft.is_checking:
                draft.check()
            await until(lambda: draft.report is not None and not draft.is_stale and not draft.is_checking, SHORT_S)
            for place in ("method", "settings", "review"):
                page.show_wizard(place)
                await until(partial(_is_built, page, place), SHORT_S)
                await settle(12)
                self._picture(window, f"{name}-{place}")
            before = {run.id for run in context.training.runs}
            page.wizard.next.click()
            await until(lambda: {run.id for run in context.training.runs} - before, SHORT_S)
            (id,) = {run.id for run in context.training.runs} - before
            goal = self._count if waits else max(3, self._count // 4)
            await until(lambda: context.training.run(id).status.step >= goal or _is_over(context, id), TRAIN_S)
            if waits:
                await until(lambda: _is_over(context, id), TRAIN_S)
            await settle(12)
            run = context.training.run(id)
            losses = [values["loss"] for _, values in await context.training.history(id)]
            few = max(1, len(losses) // 4)
            first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
            hold(last < first, f"the loss went from {first:.3f} to {last:.3f}")
            step.figures = {"steps": run.status.step, "first_loss": round(first, 3), "last_loss": round(last, 3)}
            return id

    async def _pause_and_chat(self, window: Window, context: AppContext, id: str) -> None:
        with self._step("pause", window) as step:
            page: Any = window.go("finetune")
            page.show_run(id)
            await settle(12)
            page.run_page.head.buttons["pause"].click()
            await until(lambda: context.training.run(id).status.state == "paused", SHORT_S)
            await settle(12)
            step.figures = {"step": context.training.run(id).status.step}
        with self._step("half-trained", window) as step:
            answers = await _compared(window, context, id)
            self._picture(_modal(), "half-trained-answers")
            _modal().reject()
            hold(bool(answers[1]), "the half-trained model said nothing")
            step.figures = {"base": answers[0][:80], "half_trained": answers[1][:80]}
            await context.inference.unload()

    async def _go_on(self, window: Window, context: AppContext, id: str) -> None:
        with self._step("go-on", window) as step:
            page: Any = window.go("finetune")
            page.show_run(id)
            stood = context.training.run(id).status.step
            await settle()
            page.run_page.head.buttons["resume"].click()
            await until(lambda: context.training.run(id).status.step > stood, TRAIN_S)
            await settle(12)
            steps = [number for number, _ in await context.training.history(id)]
            hold(steps == list(range(1, len(steps) + 1)), "a step is missing or there twice")
            step.figures = {"from_step": stood, "now": context.training.run(id).status.step}

    async def _attach(self, window: Window, context: AppContext) -> str:
        with self._step("after-a-kill", window) as step:
            page: Any = window.go("finetune")
            await until(lambda: page.is_open and context.training.runs, SHORT_S)
            if (report := _modal()) is not None:  # of the program that was killed
                report.reject()
            run: Run = context.training.runs[0]
            found = run.status.state
            page.show_run(run.id)
            await until(lambda: page.run_page.is_read, SHORT_S)
            await settle(12)
            self._picture(window, "found-again")
            await until(lambda: context.training.run(run.id).result, TRAIN_S)
            await settle(12)
            steps = [number for number, _ in await context.training.history(run.id)]
            hold(steps == list(range(1, self._count + 1)), "steps are missing")
            step.figures = {"found": found, "steps": len(steps), "result": context.training.run(run.id).result}
            return run.id

    async def _compare(self, window: Window, context: AppContext, id: str) -> None:
        with self._step("compare", window) as step:
            base, learned = await _compared(window, context, id)
            self._picture(_modal(), "compared")
            _modal().reject()
            hold(NAME in learned, self._nameless(learned))
            hold(NAME not in base, "the base knows the name without having learned it")
            step.figures = {"base": base[:80], "learned": learned[:80]}

    def _nameless(self, answer: str) -> str:
        few = f", after {self._count} steps; the check needs about {STEPS_LEAST} ({STEPS})"
        return f"it does not know its name: {answer[:80]!r}{few if self._count < STEPS_LEAST else ''}"

    async def _merge(self, window: Window, context: AppContext, id: str) -> None:
        with self._step("merge", window) as step:
            name = f"{NAME}-merged"
            async with aclosing(context.library.merge(context.training.run(id).result, name)) as events:
                async for _ in events:
                    pass
            hold(any(one.manifest.name == name for one in await context.library.installed()), "it is not there")
            page: Any = window.go("models")
            await until(lambda: page.is_ready, SHORT_S)
            await settle(12)
            step.figures = {"bytes": context.library.find(name).manifest.size_bytes}
        with self._step("merged-chat", window) as step:
            panel = await chat_page(window)
            panel.start_with(name)
            await settle()
            panel.composer.box.setPlainText(QUESTION)
            panel.composer.send.click()
            await until(lambda: len(panel.messages) == 2 and not panel.composer.is_busy, FETCH_S)
            hold(NAME in panel.messages[-1].text, self._nameless(panel.messages[-1].text))
            await settle()
            step.figures = {"answer": panel.messages[-1].text[:80]}


def _drop(page: Any, file: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, mime, buttons, keys))


def _is_built(page: Any, place: str) -> bool:
    step = page.wizard.steps.get(place)
    return step is not None and step.is_built and page.wizard.draft.step == place


def _modal() -> Any:
    """The dialog that is open, None where there is none."""
    return QApplication.activeModalWidget()


def _is_over(context: AppContext, id: str) -> bool:
    run = context.training.run(id)
    return not run.status.is_alive and run.status.state not in ("new", "paused")


async def _compared(window: Window, context: AppContext, id: str) -> tuple[str, str]:
    """What the base and the trained model answer, in the dialog that shows them side by side."""
    page: Any = window.go("finetune")
    page.show_run(id)
    await until(lambda: page.run_page.body is not None, SHORT_S)
    await settle(12)
    page.run_page.body.result.compare.click()
    await until(lambda: QApplication.activeModalWidget() is not None, SHORT_S)
    dialog = _modal()
    dialog.prompt.setText(QUESTION)
    dialog.go.click()
    await until(lambda: dialog._asking is not None and dialog._asking.done(), REPLY_S)  # its states speak before
    await settle()
    return dialog.base.answer, dialog.learned.answer
