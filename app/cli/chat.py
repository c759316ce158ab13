"""`qwen-workbench chat`: one question and its answer, which streams, or a conversation at the terminal (terminal/).

A base model writes the text on. Files of questions are answered in batch.py.

Text goes to stdout, everything else to stderr. Ctrl-C ends the reply and keeps what came.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from app.cli.batch import BatchWork, run_batch
from app.cli.screen import Plain, Screen, Silent
from app.cli.session import check_elsewhere, inference, library, load_options
from app.cli.talk import Talk
from app.cli.text import piped, whole_characters
from core.chat.turns import GREEDY, HIGHEST_SEED, MOST_NEW_TOKENS, Sampling
from core.errors import UserError
from core.load_options import AttentionChoice, DeviceChoice, KVChoice, LoadOptions, WeightChoice
from core.models.adapter import is_adapter
from core.translation import say


def chat(
    model: Annotated[str, typer.Option("--model", "-m", help=say("cli.help_model"))],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help=say("cli.help_prompt"))] = "",
    system: Annotated[str, typer.Option("--system", help=say("cli.help_system"))] = "",
    greedy: Annotated[bool, typer.Option("--greedy", help=say("cli.help_greedy"))] = False,
    seed: Annotated[int | None, typer.Option("--seed", min=0, max=HIGHEST_SEED, help=say("cli.help_seed"))] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, max=MOST_NEW_TOKENS, help=say("cli.help_longest"))
    ] = 2048,
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
    kinds = {"weights": weights, "kv_cache": kv_cache, "attention": attention, "device": device}
    asked = {**kinds, "context_length": context_length}
    check_elsewhere(model, asked)
    options = load_options(model, asked)
    adapter_folder = _adapter_folder(adapter)
    if (batch is None) != (out is None) or (batch and prompt):
        raise typer.BadParameter(say("cli.batch_needs_both"), param_hint="'--batch' / '--out'")
    if batch and out:
        code = run_batch(BatchWork(model, batch, out, system, sampling, adapter_folder, options, as_json))
    elif question := _question(prompt, needs_one=as_json):
        made_with = {"model": model} | ({"adapter": adapter} if adapter else {})
        screen = Silent() if as_json else _screen()
        talk = Talk(model, whole_characters(system), sampling, adapter_folder, screen)
        code = asyncio.run(_ask(talk, question, options, made_with if as_json else None))
    else:
        from app.cli.terminal.conversation import converse

        code = asyncio.run(converse(model, whole_characters(system), sampling, adapter_folder, options))
    if code:
        raise typer.Exit(code)


def _adapter_folder(adapter: str) -> str:
    """Of one of the library by its name, as --model takes it, or of any folder.

    Raises:
        UserError: adapter_is_model, adapter_folder_missing.
    """
    if not adapter:
        return ""
    try:
        named = library().files_of(adapter)
    except UserError:
        named = None
    folder = named.adapter if named and named.adapter else Path(adapter)
    if named and not is_adapter(folder):
        raise UserError("adapter_is_model", name=adapter)
    if not folder.is_dir():
        raise UserError("adapter_folder_missing", folder=adapter)
    return str(folder.absolute())


def _question(prompt: str, *, needs_one: bool) -> str:
    """From the option or a pipe; empty when somebody sits at the terminal. Only the last line break of a pipe goes: a
    base model goes on exactly where a text ends.

    Raises:
        UserError: nothing_asked.
    """
    is_terminal = sys.stdin.isatty()
    question = whole_characters(prompt) or ("" if is_terminal else piped())
    if not question.strip() and (needs_one or not is_terminal):
        raise UserError("nothing_asked")
    return question


def _screen() -> Screen:
    """Markdown on a terminal, text in a pipe."""
    if not sys.stdout.isatty():
        return Plain()
    from app.cli.terminal.screen import screen

    return screen(folds=False)


async def _ask(talk: Talk, question: str, options: LoadOptions, made_with: dict[str, str] | None) -> int:
    """The exit code. made_with: what to tell of the model in one object of JSON; None prints the text only."""
    async with inference(options) as service:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, talk.stop, service)
        try:
            reply = await talk.ask(service, question)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
    end, turn = reply.end, reply.turn
    if made_with is not None:
        answer: dict[str, object] = {
            **made_with,
            "text": turn.text,
            "thinking": turn.thinking,
            "finish_reason": end.reason,
        }
        answer["figures"] = msgspec.to_builtins(end.figures) if end.figures else None
        print(json.dumps(answer, ensure_ascii=False))
    if end.reason == "context_full":
        print(say("cli.context_full"), file=sys.stderr)
    return 130 if end.reason == "cancelled" else 0
