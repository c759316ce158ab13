"""`qwen-workbench tokenize`: what a model's tokenizer makes of a text. The tokenizer works in the model worker."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer

from app.cli.session import inference
from core.protocol.messages import Token


def tokenize(
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the library, a folder, or `starter`.")],
    text: Annotated[str | None, typer.Option("--text", help="The text; without it, standard input.")] = None,
    unsafe_special: Annotated[
        bool, typer.Option("--unsafe-special", help="Let control tokens in the text become control tokens.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    words = sys.stdin.read() if text is None else text
    tokens = asyncio.run(_tokens(model, words, unsafe_special))
    if as_json:
        rows = [{"id": token.id, "text": token.text, "control": token.is_control} for token in tokens]
        print(json.dumps({"count": len(tokens), "tokens": rows}, ensure_ascii=False))
        return
    for token in tokens:
        print(f"{token.id}\t{token.text!r}{'  [control]' if token.is_control else ''}")


async def _tokens(model: str, text: str, unsafe_special: bool) -> tuple[Token, ...]:
    async with inference() as service:
        return await service.tokenize(model, text, unsafe_special=unsafe_special)
