"""From a cold start to the first token: `python benchmarks/first_token.py FOLDER` prints one JSON object.

A real inference worker: its Hello, the loading of the model, the first reply, the second turn of the same chat, and the
memory that is the worker's own (USS, which counts no shared or mapped file pages).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import psutil

from app.launch import worker_argv
from app.supervisor import WorkerSupervisor
from core.chat.turns import Sampling, Turn
from core.protocol.messages import Failed, Finished, Generate, Job, JobEvent, LoadModel, ModelLoaded, TextDelta

ASKED = Turn("user", "Explain how rainbows form, step by step.")
SAMPLING = Sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1, max_new_tokens=64)


async def events_of(worker: WorkerSupervisor, job: Job) -> list[tuple[float, JobEvent]]:
    """Events with the seconds since the job was sent."""
    begin, found = time.perf_counter(), []
    async for event in worker.run(job):
        found.append((time.perf_counter() - begin, event))
        if isinstance(event, Failed):
            raise SystemExit(event.detail)
    return found


async def reply(worker: WorkerSupervisor, name: str, turns: tuple[Turn, ...]) -> tuple[str, dict[str, Any]]:
    found = await events_of(worker, Generate(name, turns, SAMPLING))
    text = "".join(event.text for _, event in found if isinstance(event, TextDelta))
    first = next(seconds for seconds, event in found if isinstance(event, TextDelta))
    figures = next(event.figures for _, event in found if isinstance(event, Finished))
    assert figures is not None
    return text, {
        "first_text_s": first,
        "prompt_tokens": figures.prompt_tokens,
        "reused_tokens": figures.reused_tokens,
        "tokens_per_s": figures.tokens_per_s,
    }


def memory_mb() -> float:
    """The worker's own memory; it is our only child."""
    (child,) = psutil.Process().children()
    return float(child.memory_full_info().uss / 1e6)


async def measure(folder: str) -> dict[str, Any]:
    begin = time.perf_counter()
    async with WorkerSupervisor("inference", worker_argv("inference")) as worker:
        hello_s = time.perf_counter() - begin
        events = await events_of(worker, LoadModel("load", "starter", folder))
        loaded = next(event for _, event in events if isinstance(event, ModelLoaded))
        ready_s, loaded_mb = time.perf_counter() - begin, memory_mb()
        text, cold = await reply(worker, "cold", (ASKED,))
        _, warm = await reply(worker, "warm", (ASKED, Turn("assistant", text), Turn("user", "Shorter, please.")))
        return {
            "what": "cold start of the inference worker to its first tokens",
            "hello_s": hello_s,
            "ready_s": ready_s,
            "weights_mb": loaded.weight_bytes / 1e6,
            "memory_loaded_mb": loaded_mb,
            "memory_after_two_turns_mb": memory_mb(),
            "first_turn": cold,
            "second_turn": warm,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1])), indent=2))
