"""One model of the library as the front knows it, and one that is wanted.

Invariant: values only; what is told of a folder outside the library stands in its own config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import UserError
from core.models import manifest
from core.models.manifest import Manifest
from core.sources import Source
from core.training.run_files import CONFIG, RESULT


@dataclass(frozen=True, slots=True)
class Installed:
    """A model of the library. `folder` is its place there, `files_folder` where its weights lie."""

    manifest: Manifest
    folder: Path

    @property
    def files_folder(self) -> Path:
        return manifest.files_folder(self.folder, self.manifest)

    @property
    def is_gone(self) -> bool:
        """Its files lie elsewhere, and are not there any more."""
        return bool(self.manifest.location) and not self.files_folder.is_dir()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to fetch from a hub, as DownloadModel says it; without sources one of the catalogue that comes as a
    package."""

    name: str
    sources: tuple[Source, ...] = ()
    file: str = ""
    base: str = ""
    convert_pickle: bool = False


def outside_name(folder: Path) -> str:
    """Of a folder that is in no library: its own, or that of the run whose result it is."""
    is_result = folder.name == RESULT and (folder.parent / CONFIG).is_file()
    return folder.parent.name if is_result else folder.name


def by_base(models: Sequence[Installed]) -> list[Installed]:
    """In their order, every adapter after the model it belongs to; those whose model is not here stand where they
    would stand anyway."""
    names = {model.manifest.name for model in models if not model.manifest.base}
    beneath: dict[str, list[Installed]] = {}
    for model in models:
        if model.manifest.base in names:
            beneath.setdefault(model.manifest.base, []).append(model)
    tops = [model for model in models if model.manifest.base not in names]
    return [one for top in tops for one in (top, *beneath.get(top.manifest.name, ()))]


def need_folder(model: Installed) -> None:
    """
    Raises:
        UserError: model_folder_gone.
    """
    if model.is_gone:
        raise UserError("model_folder_gone", name=model.manifest.name, folder=str(model.files_folder))


def from_folder(folder: Path) -> Installed:
    """A model that is in no library: what its config says, and no checksums."""
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        raise UserError("config_unreadable", file="config.json", folder=str(folder)) from None
    length, names = config.get("max_position_embeddings"), config.get("architectures")
    facts = Manifest(
        name=outside_name(folder),
        source=str(folder),
        architecture=str(names[0]) if isinstance(names, list) and names else "",
        model_type=str(config.get("model_type", "")),
        weights="bfloat16",
        parameters=0,
        context_length=length if isinstance(length, int) else 0,
        files=(),
        location=str(folder),
    )
    return Installed(facts, folder)
