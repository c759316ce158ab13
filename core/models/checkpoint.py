"""Looks at a transformers folder and says what model it holds, or in one sentence why it cannot be used.

Reads headers and JSON only; runs no code of the folder and loads no pickle. Invariant: a `Checkpoint` that was made has
a config of a known causal model, a tokenizer, and all of its weights in whole files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from core.chat.chat_format import is_chat_folder
from core.chat.folder_json import table_rows
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.models import families, folder_files, known_architectures
from core.models.quantised import scheme
from core.models.quantised.scheme import Scheme
from core.models.safetensors_file import INDEX_NAME, ITEM_BYTES, TensorEntry, read_header

Json = dict[str, Any]
Precision = Literal["bfloat16", "float16", "float32"]
Weights = Literal["bfloat16", "float16", "float32", "int8", "int4"]

CONFIG_NAME = folder_files.CONFIG_NAME
WEIGHTS_NAME = folder_files.WEIGHTS_NAME
PICKLE_NAMES = folder_files.PICKLE_NAMES
TOKENIZER_NAMES = folder_files.TOKENIZER_NAMES
SIDE_FILES = folder_files.SIDE_FILES
OWN_ARCHITECTURES = {"qwen": "QWenLMHeadModel"}  # core/models/qwen_v1
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_PRECISIONS: dict[str, Precision] = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds. `code_files` are Python files that came with it; they are named, never run.

    precision: of the weights that are stored plainly; scheme: how the others are quantised, None where there are none
    """

    folder: Path
    config: Json
    weight_files: tuple[str, ...]
    precision: Precision
    scheme: Scheme | None
    parameters: int
    can_chat: bool
    licence: str
    code_files: tuple[str, ...]

    @property
    def architecture(self) -> str:
        return str(self.config["architectures"][0])

    @property
    def weights(self) -> Weights:
        """How most of them are stored."""
        if self.scheme is None:
            return self.precision
        return "int4" if self.scheme.bits == 4 else "int8"

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def context_length(self) -> int:
        return families.lengths(self.config).limit

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files that make the model, in reading order."""
        side = [name for name in dict.fromkeys(SIDE_FILES) if (self.folder / name).is_file()]
        return (*side, *self.weight_files)


def examine(folder: Path, config: Json | None = None) -> Checkpoint:
    """`config` is that of the folder, where the caller has read_config() it or made it.

    Raises:
        UserError: why this is no usable model: config_*, architecture_unknown, tokenizer_missing, weights_*,
            shard_missing, lfs_pointer, safetensors_*, quantisation_*.
    """
    config = config or read_config(folder)
    found = scheme.scheme_of(config, folder)
    need_tokenizer(folder, config)
    files = weight_files(folder)
    entries = _all_entries(folder, files)
    if any(name.endswith(".qweight") for name in entries) != (found is not None):
        raise UserError("quantisation_undeclared" if found is None else "quantisation_missing", folder=folder.name)
    return Checkpoint(
        folder=folder,
        config=config,
        weight_files=files,
        precision=_precision(entries, found),
        scheme=found,
        parameters=_parameters(entries, found),
        can_chat=has_chat_template(folder) or (config["model_type"] == "qwen" and is_chat_folder(folder)),
        licence=_licence(folder),
        code_files=tuple(sorted(file.name for file in folder.glob("*.py"))),
    )


def read_config(folder: Path) -> Json:
    """The config, once it names a model that transformers itself can build."""
    file = folder / CONFIG_NAME
    if not file.is_file():
        raise UserError("config_missing", folder=str(folder))
    refuse_pointer(file)
    config = _json(file, "config_unreadable")
    architecture = _architecture(config)
    if not _is_known(str(config.get("model_type", "")), architecture):
        raise UserError("architecture_unknown", architecture=architecture or str(config.get("model_type", "?")))
    return config


def need_tokenizer(folder: Path, config: Json) -> None:
    found = [folder / name for name in TOKENIZER_NAMES if (folder / name).is_file()]
    if not found:
        is_first = config.get("model_type") == "qwen"
        raise UserError("vocabulary_missing" if is_first else "tokenizer_missing", folder=str(folder))
    for file in found:
        refuse_pointer(file)


def need_whole_tokenizer(folder: Path) -> None:
    """Reads it once, as loading the model will: what is broken is told when the model comes in.

    Raises:
        UserError: tokenizer_unreadable, tokenizer_too_large, and what Vocabulary.load() raises.
    """
    Vocabulary.load(folder).need_rows(table_rows(folder), folder)


def has_pickle(folder: Path) -> bool:
    return any((folder / name).is_file() for name in PICKLE_NAMES)


def weight_files(folder: Path) -> tuple[str, ...]:
    """The safetensors files of the model, all present.

    Raises:
        UserError: weights_missing, weights_pickle, shard_missing or index_unreadable.
    """
    if (folder / INDEX_NAME).is_file():
        return indexed_files(folder / INDEX_NAME)
    if (folder / WEIGHTS_NAME).is_file():
        return (WEIGHTS_NAME,)
    raise UserError("weights_pickle" if has_pickle(folder) else "weights_missing", folder=str(folder))


def indexed_files(index: Path) -> tuple[str, ...]:
    """The files an index names, all present and beside it."""
    refuse_pointer(index)
    weight_map = _json(index, "index_unreadable").get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UserError("index_unreadable", file=index.name, folder=str(index.parent))
    names = sorted(set(cast(dict[str, str], weight_map).values()))
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise UserError("shard_missing", file=name, folder=str(index.parent))
    return tuple(names)


def has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(_json(file, "config_unreadable").get("chat_template"))


def _architecture(config: Json) -> str:
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def _is_known(model_type: str, architecture: str) -> bool:
    ours = bool(architecture) and OWN_ARCHITECTURES.get(model_type) == architecture
    return ours or known_architectures.is_known(model_type, architecture)


def _all_entries(folder: Path, files: tuple[str, ...]) -> dict[str, TensorEntry]:
    entries: dict[str, TensorEntry] = {}
    for name in files:
        refuse_pointer(folder / name)
        entries |= read_header(folder / name)
    if not entries:
        raise UserError("weights_missing", folder=str(folder))
    if (folder / INDEX_NAME).is_file():
        _need_indexed(folder / INDEX_NAME, entries)
    return entries


def _need_indexed(index: Path, entries: dict[str, TensorEntry]) -> None:
    for tensor, file in _json(index, "index_unreadable")["weight_map"].items():
        if tensor not in entries:
            raise UserError("tensor_missing", tensor=tensor, file=file, folder=str(index.parent))


def _precision(entries: dict[str, TensorEntry], found: Scheme | None) -> Precision:
    """What most of the bytes of plain weights are stored in."""
    stored: Counter[str] = Counter()
    for name, entry in entries.items():
        if found is None or not _is_packed(name):
            stored[entry.dtype] += entry.elements * ITEM_BYTES.get(entry.dtype, 1)
    dtype = stored.most_common(1)[0][0] if stored else "F16"
    if dtype not in _PRECISIONS:
        raise UserError("weights_precision", precision=dtype)
    return _PRECISIONS[dtype]


def _parameters(entries: dict[str, TensorEntry], found: Scheme | None) -> int:
    if found is None:
        return sum(entry.elements for entry in entries.values())
    packed = sum(entry.elements for name, entry in entries.items() if name.endswith(".qweight"))
    plain = sum(entry.elements for name, entry in entries.items() if not _is_packed(name))
    return packed * 32 // found.bits + plain


def _is_packed(name: str) -> bool:
    return name.rpartition(".")[2] in scheme.SUFFIXES


def refuse_pointer(file: Path) -> None:
    """
    Raises:
        UserError: lfs_pointer.
    """
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise UserError("lfs_pointer", file=file.name)


def _json(file: Path, code: str) -> Json:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise UserError(code, file=file.name, folder=str(file.parent))
    return found


def _licence(folder: Path) -> str:
    """From the head of the model card, where there is one."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    with card.open("r", encoding="utf-8", errors="replace") as stream:
        head = stream.read(4096)
    found = re.search(r"^license:[ \t]*['\"]?([\w.+-]+)", head.split("\n---", 1)[0], re.MULTILINE)
    return found.group(1) if found else ""
