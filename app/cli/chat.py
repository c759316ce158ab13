"""`qwen-workbench chat`: one question and its answer, or a conversation at the terminal. The answer streams.

Text goes to stdout, everything else to stderr. Ctrl-C ends the reply and keeps what came.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from typing import Annotated

import msgspec
import typer

from app.cli.session import inference
from app.services.inference import InferenceService, as_error
from core.chat.turns import GREEDY, Sampling, Turn
from core.errors import UserError
from core.protocol.messages import Failed, Finished, Generate, Progress, TextDelta
from core.translation import say


def chat(
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the library, a folder, or `starter`.")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="The question; without it, standard input.")] = "",
    system: Annotated[str, typer.Option("--system", help="The system prompt.")] = "",
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Makes the sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="The longest reply.")] = 2048,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object when the reply is whole.")] = False,
) -> None:
    choice = msgspec.structs.replace(GREEDY if greedy else Sampling(), seed=seed, max_new_tokens=max_new_tokens)
    talk = Talk(model, system, choice, as_json)
    question = prompt or ("" if sys.stdin.isatty() else sys.stdin.read().strip())
    if not question and not sys.stdin.isatty():
        raise UserError("nothing_asked")
    code = asyncio.run(talk.ask_once(question) if question else talk.converse())
    if code:
        raise typer.Exit(code)


class Talk:
    """A conversation that lives as long as the command."""

    def __init__(self, model: str, system: str, sampling: Sampling, as_json: bool) -> None:
        self._model = model
        self._turns = [Turn("system", system)] if system else []
        self._sampling = sampling
        self._as_json = as_json

    async def ask_once(self, question: str) -> int:
        async with inference() as service:
            reply, end = await self._reply(service, question)
        figures = msgspec.to_builtins(end.figures) if end.figures else None
        if self._as_json:
            answer = {"model": self._model, "text": reply.text, "thinking": reply.thinking}
            print(json.dumps({**answer, "finish_reason": end.reason, "figures": figures}, ensure_ascii=False))
        return 130 if end.reason == "cancelled" else 0

    async def converse(self) -> int:
        """Until an empty line or end of file."""
        print(say("cli.chat_hint"), file=sys.stderr)
        async with inference() as service:
            while question := (await asyncio.to_thread(_read_line)).strip():
                try:
                    await self._reply(service, question)
                except UserError as error:
                    print(error, file=sys.stderr)
        return 0

    async def _reply(self, service: InferenceService, question: str) -> tuple[Turn, Finished]:
        job = Generate(uuid.uuid4().hex, (*self._turns, Turn("user", question)), self._sampling)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, service.cancel, job.job_id)
        try:
            reply, end = await self._stream(service, job)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        self._turns += [Turn("user", question), reply]
        return reply, end

    async def _stream(self, service: InferenceService, job: Generate) -> tuple[Turn, Finished]:
        text: list[str] = []
        thinking: list[str] = []
        async for event in service.generate(self._model, job):
            match event:
                case Progress():
                    _show_progress(event)
                case TextDelta():
                    (thinking if event.thinking else text).append(event.text)
                    self._show(event)
                case Finished():
                    if not self._as_json:
                        print(flush=True)
                    return Turn("assistant", "".join(text), "".join(thinking)), event
                case Failed():
                    raise as_error(event)
                case _:
                    pass
        raise RuntimeError("the reply has no end")

    def _show(self, delta: TextDelta) -> None:
        if not self._as_json:
            out = sys.stderr if delta.thinking else sys.stdout
            print(delta.text, end="", flush=True, file=out)


def _show_progress(event: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r{say(f'progress.{event.stage}')}\033[K", end="", file=sys.stderr, flush=True)
        if event.total and event.done >= event.total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _read_line() -> str:
    try:
        return input("> ")
    except EOFError:
        return ""
