"""`qwen-workbench serve`: a model for other programs, until Ctrl-C.

With --json there is a line for every thing that happens; else where the server is and one line a request, on stderr but
for the address. Invariant: neither a key nor a word of a request is ever printed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Annotated

import typer

from app.cli.session import inference, library, load_options
from app.services.addresses import reach
from app.services.inference import ModelState
from app.services.serving import ANYWHERE, ServerOptions, ServerState, ServingService, served_adapters
from core import log, paths
from core.errors import Param
from core.load_options import DeviceChoice, KVChoice, LoadOptions, WeightChoice
from core.protocol.serving import RequestEnded, RequestsRefused
from core.translation import say

KEY_VARIABLE = "QWEN_WORKBENCH_API_KEY"  # which, unlike an argument, no list of processes shows


def serve(
    model: Annotated[str, typer.Option("--model", "-m", help=say("cli.help_model"))],
    host: Annotated[str, typer.Option("--host", help=say("cli.help_host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=say("cli.help_port"))] = 8000,
    api_key: Annotated[
        list[str] | None, typer.Option("--api-key", envvar=KEY_VARIABLE, help=say("cli.help_api_key"))
    ] = None,
    allow_origin: Annotated[list[str] | None, typer.Option("--allow-origin", help=say("cli.help_allow_origin"))] = None,
    allow_host: Annotated[list[str] | None, typer.Option("--allow-host", help=say("cli.help_allow_host"))] = None,
    weights: Annotated[WeightChoice | None, typer.Option("--weights", help=say("cli.help_weights"))] = None,
    kv_cache: Annotated[KVChoice | None, typer.Option("--kv-cache", help=say("cli.help_kv_cache"))] = None,
    device: Annotated[DeviceChoice | None, typer.Option("--device", help=say("cli.help_device"))] = None,
    context_length: Annotated[int | None, typer.Option("--context-length", min=0, help=say("cli.help_context"))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("cli.help_json"))] = False,
) -> None:
    asked = {"weights": weights, "kv_cache": kv_cache, "device": device, "context_length": context_length}
    options = load_options(model, asked)
    server = ServerOptions(host, port, tuple(api_key or ()), tuple(allow_origin or ()), tuple(allow_host or ()))
    log.start(paths.logs())
    try:
        asyncio.run(_serve(model, options, server, _Teller(as_json)))
    finally:
        log.stop()


async def _serve(model: str, options: LoadOptions, server: ServerOptions, teller: _Teller) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        async with inference(options) as service:
            serving = ServingService(service, lambda: served_adapters(library()))
            serving.changed.listen(teller.on_change)
            service.changed.listen(lambda state: teller.on_model(state, options.context_length))
            serving.ended.listen(teller.on_end)
            serving.refused.listen(teller.on_refusal)
            await _until(ended, serving, model, server, teller)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    teller.closed()


async def _until(
    ended: asyncio.Event, serving: ServingService, model: str, server: ServerOptions, teller: _Teller
) -> None:
    """Open until a signal comes or it closes by itself."""

    async def run() -> None:
        address = await serving.start(model, server)
        others = (await asyncio.to_thread(reach)).addresses if server.host in ANYWHERE else ()
        reached = [f"http://{one}:{address.rpartition(':')[2]}" for one in others]
        teller.opened(model, address, reached, server.origins)
        await serving.closed()

    work, signalled = asyncio.create_task(run()), asyncio.create_task(ended.wait())
    try:
        await asyncio.wait((work, signalled), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            if serving.state.error is not None:
                raise serving.state.error
    finally:
        await serving.stop()
        for task in (work, signalled):
            task.cancel()
        await asyncio.gather(work, signalled, return_exceptions=True)


class _Teller:
    """What is said of the server, for people or for scripts."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._deaths = 0
        self._is_loading = self._is_shorter = False

    def opened(self, model: str, address: str, others: list[str], origins: tuple[str, ...] = ()) -> None:
        """others: addresses by which other machines come; origins: of pages that may ask."""
        if "*" in origins:
            print(say("cli.serving_any_page"), file=sys.stderr)
        if self._as_json:
            told: dict[str, object] = {"event": "serving", "model": model, "address": address}
            self._line(told | {"base_url": f"{address}/v1", "network": others})
            return
        print(say("cli.serving", model=model, address=address), flush=True)
        if others:
            print(say("cli.serving_network", addresses=", ".join(f"{one}/" for one in others)), flush=True)

    def on_change(self, state: ServerState) -> None:
        if state.phase == "opening" and not self._is_loading and not self._as_json:
            print(say("cli.serving_loading", model=state.model), file=sys.stderr)
        self._is_loading = state.phase == "opening"
        if state.phase == "open" and state.deaths > self._deaths:
            self._deaths = state.deaths
            if self._as_json:
                self._line({"event": "reopened", "address": state.address, "deaths": state.deaths})
            else:
                print(say("cli.serving_again"), file=sys.stderr)

    def on_model(self, state: ModelState, asked: int) -> None:
        """Says once that the model cannot hold as many tokens as was asked for."""
        had = state.loaded.context_length if state.phase == "ready" and state.loaded is not None else 0
        if had and asked > had and not self._is_shorter:
            self._is_shorter = True
            print(say("cli.context_shorter", name=state.name, asked=asked, had=had), file=sys.stderr)

    def on_end(self, ended: RequestEnded) -> None:
        one = ended.request
        if self._as_json:
            told = {
                "event": "request", "id": one.id, "path": one.path, "model": one.model, "client": one.client,
                "status": ended.status, "end": ended.end, "code": ended.code, "prompt_tokens": one.prompt_tokens,
                "new_tokens": one.new_tokens, "seconds": round(one.seconds, 3),
                "tokens_per_s": round(one.tokens_per_s, 2), "malformed_calls": ended.malformed_calls,
            }  # fmt: skip
            self._line(told)
            return
        figures: dict[str, Param] = {"prompt": one.prompt_tokens, "new": one.new_tokens}
        figures |= {"seconds": f"{one.seconds:.1f}", "status": ended.status}
        print(say("cli.served", path=one.path, model=one.model, **figures), file=sys.stderr)

    def on_refusal(self, refused: RequestsRefused) -> None:
        path, code, count = refused.path or "/…", refused.code, refused.count
        if self._as_json:
            told = {"event": "refused", "path": path, "client": refused.client, "status": refused.status}
            self._line(told | {"code": code, "count": count})
        else:
            status = refused.status
            print(say("cli.serve_refused", path=path, status=status, code=code, count=count), file=sys.stderr)

    def closed(self) -> None:
        if self._as_json:
            self._line({"event": "closed"})
        else:
            print(say("cli.serving_ended"), file=sys.stderr)

    def _line(self, told: dict[str, object]) -> None:
        print(json.dumps(told, ensure_ascii=False), flush=True)
