"""The way from a dropped file to a training, in the real window with the real data worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent

from core import paths
from core.translation import say
from tests.helpers import shelf_models, training_data
from tests.helpers.audit import faults
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("qasync")


def data_file(folder: Path, rows: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "examples.jsonl"
    said = [training_data.chat(("user", f"What is {n}?"), ("assistant", f"It is {n}.")) for n in range(rows)]
    file.write_text(training_data.as_lines(said), "utf-8")
    return file


def drop(page: Any, file: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    page.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, mime, buttons, keys))


async def wizard_on(page: Any, step: str) -> Any:
    page.wizard.show_step(step)
    await until(lambda: step in page.wizard.steps and page.wizard.steps[step].is_built, 10)
    await settle(5)
    return page.wizard.steps[step]


def fake_training(context: Any, script: Path) -> None:
    """A worker that ends at once: what is started is looked at in its folder."""
    script.write_text(
        "import sys, time; sys.path[0] = sys.argv[2]\n"
        "from app.workers.detached_host import serve_run\n"
        "from core.protocol.messages import Finished, Metrics\n"
        "def train(job, control):\n"
        "    for step in range(1, 4):\n"
        "        yield Metrics(job.job_id, step, {'loss': 1 / step})\n"
        "    yield Finished(job.job_id, 'stop')\n"
        "serve_run(sys.argv[1], train)\n"
    )
    root = str(Path(__file__).parents[2])
    context.training._argv = lambda run_dir: [sys.executable, str(script), str(run_dir), root]


async def test_a_dropped_file_becomes_a_run(tmp_path: Path) -> None:
    shelf_models.put(paths.models(), "little")
    async with live() as (window, context):
        fake_training(context, tmp_path / "worker.py")
        page: Any = window.go("finetune")
        await until(lambda: page.is_open)
        drop(page, data_file(tmp_path))
        await until(lambda: page.view == "wizard" and context.finetune_draft.report is not None, 20)
        await until(lambda: context.finetune_draft.recipe.model == "little", 10)
        await until(lambda: not context.finetune_draft.is_checking, 20)
        for step in ("method", "settings", "review"):
            await wizard_on(page, step)
            assert page.wizard.draft.step == step
        assert page.wizard.next.text() == say("finetune_ui.start") and page.wizard.next.isEnabled()
        page.wizard.go_on()
        await until(lambda: page.view == "run", 20)
        run = page.run_page.run
        assert run.recipe.model == "little" and json.loads((run.path / "origin.json").read_text())["model"] == "little"
        await until(lambda: page.run_page.run.status.state == "finished", 20)
        await settle(5)
        assert faults(window) == [] and not context.finetune_draft.is_begun
