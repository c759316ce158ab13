"""`qwen-workbench chat`: one question and its answer, or a conversation at the terminal. The answer streams.

A base model writes the text on. Files of questions are answered in batch.py.

Text goes to stdout, everything else to stderr. Ctrl-C ends the reply and keeps what came.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.batch import BatchWork, run_batch
from app.cli.notices import Notices
from app.cli.session import inference, library, load_options
from app.cli.text import whole_characters
from app.services.inference import InferenceService, as_error
from core.chat.turns import GREEDY, Sampling, Turn
from core.errors import UserError
from core.load_options import AttentionChoice, DeviceChoice, KVChoice, LoadOptions, WeightChoice
from core.protocol.messages import Failed, Finished, Generate, Progress, PromptRead, TextDelta
from core.translation import say


def chat(
    model: Annotated[str, typer.Option("--model", "-m", help=say("cli.help_model"))],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help=say("cli.help_prompt"))] = "",
    system: Annotated[str, typer.Option("--system", help=say("cli.help_system"))] = "",
    greedy: Annotated[bool, typer.Option("--greedy", help=say("cli.help_greedy"))] = False,
    seed: Annotated[int | None, typer.Option("--seed", help=say("cli.help_seed"))] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help=say("cli.help_longest"))] = 2048,
    adapter: Annotated[str, typer.Option("--adapter", help=say("cli.help_adapter"))] = "",
    batch: Annotated[Path | None, typer.Option("--batch", help=say("cli.help_batch"))] = None,
    out: Annotated[Path | None, typer.Option("--out", help=say("cli.help_batch_out"))] = None,
    weights: Annotated[WeightChoice | None, typer.Option("--weights", help=say("cli.help_weights"))] = None,
    kv_cache: Annotated[KVChoice | None, typer.Option("--kv-cache", help=say("cli.help_kv_cache"))] = None,
    attention: Annotated[AttentionChoice | None, typer.Option("--attention", help=say("cli.help_attention"))] = None,
    device: Annotated[DeviceChoice | None, typer.Option("--device", help=say("cli.help_device"))] = None,
    context_length: Annotated[int | None, typer.Option("--context-length", min=0, help=say("cli.help_context"))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("cli.help_json"))] = False,
) -> None:
    sampling = msgspec.structs.replace(GREEDY if greedy else Sampling(), seed=seed, max_new_tokens=max_new_tokens)
    asked = {"weights": weights, "kv_cache": kv_cache, "attention": attention, "device": device}
    options = load_options(model, {**asked, "context_length": context_length})
    adapter_folder = _adapter_folder(adapter)
    if (batch is None) != (out is None) or (batch and prompt):
        raise typer.BadParameter(say("cli.batch_needs_both"), param_hint="'--batch' / '--out'")
    if batch and out:
        code = run_batch(BatchWork(model, batch, out, system, sampling, adapter_folder, options, as_json))
    else:
        talk = Talk(model, whole_characters(system), sampling, adapter, adapter_folder, options, as_json)
        question = _question(prompt)
        code = asyncio.run(talk.ask_once(question) if question else talk.converse())
    if code:
        raise typer.Exit(code)


def _adapter_folder(adapter: str) -> str:
    """Of one of the library by its name, as --model takes it, or of any folder."""
    if not adapter:
        return ""
    try:
        named = library().files_of(adapter).adapter
    except UserError:
        named = None
    folder = named or Path(adapter)
    if not folder.is_dir():
        raise UserError("adapter_folder_missing", folder=adapter)
    return str(folder.absolute())


def _question(prompt: str) -> str:
    """From the option or a pipe; empty when somebody sits at the terminal. Only the last line break of a pipe goes: a
    base model goes on exactly where a text ends."""
    is_terminal = sys.stdin.isatty()
    question = whole_characters(prompt or ("" if is_terminal else sys.stdin.read().removesuffix("\n")))
    if not question.strip() and not is_terminal:
        raise UserError("nothing_asked")
    return question


class Talk:
    """A conversation that lives as long as the command."""

    def __init__(
        self,
        model: str,
        system: str,
        sampling: Sampling,
        adapter: str,
        adapter_folder: str,
        options: LoadOptions,
        as_json: bool,
    ) -> None:
        self._model, self._adapter_folder, self._options = model, adapter_folder, options
        self._made_with = {"model": model} | ({"adapter": adapter} if adapter else {})
        self._notices = Notices(has_system_prompt=bool(system))
        self._turns = [Turn("system", system)] if system else []
        self._sampling = sampling
        self._as_json = as_json

    async def ask_once(self, question: str) -> int:
        async with inference(self._options) as service:
            reply, end = await self._reply(service, question)
        figures = msgspec.to_builtins(end.figures) if end.figures else None
        if self._as_json:
            answer = {**self._made_with, "text": reply.text, "thinking": reply.thinking}
            print(json.dumps({**answer, "finish_reason": end.reason, "figures": figures}, ensure_ascii=False))
        return 130 if end.reason == "cancelled" else 0

    async def converse(self) -> int:
        """Until an empty line or end of file."""
        print(say("cli.chat_hint"), file=sys.stderr)
        async with inference(self._options) as service:
            while question := (await asyncio.to_thread(_read_line)).strip():
                try:
                    await self._reply(service, question)
                except UserError as error:
                    print(error, file=sys.stderr)
        return 0

    async def _reply(self, service: InferenceService, question: str) -> tuple[Turn, Finished]:
        turns = (*self._turns, Turn("user", question))
        job = Generate(uuid.uuid4().hex, turns, self._sampling, adapter=self._adapter_folder)
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
                case PromptRead():
                    self._notices.tell(service)
                case TextDelta():
                    (thinking if event.thinking else text).append(event.text)
                    self._show(event)
                case Finished():
                    if not self._as_json:
                        print(flush=True)
                    if event.reason == "context_full":
                        print(say("cli.context_full"), file=sys.stderr)
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
