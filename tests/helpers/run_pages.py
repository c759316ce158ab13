"""Run folders as a fine-tune leaves them, and the page of a run in the whole window."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from shiboken6 import isValid

from app.context import AppContext
from app.ui.training_run.page import RunPage
from app.ui.window import Window
from core import paths
from core.protocol.messages import Failed, Finished
from core.run_dir import RunDir, RunRecord
from core.training import run_files
from core.training.recipe import Recipe
from core.training.run_files import Answer, RunFacts, RunFiles
from tests.helpers import fake_training, shelf_models
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

MODEL = "Qwen3-0.6B"
FACTS = RunFacts(
    steps=400, rows=800, kept_aside=40, tokens=120_000, learned=40_000, cut=3, trained=4_884_480,
    parameters=596_049_920, precision="bfloat16", reason="processor_with_bf16", device="cpu", packs=True,
    checkpointing=False, pass_tokens=2048, fingerprint="ab" * 32, versions={"torch": "2.13.0", "peft": "0.21.2"},
    weights="bfloat16",
)  # fmt: skip


def recipe(name: str = "identity", **changes: object) -> Recipe:
    return msgspec.structs.replace(Recipe(MODEL, "/data/chats.jsonl", name, prompts=("Who are you?",)), **changes)


def values(step: int) -> dict[str, float]:
    found = {
        "loss": 1 + 2 * math.exp(-step / 120) + 0.1 * math.sin(step * 1.7), "grad_norm": 1 + 1 / step,
        "learning_rate": 2e-4 * (1 - step / 1e6), "tokens_per_s": 3400.0 + step % 50, "memory": 1.7e9 + step % 90 * 1e6,
        "seconds": 1.2,
    }  # fmt: skip
    return found | ({"eval_loss": 1.05 + 2 * math.exp(-step / 110)} if step % 20 == 0 else {})


def put(
    wanted: Recipe,
    *,
    steps: int = 100,
    end: Finished | Failed | None = None,
    facts: RunFacts | None = FACTS,
    answers: Sequence[Answer] = (),
    checkpoints: Sequence[int] = (),
    fake: Mapping[str, object] | None = None,
) -> RunFiles:
    """A run that made so many steps. `end`: as its worker left it, None for one that never started; `fake`: what
    tests.helpers.fake_training does when it is started."""
    folder = paths.models() / MODEL
    if not folder.exists():
        shelf_models.put(paths.models(), MODEL)
    run = run_files.create(paths.runs(), wanted, folder, MODEL)
    if facts is not None:
        run.write_facts(facts)
    with (run.path / run_files.METRICS).open("w") as out:
        for step in range(1, steps + 1):
            out.write(json.dumps({"step": step, **values(step)}) + "\n")
    for answer in answers:
        run.add_answer(answer)
    for step in checkpoints:
        run.checkpoint(step).mkdir(parents=True)
    if end is not None:
        RunDir(run.path).write_record(RunRecord("ended", 1, end))
    settings = {"steps": 400, "step_s": 0.002, "mood": "good"} | dict(fake or {})
    (run.path / "config.json").write_text(json.dumps(settings))
    if steps:
        (run.path / "checkpoint").write_text(str(steps))
    return run


def finished(run_id: str = "identity", reason: str = "stop") -> Finished:
    return Finished(run_id, reason)  # type: ignore[arg-type]


def failed(code: str, **params: str | int) -> Failed:
    return Failed("identity", "user", code, params)


DIVERGED = failed("training_diverged", step=61, loss="nan", best="1.32")
MEMORY = failed("training_memory", held="22.1 GB", free="0.2 GB")


@asynccontextmanager
async def page_of(
    run: RunFiles | None, width: int = 1440, height: int = 900
) -> AsyncIterator[tuple[Window, RunPage, AppContext]]:
    """The window with the page of a run on it, whole and settled."""
    async with live(width, height, training=fake_training.argv) as (window, context):
        await context.training.open()
        page = RunPage(window, context)
        window._stack.addWidget(page)
        window._stack.setCurrentWidget(page)
        try:
            if run is not None:
                await show(page, run.path.name)
            yield window, page, context
        finally:
            if isValid(page):
                page.leave()
            for one in context.training.runs:
                if one.status.is_alive:
                    await context.training.kill(one.id)
            await settle(3)


async def show(page: RunPage, id: str) -> None:
    page.show_run(id)
    await until(lambda: page.body is not None and page.body.charts is not None and page.body.charts.feed.is_loaded, 10)
    await settle(8)
