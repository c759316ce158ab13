"""A run on two devices: the losses of one, ended together, and a result as whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.launch import worker_argv
from core.protocol.messages import Finished, JobEvent, Metrics
from core.training import ranks
from core.training.run_files import RunFiles
from tests.core.training.test_session import Wish, create, data, folder, follow, losses, recipe

__all__ = ["data", "folder"]  # fixtures

pytestmark = [pytest.mark.errors_logged, pytest.mark.timeout(240)]


def together(run: RunFiles, wish: Wish | None = None) -> list[JobEvent]:
    wish, found = wish or Wish(), []

    def command(address: str) -> list[str]:
        return [*worker_argv("training_rank"), str(run.path), address]

    for event in ranks.follow("job", 2, command, wish):
        if isinstance(event, Metrics):
            wish.step = event.step
        if event is not None:
            found.append(event)
    return found


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(tmp_path: Path, folder: Path, data: Path, parallel: Any) -> None:
    wanted = recipe(data, steps=4, dropout=0.0, prompts=("Explain hello",), answer_tokens=4)
    alone = create(tmp_path, folder, wanted)
    expected = losses(list(follow(alone)))
    run = create(tmp_path, folder, recipe(data, steps=4, dropout=0.0, prompts=("Explain hello",), answer_tokens=4,
                                          devices=2, parallel=parallel))  # fmt: skip
    first: list[JobEvent] = []
    if parallel == "fsdp":  # the other way of checkpoints
        first = together(run, Wish(pause_at=1))
        assert first[-1] == Finished(run.path.name, "paused") and run.saved_steps() == [2]
    second = together(run)
    assert second[-1] == Finished(run.path.name, "stop")
    found = losses(first) | losses(second)
    assert found.keys() == expected.keys() and all(abs(found[step] - expected[step]) < 2e-3 for step in found)
    one, other = (load_file(place.result / "adapter_model.safetensors") for place in (alone, run))
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-2) for name in one)
    assert {answer.step for answer in run.answers()} >= {0, 4}
