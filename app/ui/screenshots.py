"""The pictures of the documentation: `python -m app.ui.screenshots docs/images` (make screenshots).

Invariant: what they show is real: the starter model is fetched, asked and trained, in the program that users start,
offscreen, on a home of its own. Only what a hub would answer, and the queue of downloads, are stand-ins with the sizes
of the real repositories: pictures depend on no network. Names are <page>-<look>.png; looks are light, dark and zh.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from app.services import addresses
from app.services.server_setup import HERE
from app.ui import shortcuts
from app.ui.tour import REPLY_S, SHORT_S, chat_page, settle, until
from app.ui.tour_finetune import NAME, QUESTION, TRAIN_S, _compared, _is_built, _modal, planted
from app.ui.widgets.toast import Toast
from core.chat.turns import Sampling
from core.paths import HOME_VARIABLE
from core.profiling.plan import Case, ProfilePlan
from core.remote_engine import RemoteEngine, RemoteModel
from core.training.recipe import Recipe

if TYPE_CHECKING:
    from app.context import AppContext
    from app.ui.window import Window

QUESTIONS = (
    "Why is the sky blue? Answer in two sentences.",
    "Write a Python function that counts the words of a text, with an example.",
)
LOOKS = {"light": ("en", "light"), "dark": ("en", "dark"), "zh": ("zh", "light")}
SIZE = (1440, 900)
TALL = (1440, 1056)  # for a run with its answers
FIRST_PORT = 7999  # the next one that is free is the server's
CELLS = (Case(64, 32), Case(256, 32))  # of the profile
STEPS = 24  # of the fine-tune
QWEN = (RemoteModel("Qwen/Qwen3-32B", 40960), RemoteModel("Qwen/Qwen3-Coder-30B-A3B-Instruct", 262144))


async def take_all(folder: Path, window: Window, context: AppContext) -> None:
    """Ask the questions, then every page in every look."""
    window.resize(*SIZE)
    await chat_page(window)
    await settle()
    _save(window, folder / "first-start-light.png")
    await context.library.fetch("starter")
    made = await context.chat.create("starter", sampling=Sampling(seed=3, max_new_tokens=400))  # the same each time
    await (await chat_page(window)).open(made.id)
    for question in QUESTIONS:
        await _ask(window, question)
    from tests.helpers.fake_hubs import FakeDiscovery  # beside the program, never in it

    context.discovery = FakeDiscovery(context.discovery)
    for look, (language, theme) in LOOKS.items():
        window.preferences.change(language=language, theme=theme)
        await _pages(folder, look, window)
        await machines(folder / f"machines-{look}.png", window, context)
        await _models(folder, look, window, context)
    await _server(folder, window, context)
    await _measure(context)
    for look, (language, theme) in LOOKS.items():
        window.preferences.change(language=language, theme=theme)
        await _profiler(folder, look, window)
    recipe, run = await _train(context)
    for toast in window.findChildren(Toast):
        toast.dismiss()
    for look, (language, theme) in LOOKS.items():
        window.preferences.change(language=language, theme=theme)
        await _finetune(folder, look, window, context, recipe, run)


async def _ask(window: Window, question: str) -> None:
    panel = await chat_page(window)
    await until(lambda: bool(panel.models), SHORT_S)
    before = len(panel.messages)
    panel.composer.box.setPlainText(question)
    panel.composer.send.click()
    await until(lambda: len(panel.messages) == before + 2, SHORT_S)
    await until(lambda: not panel.composer.is_busy, REPLY_S)


async def _pages(folder: Path, look: str, window: Window) -> None:
    await chat_page(window)
    await settle(20)
    _save(window, folder / f"chat-{look}.png")
    await _load_dialog(folder / f"load-{look}.png", window)
    tokenizer = window.go("tokenizer")
    await until(lambda: tokenizer.found is not None, SHORT_S)  # type: ignore[union-attr]
    tokenizer.view.choose(5)  # type: ignore[union-attr]
    await settle(12)
    _save(window, folder / f"tokenizer-{look}.png")
    window.explain("context_lengths")
    await settle(20)
    _save(window, folder / f"help-{look}.png")
    page = window.go("settings")
    for view in ("preferences", "machine"):
        page.show_view(view)  # type: ignore[union-attr]
        await settle(20)
        _save(window, folder / f"{view}-{look}.png")
    window.go("chat")
    sheet = shortcuts.ShortcutSheet(window)
    sheet.show()
    await settle(8)
    _save(sheet, folder / f"shortcuts-{look}.png")
    sheet.close()
    sheet.deleteLater()


async def _models(folder: Path, look: str, window: Window, context: AppContext) -> None:
    """The three views of the Models page."""
    from app.ui.models.page import ModelsPage
    from tests.helpers.fake_hubs import item

    page = window.go("models")
    assert isinstance(page, ModelsPage)
    await until(lambda: page.is_ready and bool(page.installed.models), SHORT_S)
    await settle(20)
    _save(window, folder / f"models-{look}.png")
    page.show_view("discover")
    await until(lambda: page.discover is not None and page.discover.is_ready, SHORT_S)
    await settle(20)
    assert page.discover is not None and page.offer is not None
    context.downloads.items = [
        item(1, "Qwen3-14B", done=18_300_000_000, total=29_500_000_000),
        item(2, "Qwen2.5-Coder-7B-Instruct", "paused", done=4_700_000_000, total=15_200_000_000, place="huggingface"),
        item(3, "Qwen3-0.6B", "waiting", total=1_200_000_000),
        item(4, "Qwen3-32B", "failed", done=3_000_000_000, total=65_500_000_000, code="disk_full",
             folder="/home/you/models", needed="65.5 GB", free="12.4 GB"),
    ]  # fmt: skip
    context.downloads.changed.emit(None)
    page.discover.table.choose("Qwen/Qwen3-4B")
    await until(lambda: page.offer is not None and page.offer.look is not None, SHORT_S)
    page.offer.source.measure.click()
    await settle(20)
    _save(window, folder / f"discover-{look}.png")
    page.show_view("downloads")
    assert page.downloads is not None
    page.downloads.list.rows.open_ = {1}
    context.downloads.changed.emit(None)
    await settle(20)
    _save(window, folder / f"downloads-{look}.png")
    page.downloads.list.rows.open_ = set()
    context.downloads.items = []
    context.downloads.changed.emit(None)
    page.show_view("installed")


async def _server(folder: Path, window: Window, context: AppContext) -> None:
    """Closed, then open in every look with requests of a real client under way and some that have ended."""
    window.preferences.change(language="en", theme="light")
    context.server.change(port=addresses.free_port(HERE, FIRST_PORT))
    page = await _server_page(window)
    _save(window, folder / "server-closed-light.png")
    page.turn.click()
    await until(lambda: context.serving.state.phase == "open", REPLY_S)
    clients = [asyncio.create_task(_client(context.serving.state.address)) for _ in range(3)]
    try:
        await until(lambda: context.requests.answered >= len(clients) + 1, REPLY_S)
        for look, (language, theme) in LOOKS.items():
            window.preferences.change(language=language, theme=theme)
            await until(lambda: sum(one.new_tokens > 4 for one in context.serving.state.live) == len(clients), REPLY_S)
            await _server_page(window)
            _save(window, folder / f"server-{look}.png")
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    await context.serving.stop()


async def _server_page(window: Window) -> Any:
    page: Any = window.go("server")
    await until(lambda: page.local.is_built, SHORT_S)
    await settle(20)
    return page


async def _client(address: str) -> None:
    """Asks again and again, each time for a longer answer."""
    import httpx

    async with httpx.AsyncClient(timeout=REPLY_S) as client:
        for place in range(1_000):
            words = [{"role": "user", "content": QUESTIONS[place % len(QUESTIONS)]}]
            body = {"model": "starter", "messages": words, "max_tokens": 40 * 2 ** min(place, 4)}
            await client.post(f"{address}/v1/chat/completions", json=body)


async def _measure(context: AppContext) -> None:
    """Three forms of the starter at two lengths."""
    await context.inference.unload()
    subject = context.profiling.subject("starter")
    plan = ProfilePlan((subject,), ("bfloat16", "int8", "int4"), ("plain",), CELLS, repeats=3)
    async for _ in context.profiling.start(plan):
        pass


async def _profiler(folder: Path, look: str, window: Window) -> None:
    """The table, a cell of it, and a new one."""
    from app.ui.profiler.detail import CellDialog

    for toast in window.findChildren(Toast):
        toast.dismiss()
    page: Any = window.go("profiler")
    await until(lambda: page.is_open, SHORT_S)
    page.show_run(page.runs[0].id)
    await until(lambda: page.shown is not None and page.run_view.is_built, SHORT_S)
    await until(lambda: page.run_view.timeline.lines, SHORT_S)
    await settle(20)
    _save(window, folder / f"profiler-{look}.png")
    bar = page.run_view.area.verticalScrollBar()
    bar.setValue(bar.maximum())
    await settle(20)
    _save(window, folder / f"profiler-cells-{look}.png")
    bar.setValue(0)
    dialog = CellDialog(window, page.run_view.result(page.shown.cells[-1].key))
    dialog.show()
    await settle(12)
    _save(dialog, folder / f"profiler-detail-{look}.png")
    dialog.close()
    dialog.deleteLater()
    page.show_new()
    await until(lambda: page.new_view.plan is not None, SHORT_S)
    await settle(20)
    _save(window, folder / f"profiler-new-{look}.png")
    page.go_back()


async def _train(context: AppContext) -> tuple[Recipe, str]:
    """A run that learns who it is, on the file with faults of the tour; its recipe and its name."""
    await context.inference.unload()
    await context.training.open()
    data = planted(Path(os.environ[HOME_VARIABLE]))
    recipe = Recipe(
        "starter", str(data), NAME, length=256, steps=STEPS, learning_rate=1e-3, evaluate_every=STEPS // 8,
        save_every=STEPS // 4, prompts=(QUESTION, "What is 21 plus 21?"), answer_tokens=24,
    )  # fmt: skip
    run = await context.training.start(recipe)
    await until(lambda: context.training.run(run).result, TRAIN_S)
    return recipe, run


async def _finetune(folder: Path, look: str, window: Window, context: AppContext, recipe: Recipe, run: str) -> None:
    """The wizard's data and review, a run, and what it left beside its base."""
    page: Any = window.go("finetune")
    await until(lambda: page.is_open, SHORT_S)
    draft = context.finetune_draft
    draft.take(recipe)
    page.show_wizard("data")
    await until(lambda: _is_built(page, "data") and draft.subject is not None, SHORT_S)
    await until(lambda: draft.report is not None and not draft.is_checking and not draft.is_stale, SHORT_S)
    page.wizard.steps["data"].xray.go(2)
    await settle(20)
    _save(window, folder / f"finetune-data-{look}.png")
    page.show_wizard("review")
    await until(lambda: _is_built(page, "review"), SHORT_S)
    await settle(20)
    _save(window, folder / f"finetune-review-{look}.png")
    window.resize(*TALL)
    page.show_run(run)
    await until(lambda: page.run_page.body is not None and page.run_page.body.charts is not None, SHORT_S)
    await until(lambda: page.run_page.body.charts.feed.is_loaded, SHORT_S)
    await settle(20)
    _save(window, folder / f"finetune-run-{look}.png")
    window.resize(*SIZE)
    await _compared(window, context, run)
    _save(_modal(), folder / f"finetune-compare-{look}.png")
    _modal().reject()
    page.show_runs()


