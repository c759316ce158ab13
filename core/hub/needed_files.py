"""Which files of a repository are needed to run its model, and why the others are not fetched.

Invariant: one set of weights is chosen, in one form and one precision; Python files are named and never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from core.errors import UserError
from core.hub.repository import RepoFile, Repository
from core.models import adapter
from core.models.folder_files import CONFIG_NAME, PICKLE_NAMES, SIDE_FILES, WEIGHTS_NAME
from core.models.safetensors_file import INDEX_NAME

Kind = Literal["safetensors", "pickle", "gguf", "adapter"]
# Each is a sentence of the catalogue, hubs.left_out_<why>.
Why = Literal["code", "picture", "other_form", "other_weights", "in_folder", "not_chosen", "in_pieces", "not_needed"]
Files = Mapping[str, RepoFile]

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_PICKLE_SHARD = re.compile(r"pytorch_model-\d{5}-of-\d{5}\.bin")
_CARD = re.compile(r"README\.md|(LICEN[CS]E|NOTICE|COPYING)([._-].*)?", re.IGNORECASE)
_PICTURE = re.compile(r".*\.(png|jpe?g|gif|svg|webp|ico|mp[34]|wav|pdf)", re.IGNORECASE)
_OTHER_FORM = re.compile(r".*\.(bin|pth?|ckpt|h5|msgpack|onnx(_data)?|tflite|ot|mlmodel|npz|gguf|pdparams|mnn)")
_GGUF_PIECE = re.compile(r".*-\d{5}-of-\d{5}\.gguf")
_GGUF_HELPER = re.compile(r".*(mmproj|imatrix).*", re.IGNORECASE)  # beside a model, for pictures and for quantising
_QUANTISATION = re.compile(
    r"(?i)(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|F16|F32|FP16|FP32))(?=[-._/]|$)"
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    path: str
    why: Why


@dataclass(frozen=True, slots=True)
class GgufChoice:
    """One of the GGUF files of a repository. quantisation: by its name, "" where that does not say."""

    file: RepoFile
    quantisation: str


@dataclass(frozen=True, slots=True)
class Needed:
    """
    Attributes:
        kind: of the weights. "pickle" must be converted, which needs the user's consent; "gguf" without files means
            that one of the choices has to be made first
        weights: their paths, of those in files
        code_files: present, never run, not fetched
    """

    kind: Kind
    files: tuple[RepoFile, ...]
    weights: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    code_files: tuple[str, ...]
    choices: tuple[GgufChoice, ...] = ()

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def needed_files(repository: Repository, indexed: Collection[str] | None = None, gguf: str = "") -> Needed:
    """
    indexed: the files that the index of the weights names, where it was read; else all that are called like parts
    gguf: the path of the GGUF file that was chosen; without it a repository's safetensors come first

    Raises:
        UserError: hub_no_model, hub_part_missing.
    """
    top = {file.path: file for file in repository.files if "/" not in file.path}
    choices = gguf_choices(repository)
    kind, weights = _weights(repository, top, indexed, choices, gguf)
    wanted = {*weights, *(path for path in top if _is_side(path, kind, weights))}
    files = tuple(file for file in repository.files if file.path in wanted)
    others = [file.path for file in repository.files if file.path not in wanted]
    return Needed(
        kind=kind,
        files=files if weights else (),
        weights=tuple(weights),
        left_out=tuple(LeftOut(path, _why(path, kind)) for path in others),
        code_files=tuple(path for path in others if path.endswith(".py")),
        choices=choices if kind == "gguf" else (),
    )


def gguf_choices(repository: Repository) -> tuple[GgufChoice, ...]:
    """The GGUF files that hold a whole model, smallest first."""
    files = [file for file in repository.files if file.path.endswith(".gguf") and _is_whole_gguf(file.path)]
    files.sort(key=lambda file: (file.size_bytes, file.path))
    return tuple(GgufChoice(file, quantisation_of(file.path)) for file in files)


def quantisation_of(path: str) -> str:
    """What the name of a GGUF file says: Q4_K_M, IQ2_XS, F16; "" for nothing."""
    found = _QUANTISATION.findall(path.removesuffix(".gguf"))
    return str(found[-1]).upper().replace("FP", "F") if found else ""


def _weights(
    repository: Repository, top: Files, indexed: Collection[str] | None, choices: tuple[GgufChoice, ...], gguf: str
) -> tuple[Kind, tuple[str, ...]]:
    if gguf:
        _need(repository, {choice.file.path for choice in choices}, [gguf])
        return "gguf", (gguf,)
    if CONFIG_NAME in top:
        if INDEX_NAME in top and (parts := _parts(repository, top, _SHARD, indexed)):
            return "safetensors", parts
        if WEIGHTS_NAME in top:
            return "safetensors", (WEIGHTS_NAME,)
        if PICKLE_NAMES[0] in top:
            return "pickle", (PICKLE_NAMES[0],)
        if PICKLE_NAMES[1] in top and (parts := _parts(repository, top, _PICKLE_SHARD, indexed)):
            return "pickle", parts
    if adapter.CONFIG_NAME in top:
        for name in (adapter.WEIGHTS_NAME, adapter.PICKLE_NAME):
            if name in top:
                return "adapter", (name,)
    if choices:
        return "gguf", ((choices[0].file.path,) if len(choices) == 1 else ())
    raise UserError("hub_no_model", id=repository.source.id)


def _parts(
    repository: Repository, top: Files, name: re.Pattern[str], indexed: Collection[str] | None
) -> tuple[str, ...]:
    if indexed is None:
        return tuple(sorted(path for path in top if name.fullmatch(path)))
    _need(repository, top, indexed)
    return tuple(sorted(set(indexed)))


def _need(repository: Repository, there: Collection[str], names: Collection[str]) -> None:
    for name in sorted(names):
        if name not in there:
            raise UserError("hub_part_missing", id=repository.source.id, file=name)


def _is_side(path: str, kind: Kind, weights: Collection[str]) -> bool:
    """A file of the top folder that goes with the weights."""
    if _CARD.fullmatch(path):
        return True
    if kind == "gguf":
        return False
    if kind == "adapter":
        return path in adapter.SIDE_FILES
    if path == INDEX_NAME:
        return kind == "safetensors" and WEIGHTS_NAME not in weights
    if path == PICKLE_NAMES[1]:
        return kind == "pickle" and PICKLE_NAMES[0] not in weights
    return path in SIDE_FILES or path.endswith(".tiktoken")


def _is_whole_gguf(path: str) -> bool:
    return not _GGUF_PIECE.fullmatch(path) and not _GGUF_HELPER.fullmatch(PurePosixPath(path).name)


def _why(path: str, kind: Kind) -> Why:
    if path.endswith(".py"):
        return "code"
    if _PICTURE.fullmatch(path):
        return "picture"
    if path.endswith(".gguf") and kind == "gguf":
        return "not_chosen" if _is_whole_gguf(path) else "in_pieces" if _GGUF_PIECE.fullmatch(path) else "not_needed"
    if _OTHER_FORM.fullmatch(path):
        return "other_form"
    if path.endswith(".safetensors"):
        return "other_weights"
    return "in_folder" if "/" in path else "not_needed"
