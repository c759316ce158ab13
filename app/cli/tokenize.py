"""`qwen-workbench tokenize`: what a model's tokenizer makes of a text. The tokenizer works in the model worker.

`tokenize extend` stands in extend.py.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer

from app.cli.extend import extend
from app.cli.session import inference
from app.cli.text import piped, whole_characters
from core.protocol.messages import Tokenized
from core.translation import say

app = typer.Typer(invoke_without_command=True)
app.command("extend", help=say("cli.extend"))(extend)


@app.callback()
def tokenize(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", help=say("cli.help_model"))] = "",
    text: Annotated[str | None, typer.Option("--text", help=say("cli.help_text"))] = None,
    unsafe_special: Annotated[bool, typer.Option("--unsafe-special", help=say("cli.help_unsafe"))] = False,
    as_json: Annotated[bool, typer.Option("--json", help=say("cli.help_json"))] = False,
) -> None:
    if context.invoked_subcommand:
        return
    if not model:
        raise typer.BadParameter(say("cli.model_missing"), context, param_hint="'--model' / '-m'")
    words = piped() if text is None else whole_characters(text)
    found = asyncio.run(_tokens(model, words, unsafe_special))
    (_print_json if as_json else _print_lines)(found, words)


async def _tokens(model: str, text: str, unsafe_special: bool) -> Tokenized:
    async with inference() as service:
        return await service.read_tokens(model, text, unsafe_special=unsafe_special)


def _print_json(found: Tokenized, text: str) -> None:
    rows = [
        {"id": token.id, "text": token.text, "bytes": token.data.hex(), "control": token.is_control}
        for token in found.tokens
    ]
    counts = {"count": len(rows), "characters": len(text), "entries": found.entries, "rows": found.rows}
    print(json.dumps({**counts, "tokens": rows}, ensure_ascii=False))


def _print_lines(found: Tokenized, text: str) -> None:
    for token in found.tokens:
        mark = "\t[control]" if token.is_control else ""
        print(f"{token.id}\t{token.text!r}\t{token.data.hex(' ')}{mark}")
    counts = {"tokens": len(found.tokens), "characters": len(text), "entries": found.entries}
    print(say("cli.token_counts_rows", rows=found.rows, **counts) if found.rows else say("cli.token_counts", **counts))
