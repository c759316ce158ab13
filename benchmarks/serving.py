"""What the HTTP door costs: `python -m benchmarks.serving [--model FOLDER]`.

Without a folder a tiny random model answers, whose own work is small, so that the door's shows. The same generations go
through the pipe of the worker and through the door:

- door_cpu_ms_per_token: processor time of the door's threads for each streamed token
- added_cpu_ms_per_token: that of the whole worker over HTTP, less that through the pipe
- added_first_token_ms: median time to the first text over HTTP, less that through the pipe, in turn
- eight_clients_against_one: all tokens a second of eight clients at once, over those of one, median of three
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from app.services.inference import InferenceService, ModelFiles
from app.services.serving import ServerOptions, ServingService
from core.chat.turns import GREEDY, Turn
from core.protocol.messages import Failed, Finished, Generate, TextDelta

WORDS = "Tell a long story about a river, number {}."
ROUNDS, TOGETHER = 30, 3


class Bench:
    def __init__(self, inference: InferenceService, client: httpx.AsyncClient, tokens: int) -> None:
        self._inference, self._client, self._tokens = inference, client, tokens
        self._number = 0
        self.address = ""

    def _words(self) -> str:
        """New ones each time: nothing of the prompt is in the cache but its beginning."""
        self._number += 1
        return WORDS.format(self._number)

    async def by_pipe(self, tokens: int) -> tuple[float, int]:
        """Seconds to the first text; tokens."""
        sampling = msgspec.structs.replace(GREEDY, max_new_tokens=tokens)
        job = Generate(f"bench-{self._number}", (Turn("user", self._words()),), sampling)
        began, first, count = time.perf_counter(), 0.0, 0
        async for event in self._inference.generate("model", job):
            if isinstance(event, TextDelta):
                first = first or time.perf_counter() - began
            elif isinstance(event, Finished) and event.figures:
                count = event.figures.new_tokens
            elif isinstance(event, Failed):
                raise RuntimeError(event.detail)
        return first, count

    async def by_http(self, tokens: int, *, temperature: float = 0.0) -> tuple[float, int]:
        body: dict[str, Any] = {
            "model": "model",
            "messages": [{"role": "user", "content": self._words()}],
            "max_tokens": tokens,
            "temperature": temperature,
            "seed": self._number,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began, first, count = time.perf_counter(), 0.0, 0
        async with self._client.stream("POST", f"{self.address}/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                told = json.loads(line.removeprefix("data: "))
                if told["choices"] and told["choices"][0]["delta"].get("content"):
                    first = first or time.perf_counter() - began
                count = (told.get("usage") or {}).get("completion_tokens", count)
        return first, count


def cpu_s(worker: psutil.Process) -> float:
    times = worker.cpu_times()
    return float(times.user + times.system)


def threads_s(worker: psutil.Process, known: set[int]) -> float:
    """Of the threads that came after those known."""
    return float(sum(one.user_time + one.system_time for one in worker.threads() if one.id not in known))


async def measure(folder: Path, tokens: int) -> dict[str, Any]:
    inference = InferenceService(lambda name: ModelFiles(name, folder))
    serving = ServingService(inference)
    try:
        async with httpx.AsyncClient(timeout=600) as client:
            bench = Bench(inference, client, tokens)
            await inference.load("model")
            worker = psutil.Process().children()[0]
            await bench.by_pipe(8)
            known = {thread.id for thread in worker.threads()}
            bench.address = await serving.start("model", ServerOptions(port=0))
            await bench.by_http(8)
            return {**await costs(bench, worker, known, tokens), **await together(bench, tokens)}
    finally:
        await serving.stop()
        await inference.close()


async def costs(bench: Bench, worker: psutil.Process, known: set[int], tokens: int) -> dict[str, Any]:
    pipe_s = http_s = door_s = 0.0
    pipe_tokens = http_tokens = 0
    for _ in range(4):
        before = cpu_s(worker)
        pipe_tokens += (await bench.by_pipe(tokens))[1]
        between, door = cpu_s(worker), threads_s(worker, known)
        http_tokens += (await bench.by_http(tokens))[1]
        pipe_s, http_s = pipe_s + between - before, http_s + cpu_s(worker) - between
        door_s += threads_s(worker, known) - door
    firsts = [((await bench.by_pipe(1))[0], (await bench.by_http(1))[0]) for _ in range(ROUNDS)]
    pipe_first, http_first = (statistics.median(times) * 1000 for times in zip(*firsts, strict=True))
    return {
        "tokens": http_tokens,
        "door_cpu_ms_per_token": round(door_s / http_tokens * 1000, 3),
        "added_cpu_ms_per_token": round((http_s / http_tokens - pipe_s / pipe_tokens) * 1000, 3),
        "first_token_ms": round(http_first, 1),
        "added_first_token_ms": round(http_first - pipe_first, 1),
    }


async def together(bench: Bench, tokens: int) -> dict[str, Any]:
    """In turn. With chance, since greedy tokens of a single client may come by guesses, several at a time."""
    alone, eight = [], []
    for _ in range(TOGETHER):
        alone.append(await rate(bench, 1, tokens))
        eight.append(await rate(bench, 8, tokens))
    ratios = [many / one for one, many in zip(alone, eight, strict=True)]
    return {
        "tokens_per_s_one": round(statistics.median(alone), 1),
        "tokens_per_s_eight": round(statistics.median(eight), 1),
        "eight_clients_against_one": round(statistics.median(ratios), 2),
    }


async def rate(bench: Bench, clients: int, tokens: int) -> float:
    """All tokens a second of so many clients at once."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(bench.by_http(tokens, temperature=1.0) for _ in range(clients)))
    return sum(count for _, count in counts) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model folder")
    parser.add_argument("--tokens", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            from tests.helpers import tiny_models

            model = tiny_models.write_model(Path(folder) / "tiny")
        figures = asyncio.run(measure(model, options.tokens))
    print(json.dumps({"model": str(options.model or "tiny"), **figures}))


if __name__ == "__main__":
    main()
