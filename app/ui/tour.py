"""The tour: the main job done in the real window as a newcomer would, with numbered pictures and tour.json.

Fetch the starter model, ask, watch the answer stream, ask again, find it by search, measure the model; then the program
is started anew and the conversation must be there. Invariant: nothing is simulated. Widgets are clicked and typed into,
the program is the one that users start, on a home of its own, so no tour touches anybody's conversations.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.launch import MAIN
from core.paths import HOME_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PySide6.QtWidgets import QWidget

    from app.context import AppContext
    from app.ui.chat.panel import ChatPanel
    from app.ui.models.page import ModelsPage
    from app.ui.profiler.page import ProfilerPage
    from app.ui.window import Window

PHASE = "QWEN_WORKBENCH_TOUR"  # which part of the tour a started program does; set by `run` only
FINETUNE = ("trained", "reopened")  # the phases of the second tour
QUESTIONS = ("Why is the sky blue? Answer in two sentences.", "Write a Python function that adds two numbers.")
OFFSCREEN_NOISE = "This plugin does not support propagateSizeHints()"
FETCH_S, REPLY_S, SHORT_S, PROFILE_S = 600.0, 300.0, 30.0, 240.0


class Step(Struct):
    """One step and what came of it. `figures` are measured, never assumed."""

    name: str
    ok: bool = False
    seconds: float = 0.0
    picture: str = ""
    figures: dict[str, float | int | str] = {}
    why: str = ""


class TourFailed(Exception):
    """A step did not hold; the reason stands in tour.json."""


def run(out: Path, phases: tuple[str, str] = ("first", "second")) -> int:
    """The whole tour into `out`; 0 only if every step held. phases: those of another tour"""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("[0-9][0-9]-*.png"), *out.glob("tour*.json")):
        old.unlink()
    home = Path(tempfile.mkdtemp(prefix="qwen-workbench-tour-"))
    try:
        codes = [_start(out, home, phase) for phase in phases]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    steps = [step for phase in phases for step in _read(out / f"tour-{phase}.json")]
    ok = not any(codes) and bool(steps) and all(step.ok for step in steps)
    report = {"ok": ok, "steps": msgspec.to_builtins(steps)}
    (out / "tour.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), "utf-8")
    for step in steps:
        print(f"{'✓' if step.ok else '✗'} {step.name} {step.seconds:.1f} s {step.why}".rstrip())
    return 0 if ok else 1


def _start(out: Path, home: Path, phase: str) -> int:
    """The program, started as users start it, guided through one phase."""
    environment = {**os.environ, HOME_VARIABLE: str(home), PHASE: phase}
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        environment["QT_QPA_PLATFORM"] = "offscreen"
    code = subprocess.run([sys.executable, str(MAIN), "tour", "--out", str(out)], env=environment).returncode
    return 0 if code == -signal.SIGKILL and phase == FINETUNE[0] else code  # which ends by a kill of its own


def hush(noise: str = OFFSCREEN_NOISE) -> None:
    """Of Qt's messages all but this one, which it says for every window that nobody sees."""
    from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

    def tell(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
        if message != noise:
            print(message, file=sys.stderr)

    qInstallMessageHandler(tell)


def guided(out: Path, phase: str) -> int:
    """Be the program of one phase."""
    from app.ui.start import open_window

    hush()
    tour = _tour(out, phase)
    code = open_window(guide=getattr(tour, phase))
    (out / f"tour-{phase}.json").write_bytes(msgspec.json.encode(tour.steps))
    return code or int(not all(step.ok for step in tour.steps))


def _tour(out: Path, phase: str) -> Tour:
    if phase not in FINETUNE:
        return Tour(out, phase)
    from app.ui.tour_finetune import FinetuneTour

    return FinetuneTour(out, phase)


def _read(file: Path) -> list[Step]:
    try:
        steps = msgspec.json.decode(file.read_bytes(), type=list[Step])
        file.unlink()
        return steps
    except OSError:
        return [Step(file.stem, why="the program ended before its report")]


class Tour:
    def __init__(self, out: Path, phase: str) -> None:
        self.steps: list[Step] = []
        self._out = out
        self._number = 0 if phase == "first" else 50

    async def first(self, window: Window, context: AppContext) -> None:
        """From an empty program to two answers and a search."""
        try:
            window.resize(1440, 900)
            await self._empty(window)
            await self._fetch(window, context)
            for number, question in enumerate(QUESTIONS, 1):
                await self._ask(window, question, number)
            await self._search(window)
            await self._looks(window)
            await self._profile(window, context)
        except TourFailed:
            return

    async def second(self, window: Window, context: AppContext) -> None:
        """After a restart: everything is still there, and the conversation goes on."""
        try:
            window.resize(1440, 900)
            with self._step("restart", window) as step:
                panel = await chat_page(window)
                await until(lambda: len(panel.messages) == 2 * len(QUESTIONS), SHORT_S)
                hold([m.text for m in panel.messages if m.role == "user"] == list(QUESTIONS), "the questions differ")
                hold(all(m.text for m in panel.messages), "a reply is empty")
                step.figures = {"messages": len(panel.messages)}
            await self._ask(window, "Thank you! Say goodbye.", 3)
        except TourFailed:
            return

    # --- steps -----------------------------------------------------------------------

    async def _empty(self, window: Window) -> None:
        with self._step("first-start", window):
            panel = await chat_page(window)
            await until(lambda: panel.empty.isVisible(), SHORT_S)
            await settle()

    async def _fetch(self, window: Window, context: AppContext) -> None:
        with self._step("fetch-starter", window) as step:
            page: ModelsPage = window.go("models")  # type: ignore[assignment]
            await until(lambda: page.is_ready and page.installed.empty.isVisible(), SHORT_S)
            page.installed.fetch.click()
            begin = time.perf_counter()
            await until(lambda: bool(context.library.transfers), SHORT_S)
            transfer = next(iter(context.library.transfers.values()))
            await until(lambda: transfer.done > 0 or not context.library.transfers, FETCH_S)
            await settle()
            self._picture(window, "fetching")
            await until(lambda: page.installed.table.isVisible() and not context.library.transfers, FETCH_S)
            hold(not page.failed(), page.failed())
            installed = await context.library.installed()
            step.figures = {
                "seconds": round(time.perf_counter() - begin, 2),
                "bytes_on_disk": sum(model.manifest.size_bytes for model in installed),
            }
            await settle()

    async def _ask(self, window: Window, question: str, number: int) -> None:
        with self._step(f"ask-{number}", window) as step:
            window.go("chat")
            panel = await chat_page(window)
            before = len(panel.messages)
            panel.composer.box.setPlainText(question)
            grown: list[str] = []
            stop = panel.chat.reply_grew.listen(lambda news: grown.append(news.text))
            panel.composer.send.click()
            await until(lambda: len(panel.messages) == before + 2, SHORT_S)
            await until(lambda: sum(map(len, grown)) > 40 or not panel.composer.is_busy, REPLY_S)
            self._picture(window, f"streaming-{number}")
            await until(lambda: not panel.composer.is_busy, REPLY_S)
            stop()
            reply = panel.messages[-1]
            hold(reply.state in ("done", "cut"), f"the reply ended as {reply.state} {reply.error_code}")
            hold(bool(reply.text.strip()), "the reply is empty")
            assert reply.figures is not None
            step.figures = {
                "prompt_tokens": reply.figures.prompt_tokens,
                "new_tokens": reply.figures.new_tokens,
                "reused_tokens": reply.figures.reused_tokens,
                "first_token_s": round(reply.figures.first_token_s, 3),
                "tokens_per_s": round(reply.figures.tokens_per_s, 1),
                "slowest_frame_ms": round(window.status.frames.slowest_ms(), 1),
            }
            await settle()

    async def _search(self, window: Window) -> None:
        with self._step("search", window):
            panel = await chat_page(window)
            panel.sidebar.search.setText("python")
            await until(lambda: panel.sidebar.list.shows_hits and panel.sidebar.list.model().rowCount() > 0, SHORT_S)
            await settle()
            self._picture(window, "search")
            panel.sidebar.search.clear()
            await until(lambda: not panel.sidebar.list.shows_hits, SHORT_S)

    async def _looks(self, window: Window) -> None:
        with self._step("looks", window):
            for page, language, theme in (
                ("chat", "en", "dark"),
                ("chat", "zh", "light"),
                ("models", "zh", "dark"),
                ("settings", "en", "light"),
            ):
                window.preferences.change(language=language, theme=theme)
                window.go(page)
                await settle(12)
                self._picture(window, f"{page}-{language}-{theme}")
            window.preferences.change(language="en", theme="light")

    async def _profile(self, window: Window, context: AppContext) -> None:
        """The starter is measured until a first bar stands there; the rest is cancelled and kept for later."""
        with self._step("profile", window) as step:
            page: ProfilerPage = window.go("profiler")  # type: ignore[assignment]
            await until(lambda: page.is_open and page.empty.starter.isVisible(), SHORT_S)
            page.empty.starter.click()
            await until(lambda: bool(context.profiling.state.results), PROFILE_S)
            await until(lambda: page.shown is not None and len(page.shown.results) == 1, SHORT_S)
            page.strip.cancel.click()
            await until(lambda: page.shown is not None and page.shown.run.state == "cancelled", SHORT_S)
            assert page.shown is not None
            (result,) = page.shown.results.values()
            hold(result.inference is not None, f"the cell ended as {result.state} {result.code}")
            assert result.inference is not None
            step.figures = {
                "tokens_per_s": round(result.inference.decode_tokens_per_s, 1),
                "peak_bytes": result.peak_bytes,
                "seconds_of_the_cell": round(result.seconds, 1),
            }
            await settle()

    # --- keeping count -----------------------------------------------------------------

    @contextmanager
    def _step(self, name: str, window: Window) -> Iterator[Step]:
        step = Step(name)
        self.steps.append(step)
        begin = time.perf_counter()
        try:
            yield step
            step.ok = True
        except (TimeoutError, TourFailed) as error:
            step.why = str(error) or "it took too long"
            raise TourFailed(step.why) from error
        finally:
            step.seconds = round(time.perf_counter() - begin, 2)
            step.picture = self._picture(window, name if step.ok else f"{name}-failed")

    def _picture(self, window: QWidget, name: str) -> str:
        self._number += 1
        file = self._out / f"{self._number:02d}-{name}.png"
        window.grab().save(str(file))
        return file.name


async def chat_page(window: Window) -> ChatPanel:
    """The chat page, once what it shows has been read."""
    from app.ui.chat.panel import ChatPanel

    page = window.go("chat")
    assert isinstance(page, ChatPanel)
    await until(lambda: page.is_open, SHORT_S)
    return page


def hold(condition: bool, why: str) -> None:
    if not condition:
        raise TourFailed(why)


async def until(condition: Callable[[], object], timeout_s: float) -> None:
    """Polled, as somebody looking at the screen would."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.05)


async def settle(turns: int = 6) -> None:
    """Layout requests climb one level per turn of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0.03)