async def _load_dialog(file: Path, window: Window) -> None:
    from app.ui.load.dialog import LoadDialog

    window.ask_load("starter")
    await until(lambda: any(dialog.is_ready for dialog in window.findChildren(LoadDialog)), SHORT_S)
    dialog = window.findChildren(LoadDialog)[-1]
    await settle(12)
    _save(dialog, file)
    dialog.reject()
    await until(lambda: not window.findChildren(LoadDialog), SHORT_S)


async def machines(file: Path, window: Window, context: AppContext) -> None:
    """Other machines; no test server stands behind them, so none is asked."""
    from app.ui.remote.dialog import RemoteDialog

    await context.remote.keep(RemoteEngine("cluster", "https://cluster.example:8000/v1", QWEN), "a key")
    await context.remote.keep(RemoteEngine("lab", "http://192.168.1.20:30000/v1", (RemoteModel("my-fine-tune"),)))
    window.ask_remote()
    await until(lambda: any(len(dialog.engines.rows) == 2 for dialog in window.findChildren(RemoteDialog)), SHORT_S)
    dialog = window.findChildren(RemoteDialog)[-1]
    await settle(12)
    _save(dialog, file)
    dialog.accept()
    await until(lambda: not window.findChildren(RemoteDialog), SHORT_S)
    for engine in context.remote.engines:
        await context.remote.remove(engine)


def _save(widget: QWidget, file: Path) -> None:
    widget.grab().save(str(file))
    print(file)


def main(folder: Path) -> int:
    from app.ui.start import open_window

    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory(prefix="qwen-workbench-pictures-") as home:
        os.environ[HOME_VARIABLE] = home
        return open_window(guide=lambda window, context: take_all(folder, window, context))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
