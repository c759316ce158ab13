"""The server's service with its real worker: it comes back after a death, and says why it cannot open."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.services.inference import InferenceService, ModelFiles
from app.services.serving import ServerOptions, ServerState, ServingService, check
from app.services.stream_keeper import StreamKeeper
from core.chat.turns import GREEDY, Turn
from core.errors import UserError
from core.protocol.messages import Finished, Generate
from core.protocol.serving import RequestEnded
from tests.helpers import tiny_models, tiny_qwen_v1
from tests.helpers.waiting import until

ANY_PORT = ServerOptions(port=0)
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "stream": True,
    "max_tokens": 900,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000}},
    },
}

CALL = {
    "messages": [{"role": "user", "content": "Weather?"}],
    "functions": [{"name": "weather", "parameters": {"type": "object", "additionalProperties": False}}],
    "function_call": {"name": "weather"},
    "temperature": 0,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.write_model(folder / "one")
    tiny_qwen_v1.write_model(folder / "first-chat", seq_length=4096, max_position_embeddings=4096)
    return folder


@asynccontextmanager
async def services(models: Path) -> AsyncIterator[tuple[InferenceService, ServingService]]:
    inference = InferenceService(lambda name: ModelFiles(name, models / name))
    serving = ServingService(inference)
    try:
        yield inference, serving
    finally:
        await serving.stop()
        await inference.close()


@pytest.mark.errors_logged
@pytest.mark.loops("asyncio")  # the keeper has a test on both
async def test_a_killed_worker_costs_its_streams_a_word_and_the_server_comes_back(models: Path) -> None:
    async with services(models) as (_, serving), httpx.AsyncClient(timeout=30) as client:
        ended: list[RequestEnded] = []
        serving.ended.listen(ended.append)
        address = await serving.start("one", ANY_PORT)
        lines: list[str] = []
        whole = asyncio.create_task(client.post(f"{address}/v1/chat/completions", json=ENDLESS | {"stream": False}))
        await until(lambda: any(one.state == "answering" for one in serving.state.live))
        async with client.stream("POST", f"{address}/v1/chat/completions", json=ENDLESS) as answer:
            async for line in answer.aiter_lines():
                lines += [line] if line else []
                if len(lines) == 3:
                    os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "api_model_ended"
        lost = await whole
        assert lost.status_code == 503 and lost.json()["error"]["code"] == "api_model_ended"
        assert int(lost.headers["retry-after"]) > 0
        await until(lambda: serving.state.phase == "opening")
        for path, body in (("/health", None), ("/v1/chat/completions", {"prompt": "x" * 1_000_000})):
            away = await client.request("POST" if body else "GET", f"{address}{path}", json=body)
            assert away.status_code == 503 and away.json()["error"]["code"] == "api_loading", "the port stays ours"
        person = await client.get(f"{address}/", headers={"accept": "text/html"})
        assert person.headers["content-type"].startswith("text/html") and "refresh" in person.text
        await until(lambda: serving.state.phase == "open" and serving.state.deaths == 1, 60)
        assert [(one.end, one.status, one.code) for one in ended] == [("failed", 503, "api_model_ended")] * 2
        assert serving.state.address == address
        again = await client.post(f"{address}/v1/chat/completions", json=ENDLESS | {"stream": False, "max_tokens": 3})
        assert again.status_code == 200
    assert serving.state == ServerState(model="one")


@pytest.mark.loops("asyncio")
async def test_requests_are_seen_while_they_run_and_end_with_the_server(models: Path) -> None:
    seen: list[ServerState] = []
    ended: list[RequestEnded] = []
    async with services(models) as (inference, serving), httpx.AsyncClient(timeout=30) as client:
        serving.changed.listen(seen.append)
        serving.ended.listen(ended.append)
        address = await serving.start("one", ANY_PORT)
        async with client.stream("POST", f"{address}/v1/chat/completions", json=ENDLESS) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            chat = Generate("chat", (Turn("user", "Hi"),), GREEDY)
            events = [event async for event in inference.generate("one", chat)]
            assert isinstance(events[-1], Finished), "a chat is answered beside it"
            await serving.stop()
            rest = [line async for line in lines if line]
        assert "api_stopping" in rest[-1] and ended[-1].end == "failed"
        assert any(state.live and state.live[0].state == "answering" for state in seen)
        assert inference.state.phase == "ready", "the model stays"
        second = await serving.start("first-chat", ANY_PORT)
        assert (await client.get(f"{second}/v1/models")).json()["data"][0]["id"] == "first-chat"
        called = (await client.post(f"{second}/v1/chat/completions", json=CALL)).json()["choices"][0]
        assert called["finish_reason"] == "function_call" and called["message"]["function_call"]["name"] == "weather"
        await inference.load("one")
        assert (await client.get(f"{second}/v1/models")).json()["data"][0]["id"] == "one"


@pytest.mark.loops("asyncio")
async def test_a_port_that_is_taken_is_told(models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with services(models) as (_, serving):
            with pytest.raises(UserError) as told:
                await serving.start("one", ServerOptions(port=taken.getsockname()[1]))
    assert told.value.code == "port_taken" and serving.state.phase == "closed"


async def test_a_stream_ends_with_a_word_only_when_its_worker_is_gone(home: Path) -> None:
    """A worker of one socket: a stream is kept, one is over, and the line ends."""
    keeper = StreamKeeper()
    keeper.open()
    line = socket.socket(socket.AF_UNIX)
    line.connect(keeper.path)
    pairs = [socket.socketpair() for _ in range(3)]
    for number, (client, served) in enumerate(pairs):
        client.setblocking(False)
        socket.send_fds(line, [b"?" + bytes(7) + bytes([number])], [served.fileno()])
        served.close()
    line.sendall(b"-" + bytes(8) + b"+" + bytes(7) + b"\x01")
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, select.select, [pairs[0][0]], [], [], 5) and pairs[0][0].recv(9) == b""
    line.close()
    await loop.run_in_executor(None, select.select, [pairs[1][0]], [], [], 5)
    assert b"api_model_ended" in (event := pairs[1][0].recv(9999)) and not event.startswith(b"HTTP")
    assert pairs[2][0].recv(9999).startswith(b"HTTP/1.1 503 "), "where nothing has been said yet, the whole answer"
    keeper.close()
    for client, _ in pairs:
        client.close()
    assert not Path(keeper.path or "/nowhere").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (ServerOptions(host="0.0.0.0"), "serve_needs_key"),
        (ServerOptions(host="192.168.1.5"), "serve_needs_key"),
        (ServerOptions(keys=("a b",)), "api_key_unusable"),
        (ServerOptions(keys=("",)), "api_key_unusable"),
        (ServerOptions(keys=("钥匙",)), "api_key_unusable"),
        (ServerOptions(origins=("example.com",)), "origin_unusable"),
    ],
)
def test_a_server_that_would_be_open_to_all_is_not_opened(options: ServerOptions, code: str) -> None:
    with pytest.raises(UserError) as told:
        check(options)
    assert told.value.code == code
    check(ServerOptions(host="0.0.0.0", keys=("secret",), origins=("https://a.example", "*")))
