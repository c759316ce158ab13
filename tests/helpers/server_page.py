"""The server page in the whole window, with the real model worker and tiny models in the library."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.context import AppContext
from app.launch import worker_argv
from app.ui.server.page import ServerPage
from app.ui.window import Window
from core import paths
from core.models import manifest
from core.models.manifest import Manifest
from tests.helpers import fake_model, tiny_adapters, tiny_models
from tests.helpers.live_window import live, settle
from tests.helpers.waiting import until

LONG_S = 60.0
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi there"}], "max_tokens": 8, "temperature": 0}
ENDLESS: dict[str, Any] = ASKED | {
    "max_tokens": 900,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000}},
    },
}


def put_models(*names: str, adapter: str = "") -> None:
    """Tiny models with random weights; the adapter belongs to the first of them."""
    for name in names:
        folder = tiny_models.write_model(paths.models() / name)
        _record(folder, "Qwen3ForCausalLM", "qwen3")
    if adapter:
        folder = paths.models() / adapter
        tiny_adapters.write(folder, tiny_models.model("qwen3"), target_modules=["q_proj", "up_proj"], base=names[0])
        _record(folder, "LoRA", "", base=names[0])


def _record(folder: Path, architecture: str, model_type: str, base: str = "") -> None:
    facts = Manifest(folder.name, "a test", architecture, model_type, "float32", 200_000, 1024, (), base=base)
    manifest.write(folder, facts)


@asynccontextmanager
async def server_window(
    width: int = 1440, height: int = 900, *, real: bool = True, port: int = 0
) -> AsyncIterator[tuple[Window, AppContext, ServerPage]]:
    """On the page, at a free port; real: with the worker that has models, else with one that only says so."""
    models: Sequence[str] = worker_argv("inference") if real else fake_model.ARGV
    async with live(width, height, models=models) as (window, context):
        context.server.change(port=port or free_port())
        yield window, context, await page_of(window)


async def page_of(window: Window) -> ServerPage:
    page = window.go("server")
    assert isinstance(page, ServerPage)
    await until(lambda: page.local.is_built, LONG_S)
    await settle(3)
    return page


async def opened(page: ServerPage, context: AppContext) -> str:
    """By its button; the address."""
    page.turn.click()
    await until(lambda: context.serving.state.phase == "open" or context.serving.state.error, LONG_S)
    assert context.serving.state.error is None
    await until(lambda: page.local.state.main.address.startswith(context.serving.state.address), LONG_S)
    return context.serving.state.address


@asynccontextmanager
async def endless(address: str, key: str, **fields: Any) -> AsyncIterator[None]:
    """A client that is always being answered, and leaves amid an answer at the end."""

    async def ask() -> None:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(headers=headers, timeout=LONG_S) as client:
            while True:
                answer = await client.post(f"{address}/v1/chat/completions", json=ENDLESS | fields)
                assert answer.status_code == 200

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def run(*command: str) -> tuple[int, str]:
    """A program of its own: exit code, and what it printed."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await asyncio.create_subprocess_exec(*command, **pipes)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])
