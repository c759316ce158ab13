"""The chat template of a model folder, whichever of its files holds it. Imports no tokenizer, so the window may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.chat.folder_json import read_object

TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
TEMPLATE_NAMES = ("chat_template.jinja", "chat_template.json")


def read_template(folder: Path) -> tuple[str, dict[str, str]]:
    """The chat template of a folder, "" when it has none, and the tokens that templates ask for by name."""
    config = read_object(folder / TOKENIZER_CONFIG_NAME)
    return template_of(folder, config), named_tokens(config)


def template_of(folder: Path, config: dict[str, Any]) -> str:
    """A file of its own goes before the entry of tokenizer_config.json; of several templates the default one."""
    jinja, wrapped = (folder / name for name in TEMPLATE_NAMES)
    if jinja.is_file():
        return jinja.read_text("utf-8")
    found = read_object(wrapped).get("chat_template") or config.get("chat_template") or ""
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        return str(named.get("default", ""))
    return str(found)


def named_tokens(config: dict[str, Any]) -> dict[str, str]:
    """The tokens that templates ask for by name."""
    found = {}
    for key, value in config.items():
        if key.endswith("_token") and value:
            content = value["content"] if isinstance(value, dict) else value
            if isinstance(content, str):
                found[key] = content
    return found
