"""The training worker as a process: killed at any step it goes on to the same losses and the same weights."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import torch

from app.detached import DetachedRun
from app.launch import detached_argv
from core.protocol.messages import Finished, JobEvent, Metrics
from core.run_dir import RunDir
from core.training.run_files import RunFiles
from tests.core.training.test_session import create, data, folder, follow, losses, recipe, weights
from tests.helpers.waiting import until

__all__ = ["data", "folder"]  # fixtures


async def start(run: RunFiles) -> DetachedRun:
    return await DetachedRun.start(detached_argv("training", run.path), run.path)


async def told(run: DetachedRun) -> list[JobEvent]:
    return [event async for event in run.events()]


@pytest.mark.errors_logged
@pytest.mark.timeout(240)
@pytest.mark.loops("asyncio")
async def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, folder: Path, data: Path) -> None:
    wanted = recipe(data, steps=40, save_every=7, prompts=("Explain hello",), answer_tokens=3)
    whole = create(tmp_path, folder, wanted)
    expected = losses(list(follow(whole)))
    run = create(tmp_path, folder, wanted)
    at = random.randint(3, 30)
    print("killed at", at)
    running = await start(run)
    async for event in running.events():
        if isinstance(event, Metrics) and event.step >= at:
            record = RunDir(run.path).record()
            assert record
            os.kill(record.pid, signal.SIGKILL)
            break
    await until(lambda: not RunDir(run.path).is_alive())
    assert running.status.state == "interrupted"
    (run.checkpoints / ".writing" / "checkpoint-99").mkdir(parents=True, exist_ok=True)  # half of one
    running = await start(run)
    events = await told(running)
    assert events[-1] == Finished(run.path.name, "stop")
    assert losses(events) == expected and list(losses(events)) == list(range(1, 41))
    one, other = weights(whole), weights(run)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert [answer.text for answer in run.answers()] == [answer.text for answer in whole.answers()]
    await until(lambda: not RunDir(run.path).is_alive())
