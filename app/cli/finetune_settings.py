"""`qwen-workbench finetune settings`: what a recipe and `--set` can say, with what is let in and what it means.

Invariant: the list is Recipe's own; the sentences are those of the window. With --json standard output holds one object
and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.transfer import print_json
from core.training.settings import Setting, settings
from core.translation import say

AsJson = Annotated[bool, typer.Option("--json", help=say("library.help_json"))]


def list_settings(as_json: AsJson = False) -> None:
    found = settings()
    if as_json:
        print_json({"settings": [_facts(setting) for setting in found]})
        return
    table = Table(box=None, pad_edge=False)
    for key in ("setting", "default", "allowed", "means"):
        table.add_column(say(f"finetune.column_{key}"), overflow="fold", no_wrap=key == "setting")
    for setting in found:
        table.add_row(setting.key, _default(setting), _allowed(setting), _means(setting))
    Console().print(table)
    print(say("finetune.settings_how"))


def _means(setting: Setting) -> str:
    return say(f"finetune_ui.field_{setting.key}_means")


def _allowed(setting: Setting) -> str:
    match setting.kind:
        case "choice":
            return ", ".join(setting.choices)
        case "whole" | "real":
            return say("finetune.allowed_range", least=f"{setting.least:.10g}", most=f"{setting.most:.10g}")
        case kind:
            return say(f"finetune.allowed_{kind}")


def _default(setting: Setting) -> str:
    """As a recipe has it."""
    value = setting.default
    if value is None:
        return say("finetune.must_be_given")
    if isinstance(value, bool):
        return str(value).lower()
    if setting.kind in ("list", "table"):
        return "[]" if setting.kind == "list" else "{}"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _facts(setting: Setting) -> dict[str, Any]:
    numbers = {"least": setting.least, "most": setting.most} if setting.kind in ("whole", "real") else {}
    choices = {"choices": list(setting.choices)} if setting.choices else {}
    return {
        "key": setting.key,
        "kind": setting.kind,
        "required": setting.default is None,
        "default": setting.default,
        **numbers,
        **choices,
        "means": _means(setting),
    }
