"""What a run or an adapter left, in a folder elsewhere: for other programs, other machines, other people.

Imports no torch: files are copied as they are, and only what an adapter calls its base model is written anew.
Invariant: a folder that has its name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Literal

from core.errors import UserError
from core.files import replace_file
from core.models import adapter as adapter_files
from core.models import manifest, shelf
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work

BaseAs = Literal["absolute", "relative", "name"]
NOT_EXPORTED = (manifest.FILE_NAME,)


def export(source: Path, out: Path, base: str = "") -> Work[Path]:
    """The adapter or model of the folder `source` as the new folder `out`. base: what an adapter calls its base model,
    "" for what it calls it now

    Raises:
        UserError: out_exists, adapter_config_unreadable, disk_full, folder_read_only.
    """
    out = out.expanduser().absolute()
    if out.exists():
        raise UserError("out_exists", folder=str(out))
    files = _files(source)
    total = sum(file.stat().st_size for file in files)
    need_space(out.parent, total)
    with disk_errors(out.parent, total), shelf.incoming(out.parent) as folder:
        yield from _copied(files, folder, total)
        if base and adapter_files.is_adapter(folder):
            name_base(folder, base)
        folder.rename(out)
    return out


def put_into(source: Path, out: Path) -> Work[Path]:
    """The same into a folder that may be there already, as the scripts of others do it: file by file, each whole."""
    out = out.expanduser().absolute()
    files = _files(source)
    total = sum(file.stat().st_size for file in files)
    need_space(out.parent, total)
    with disk_errors(out.parent, total):
        out.mkdir(parents=True, exist_ok=True)
        with shelf.incoming(out) as folder:
            yield from _copied(files, folder, total)
            for file in files:
                (folder / file.name).replace(out / file.name)
    return out


def name_of_base(folder: Path, out: Path, name: str, how: BaseAs) -> str:
    """What the adapter in `out` shall call its base. name: of the model, for how="name"

    A relative path is read from where the other program is started; from `out` itself it leads to the base.
    """
    match how:
        case "absolute":
            return str(folder.absolute())
        case "relative":
            return os.path.relpath(folder.absolute(), out.expanduser().absolute())
        case "name":
            return name


def name_base(folder: Path, base: str) -> None:
    file = folder / adapter_files.CONFIG_NAME
    config = adapter_files.read_config(folder) | {"base_model_name_or_path": base}
    replace_file(file, json.dumps(config, indent=2, ensure_ascii=False).encode())


def _files(source: Path) -> list[Path]:
    return sorted(file for file in source.iterdir() if file.is_file() and file.name not in NOT_EXPORTED)


def _copied(files: list[Path], folder: Path, total: int) -> Work[None]:
    done = 0
    for file in files:
        yield Step("copying", done, total, file.name)
        shutil.copyfile(file, folder / file.name)
        shelf.to_disk(folder / file.name)
        done += file.stat().st_size
    yield Step("copying", total, total)
