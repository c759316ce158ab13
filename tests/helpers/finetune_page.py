"""The fine-tune page in a live window: files to drop, steps to open, and a training worker that trains nothing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from app.context import AppContext
from app.ui.window import Window
from core import paths
from tests.helpers import shelf_models, tiny_models, training_data
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

WORKER = """
import sys, time
sys.path[0] = sys.argv[2]
from app.workers.detached_host import serve_run
from core.protocol.messages import Finished, Metrics


def train(job, control):
    for step in range(1, int(sys.argv[3]) + 1):
        time.sleep(0.01)
        yield Metrics(job.job_id, step, {"loss": 1 / step, "tokens_per_s": 100.0})
        if control.is_cancelled or control.is_paused:
            yield Finished(job.job_id, "paused" if control.is_paused else "cancelled")
            return
    yield Finished(job.job_id, "stop")


serve_run(sys.argv[1], train)
"""


def fake_training(context: AppContext, folder: Path, steps: int = 3) -> None:
    """Whatever the recipe asks for, so many steps are told of."""
    script = folder / "training_worker.py"
    script.write_text(WORKER)
    root = str(Path(__file__).parents[2])
    context.training._argv = lambda run_dir: [sys.executable, str(script), str(run_dir), root, str(steps)]


def put_model(name: str, config: dict[str, Any] = shelf_models.TINY) -> None:
    """A model of the library with a tokenizer, so that rows can be counted."""
    shelf_models.put(paths.models(), name, config)
    tiny_models.write_tokenizer(paths.models() / name)


def data_file(folder: Path, rows: int = 40, more: Sequence[object] = (), name: str = "examples.jsonl") -> Path:
    """Questions with answers; `more` are rows as they stand."""
    folder.mkdir(parents=True, exist_ok=True)
    said = [training_data.chat(("user", f"What is {n}?"), ("assistant", f"It is {n}.")) for n in range(rows)]
    file = folder / name
    file.write_text(training_data.as_lines([*said, *more]), "utf-8")
    return file


def drop(page: Any, file: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, mime, buttons, keys))


@asynccontextmanager
async def finetune(width: int = 1440, height: int = 900) -> AsyncIterator[tuple[Window, Any, AppContext]]:
    async with live(width, height) as (window, context):
        page: Any = window.go("finetune")
        await until(lambda: page.is_open, 10)
        yield window, page, context


async def step_of(page: Any, name: str) -> Any:
    """Open a step of the wizard and wait until it is whole."""
    page.wizard.show_step(name)
    await until(lambda: name in page.wizard.steps and page.wizard.steps[name].is_built, 10)
    await settle(4)
    return page.wizard.steps[name]


async def dropped(page: Any, context: AppContext, file: Path) -> Any:
    """The data step with the findings on a file that was dropped."""
    drop(page, file)
    draft = context.finetune_draft
    await until(lambda: page.view == "wizard" and draft.recipe.data == str(file), 10)
    await until(lambda: page.wizard._looking is not None and page.wizard._looking.done(), 10)
    await until(lambda: not draft.is_checking and (draft.report is not None or draft.error is not None), 20)
    await until(lambda: "data" in page.wizard.steps and page.wizard.steps["data"].is_built, 10)
    await settle(4)
    return page.wizard.steps["data"]
