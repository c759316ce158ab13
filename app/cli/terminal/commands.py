"""What a line at the prompt means: a command with its argument, a slip, or text for the model.

Invariant: as in Qwen's own terminal demo, whatever begins with a colon and is no command goes to the model; only what
looks like a command mistyped is asked about first. A blank before the colon makes any line text; those at its end, as
the line break of what is pasted, change nothing of a command.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from core.translation import say

Name = Literal[
    "help", "exit", "clear", "clear-history", "history", "seed", "conf", "reset-conf", "system", "retry", "continue",
    "thinking", "save",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """shorts: other ways to write it; argument: how what may follow is written in the help, "" for nothing."""

    shorts: tuple[str, ...] = ()
    argument: str = ""


COMMANDS: dict[Name, Kind] = {
    "help": Kind(("h",)),
    "exit": Kind(("quit", "q")),
    "clear": Kind(("cl",)),
    "clear-history": Kind(("clh", "clear-his")),
    "history": Kind(("his",)),
    "seed": Kind((), "[N]"),
    "conf": Kind((), "[KEY[=VALUE] ...]"),
    "reset-conf": Kind(),
    "system": Kind((), "[TEXT]"),
    "retry": Kind(("r",)),
    "continue": Kind(("co",)),
    "thinking": Kind(),
    "save": Kind((), "FILE"),
}
_NAMES: dict[str, Name] = {word: name for name, kind in COMMANDS.items() for word in (name, *kind.shorts)}
_LINE = re.compile(r"[:：]([A-Za-z-]+)(?:[ \t]+(.*))?")
_SIGNED = re.compile(r"[:：]([A-Za-z-]+)[=?!.,;:＝？！。，；：]+(.*)")  # :seed=5, :conf?


@dataclass(frozen=True, slots=True)
class Command:
    name: Name
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Slip:
    """No command, but close to one. told: what to say about it."""

    told: str


def read(line: str) -> Command | Slip | str:
    """A command, a slip, or the text itself."""
    typed = line.rstrip()
    match = _LINE.fullmatch(typed)
    if match is None:
        return _signed(typed) or line
    word, argument = match[1].lower(), (match[2] or "").strip()
    if name := _NAMES.get(word):
        if argument and not COMMANDS[name].argument:
            return Slip(say("terminal.takes_nothing", command=f":{word}"))
        return Command(name, argument)
    near = difflib.get_close_matches(word, _NAMES, 1, 0.6)
    return Slip(say("terminal.near", word=f":{word}", near=f":{near[0]}")) if near else line


def _signed(typed: str) -> Slip | None:
    """A command with a sign where a blank belongs, or a colon without one."""
    found = _SIGNED.fullmatch(typed)
    if typed in (":", "："):
        near = "help"
    elif found and (name := _NAMES.get(found[1].lower())):
        near = f"{name} {found[2].strip()}".strip() if COMMANDS[name].argument else name
    else:
        return None
    return Slip(say("terminal.near", word=typed, near=f":{near}"))


def usage(name: Name) -> str:
    """`:clear-history, :clh`; with its argument where it takes one."""
    kind = COMMANDS[name]
    words = ", ".join(f":{word}" for word in (name, *kind.shorts) if word != "clear-his")
    return f"{words} {kind.argument}".strip()


def completions(before: str) -> list[tuple[str, int]]:
    """What may be written in place of the end of `before`, and how many of its characters that takes the place of."""
    from app.cli.terminal.conf import KEYS

    if found := re.fullmatch(r"[:：]([A-Za-z-]*)", before):
        typed = found[1].lower()
        return [(f":{name}", len(before)) for name in COMMANDS if name.startswith(typed)]
    if found := re.fullmatch(r"[:：]conf[ \t]+(?:.*[ \t])?([^\s=]*)", before):
        return [(f"{key}=", len(found[1])) for key in KEYS if key.startswith(found[1])]
    return []
