"""What the conversation tells beside the replies: the welcome, help, history, settings, figures.

Invariant: all of it goes to stderr, broken to the terminal's width and without anything a reply could command it by;
stdout holds replies only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.cli.screen import obeys
from app.cli.terminal import commands
from app.cli.terminal.conf import KEYS, Conf, shown
from app.cli.terminal.region import size
from app.cli.terminal.text import harmless, wrapped
from core import figures
from core.chat.turns import ReplyFigures, Turn
from core.errors import UserError
from core.files import replace_file
from core.translation import say

CLEARED = "\033[2J\033[3J\033[H"
COLUMN = 24  # of what a command or a setting means
DIM, BOLD = "2", "1"


def tell(text: str, style: str = "") -> None:
    """style: a number of SGR, taken where the terminal has styles."""
    columns = size(sys.stderr)[0] - 1
    lines = wrapped(harmless(text), columns) if sys.stderr.isatty() else [text]
    for line in lines:
        is_styled = style and line and sys.stderr.isatty() and obeys()
        print(f"\033[{style}m{line}\033[0m" if is_styled else line, file=sys.stderr)
    sys.stderr.flush()


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Names and what they mean: side by side, or one below the other where the terminal is narrow."""
    columns = size(sys.stderr)[0] - 1
    is_narrow = columns < 2 * COLUMN
    for name, meaning in rows:
        left = 4 if is_narrow else COLUMN + 2
        lines = wrapped(harmless(meaning), columns - left)
        name = harmless(name)
        if is_narrow or len(name) > COLUMN - 1:
            tell(f"  {name}")
        else:
            tell(f"  {name:<{COLUMN}}{lines.pop(0)}")
        for line in lines:
            tell(" " * left + line)


def clear() -> None:
    if sys.stderr.isatty() and obeys():
        print(CLEARED, end="", file=sys.stderr, flush=True)


def welcome(model: str, *, can_chat: bool) -> None:
    tell(say("terminal.welcome", model=model), BOLD)
    tell(say("terminal.hint" if can_chat else "terminal.hint_base"), DIM)


def help() -> None:
    table([(commands.usage(name), say(f"terminal.help_{name.replace('-', '_')}")) for name in commands.COMMANDS])
    for key in ("terminal.help_lines", "terminal.help_text", "terminal.help_keys"):
        tell(say(key), DIM)


def history(turns: Sequence[Turn], answerer: str) -> None:
    """Numbered from 0, question by question. answerer: what the replies are signed with."""
    asked = [turn for turn in turns if turn.role == "user"]
    title = say("terminal.history", count=len(asked))
    tell(title.center(min(size(sys.stderr)[0] - 1, 80)).rstrip(), BOLD)
    index = -1
    for turn in turns:
        index += turn.role == "user"
        who = say("terminal.user") if turn.role == "user" else answerer
        tell(f"{who}[{index}]: {turn.text}")


def settings(conf: Conf, keys: Sequence[str] = ()) -> None:
    """Raises UserError for an unknown key."""
    values = [(key, shown(conf, key)) for key in keys or KEYS]
    if keys:
        for key, value in values:
            tell(f"{key}={value}")
    else:
        table([(f"{key}={value}", say(f"terminal.conf_{key}")) for key, value in values])


def reply_figures(found: ReplyFigures) -> None:
    if not found.context_length or not (found.tokens_per_s or found.new_tokens == 1):
        tell(" · ".join(_known(found)), DIM)
        return
    tell(
        say(
            "terminal.figures",
            count=found.new_tokens,
            speed=f"{found.tokens_per_s:.1f}",
            first=figures.duration(found.first_token_s),
            used=figures.count(found.prompt_tokens + found.new_tokens),
            length=figures.count(found.context_length),
        ),
        DIM,
    )


def _known(found: ReplyFigures) -> list[str]:
    """What another machine says, which may be less."""
    parts = [
        say("remote.about_tokens" if found.is_about else "transcript.tokens", count=figures.count(found.new_tokens))
    ]
    if found.tokens_per_s:
        parts.append(say("transcript.speed", speed=f"{found.tokens_per_s:.1f}"))
    return [*parts, say("transcript.first_token", seconds=f"{found.first_token_s:.2f}")]


def save(file: str, model: str, system: str, turns: Sequence[Turn]) -> Path:
    """The conversation as Markdown, in a new file.

    Raises:
        UserError: save_is_folder, save_exists, save_failed.
    """
    target = Path(os.path.expanduser(file))
    parts = [f"# {model}"]
    if system:
        parts += [f"## {say('store.markdown_system')}", system]
    for turn in turns:
        parts.append("## " + (say("store.markdown_user") if turn.role == "user" else model))
        if turn.thinking:
            summary = f"<summary>{say('store.markdown_thinking')}</summary>"
            parts += [f"<details>\n{summary}", turn.thinking.strip(), "</details>"]
        parts.append(turn.text.strip())
    if target.is_dir():
        raise UserError("save_is_folder", folder=str(target))
    if target.exists():
        raise UserError("save_exists", file=str(target))
    try:
        replace_file(target, ("\n\n".join(part for part in parts if part) + "\n").encode())
    except OSError as error:
        raise UserError("save_failed", file=str(target), reason=error.strerror or str(error)) from None
    return target.absolute()
