"""Capturing leaves the state as it was, and what goes wrong in it is said; on a stand-in for CUDA's graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar

import pytest
import torch

from core.inference.card import graph
from core.inference.card.graph import WARM_UPS, CaptureFailed, captured

CPU = torch.device("cpu")


class Stream:
    def __init__(self, device: torch.device | None = None) -> None:
        self.waited: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        self.waited.append(other)

    def synchronize(self) -> None:
        pass


class Graph:
    """Remembers the call that was made while it captured."""

    made: ClassVar[list[Graph]] = []

    def __init__(self) -> None:
        self.is_capturing = False
        self.ended = 0
        Graph.made.append(self)

    def capture_begin(self, **options: Any) -> None:
        assert options == {"capture_error_mode": "thread_local"}
        self.is_capturing = True

    def capture_end(self) -> None:
        self.is_capturing = False
        self.ended += 1

    def replay(self) -> str:
        return "replayed"


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Stream:
    current = Stream()
    Graph.made.clear()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return current


def test_warming_up_changes_nothing_and_the_capture_itself_runs_once(cuda: Stream) -> None:
    state, calls = torch.tensor([7]), []

    def call() -> None:
        calls.append((int(state), bool(Graph.made and Graph.made[-1].is_capturing)))
        if not calls[-1][1]:  # a captured call is only written down
            state.add_(1)

    replay = captured(call, [state], CPU)
    assert calls == [(7, False)] * WARM_UPS + [(7, True)]
    assert int(state) == 7 and replay() == "replayed" and Graph.made[0].ended == 1  # type: ignore[func-returns-value]
    assert len(cuda.waited) == 1


def failing(where: str) -> Callable[[], None]:
    def call() -> None:
        if where == "warming up" or (Graph.made and Graph.made[-1].is_capturing):
            raise RuntimeError("operation not permitted\nwith a second line")

    return call


@pytest.mark.parametrize("where", ["warming up", "capturing"])
def test_a_failure_is_said_in_one_line_and_the_stream_is_left_in_order(where: str, cuda: Stream) -> None:
    with pytest.raises(CaptureFailed, match=r"^operation not permitted$"):
        captured(failing(where), [], CPU)
    assert len(cuda.waited) == 1
    assert [made.ended for made in Graph.made] == ([] if where == "warming up" else [1])


def test_a_capture_that_cannot_be_ended_tells_the_first_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Graph) -> None:
        raise RuntimeError("capture is invalid")

    monkeypatch.setattr(Graph, "capture_end", refuse)
    with pytest.raises(CaptureFailed, match="not permitted"):
        captured(failing("capturing"), [], CPU)
    assert graph.WARM_UPS >= 1
