"""`qwen-workbench tokenize extend`: new tokens for the words of a list, for vocabularies of the first generation.

Invariant: nothing is written before everything was read and learnt, and no file is overwritten but one of new tokens.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.session import library
from core.errors import UserError
from core.translation import say

if TYPE_CHECKING:
    from core.chat.extension import Extension


def extend(
    words: Annotated[Path, typer.Option("--words", help=say("cli.help_words"))],
    out: Annotated[Path, typer.Option("--out", help=say("cli.help_extend_out"))],
    model: Annotated[str, typer.Option("--model", "-m", help=say("cli.help_model"))] = "",
    vocabulary: Annotated[Path | None, typer.Option("--vocabulary", help=say("cli.help_vocabulary"))] = None,
    start_id: Annotated[int | None, typer.Option("--start-id", min=0, help=say("cli.help_start_id"))] = None,
    as_json: Annotated[bool, typer.Option("--json", help=say("cli.help_json"))] = False,
) -> None:
    if bool(model) == bool(vocabulary):
        raise typer.BadParameter(say("cli.one_vocabulary"), param_hint="'--model' / '--vocabulary'")
    folder = library().files_of(model).folder if model else None
    file = vocabulary or _vocabulary_of(folder)
    _keep_files(out, file, words)
    _learn(file, folder, words, out, start_id, as_json)


def _learn(file: Path, folder: Path | None, words: Path, out: Path, start_id: int | None, as_json: bool) -> None:
    from core.chat import extension
    from core.chat.folder_json import table_rows
    from core.chat.tiktoken_file import read_ranks, with_extra, write_entries
    from core.chat.tiktoken_vocabulary import added_entries

    earlier = added_entries(folder) if folder else {}
    ranks = with_extra(read_ranks(file), earlier)
    start = extension.first_free_id(ranks) if start_id is None else start_id
    found = extension.extend(ranks, extension.read_words(words), start)
    rows, size = table_rows(folder) if folder else 0, max([start - 1, *found.entries.values()]) + 1
    try:
        write_entries(out, {**earlier, **found.entries})  # one file holds all that was ever added to a folder
    except OSError as error:
        raise UserError("file_not_written_here", file=str(out), reason=error.strerror or str(error)) from error
    _warn(found, rows, size)
    if as_json:
        print(json.dumps(_as_json(found, out, rows, size), ensure_ascii=False))
        return
    for new in found.tokens:
        print(f"{new.id}\t{new.token.decode('utf-8', 'replace')!r}\t{new.token.hex(' ')}\t{new.frequency}")
    print(say("cli.extended", count=len(found.tokens), file=str(out), size=size))


def _vocabulary_of(folder: Path | None) -> Path:
    from core.chat.tiktoken_file import FILE_NAME

    assert folder is not None
    if not (folder / FILE_NAME).is_file():
        raise UserError("extension_not_tiktoken", folder=str(folder))
    return folder / FILE_NAME


def _keep_files(out: Path, *inputs: Path) -> None:
    """Nothing is overwritten but new tokens of an earlier call: --out may name any file, a model's weights too."""
    from core.chat.tiktoken_file import holds_extra

    if any(out.exists() and given.exists() and out.samefile(given) for given in inputs):
        raise UserError("extension_over_input", file=str(out))
    if os.path.lexists(out) and not holds_extra(out):
        raise UserError("extension_over_file", file=str(out))


def _warn(found: Extension, rows: int, size: int) -> None:
    for skipped in found.skipped:
        print(say(f"cli.word_{skipped.reason}", word=skipped.word), file=sys.stderr)
    if rows and size > rows:
        print(say("cli.rows_too_few", rows=rows, size=size), file=sys.stderr)


def _as_json(found: Extension, out: Path, rows: int, size: int) -> Mapping[str, object]:
    tokens = [
        {
            "id": new.id,
            "text": new.token.decode("utf-8", "replace"),
            "bytes": new.token.hex(),
            "frequency": new.frequency,
        }
        for new in found.tokens
    ]
    skipped = [{"word": one.word, "reason": one.reason} for one in found.skipped]
    return {"file": str(out), "tokens": tokens, "skipped": skipped, "size": size, "rows": rows}
