"""Tokenizer, template and generation config of a whole model that a training made: the base's, and how to chat with it.

Invariant: the folder says by itself how it was taught to chat, to this program and to others; its name says nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from core.chat.chat_format import ChatFormat
from core.chat.chatml import ChatMl
from core.chat.folder_json import read_object
from core.chat.template_file import read_template
from core.chat.tiktoken_file import IM_END
from core.chat.vocabulary import Vocabulary
from core.models import checkpoint
from core.models.folder_files import SIDE_FILES
from core.models.load import stop_ids
from core.models.safetensors_file import INDEX_NAME

CODE = ("*.py", "*.cu", "*.cpp")  # of the first generation, which other programs need beside the weights
# As ChatMl writes it, for base models that were taught it and bring no template of their own.
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def copy_side_files(base: Path, folder: Path, leave_out: tuple[str, ...]) -> None:
    """Tokenizer, template and generation config."""
    for name in dict.fromkeys(SIDE_FILES):
        if name not in leave_out and (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def write_side_files(base: Path, folder: Path, vocabulary: Vocabulary, chat: ChatFormat, adapter: Path | None) -> None:
    """What `folder` needs beside config and weights. chat: how it is talked to; adapter: whose template taught it"""
    copy_side_files(base, folder, leave_out=(checkpoint.CONFIG_NAME, INDEX_NAME))
    for file in (file for pattern in CODE for file in base.glob(pattern)):
        shutil.copyfile(file, folder / file.name)
    if vocabulary.template:
        return
    config = checkpoint.read_config(base)
    is_first = config["model_type"] == "qwen"
    generation = read_object(base / "generation_config.json")
    if isinstance(chat, ChatMl):
        ends = stop_ids(base, config) | set(vocabulary.encode_control(IM_END))
        generation |= {"chat_format": "chatml"} | ({} if is_first else {"eos_token_id": sorted(ends)})
    elif is_first:
        generation["chat_format"] = "raw"
    if generation:
        write_json(folder / "generation_config.json", generation)
    if isinstance(chat, ChatMl) and not is_first:
        (folder / "chat_template.jinja").write_text(CHATML, "utf-8")
    elif adapter is not None and not isinstance(chat, ChatMl):
        _take_template(adapter, folder)


def _take_template(adapter: Path, folder: Path) -> None:
    template, named = read_template(adapter)
    if template:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
        file = folder / "tokenizer_config.json"
        write_json(file, read_object(file) | named)


def write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False), "utf-8")
