"""Writes a copy of a model folder whose linear layers have 4 bits, in GPTQ's layout, by rounding to the nearest.

For other programs and smaller disks; without calibration it answers somewhat worse than a published GPTQ model.
Invariant: tensors are read and rounded when their turn comes, and everything that is not a layer of a block stays.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from core.errors import UserError
from core.models import families, shelf
from core.models.checkpoint import CONFIG_NAME, SIDE_FILES, Checkpoint, examine
from core.models.quantised import packing, scheme
from core.models.quantised.gptq import Files
from core.models.quantised.rounding import GROUPS, rounded
from core.models.quantised.scheme import Scheme
from core.models.safetensors_file import INDEX_NAME, Planned, TensorEntry, read_header, write_sharded
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work

GROUP = GROUPS[0]
LAYOUT = Scheme(4, GROUP, "plain")
OUTPUTS = 8  # whose zeros share a word
DECLARED = {
    "quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": False, "lm_head": False,
    "checkpoint_format": "gptq_v2",
}  # fmt: skip
_IN_BLOCK = re.compile(r"\.(layers|h)\.\d+\.")


def write_int4(source: Path, out: Path) -> Work[Path]:
    """The model of the folder `source` as the new folder `out`.

    Raises:
        UserError: out_exists, int4_already, disk_full, and as examine.
    """
    out = out.expanduser().absolute()
    if out.exists():
        raise UserError("out_exists", folder=str(out))
    found = examine(source)
    if found.scheme is not None:
        raise UserError("int4_already", name=source.name)
    plans = list(_plans(found))
    needed = sum(plan.size_bytes for plan in plans)
    need_space(out.parent, needed)
    with disk_errors(out.parent, needed), shelf.incoming(out.parent) as folder:
        done = 0
        for written in write_sharded(folder, plans):
            done += written
            yield Step("quantising", done, needed)
        for name in dict.fromkeys(SIDE_FILES):
            if name not in (CONFIG_NAME, INDEX_NAME) and (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        _write_json(folder / CONFIG_NAME, found.config | {"quantization_config": DECLARED})
        _write_json(folder / scheme.FILE_NAME, DECLARED)
        for file in folder.iterdir():
            shelf.to_disk(file)
        folder.rename(out)
    return out


def _plans(found: Checkpoint) -> Iterator[Planned]:
    files = Files(found.folder, found.weight_files)
    layers = {*families.family_of(found.config).adapter_targets, *families.DENSE}
    for file in found.weight_files:
        for name, entry in read_header(found.folder / file).items():
            if _fits(name, entry, layers):
                yield from _packed(name, entry, files)
            else:
                yield Planned(name, entry.dtype, entry.shape, _bytes(lambda name=name: files.read(name)))  # type: ignore[misc]


def _fits(name: str, entry: TensorEntry, layers: set[str]) -> bool:
    layer, _, leaf = name.rpartition(".")
    if leaf != "weight" or layer.rpartition(".")[2] not in layers or not _IN_BLOCK.search(name):
        return False
    return len(entry.shape) == 2 and entry.shape[1] % GROUP == 0 and entry.shape[0] % OUTPUTS == 0


def _packed(name: str, entry: TensorEntry, files: Files) -> Iterator[Planned]:
    """The tensors of one layer, made together and written one after the other."""
    outputs, inputs = entry.shape
    shapes = {
        "qweight": ("I32", (inputs // 8, outputs)),
        "qzeros": ("I32", (inputs // GROUP, outputs // OUTPUTS)),
        "scales": ("F16", (inputs // GROUP, outputs)),
        "g_idx": ("I32", (inputs,)),
    }
    made: dict[str, Tensor] = {}

    def part(key: str) -> Tensor:
        if not made:
            made.update(packing.write(rounded(files.read(name)), LAYOUT))
        return made.pop(key)

    layer = name.removesuffix(".weight")
    for key, (dtype, shape) in shapes.items():
        yield Planned(f"{layer}.{key}", dtype, shape, _bytes(lambda key=key: part(key)))  # type: ignore[misc]


def _bytes(make: Callable[[], Tensor]) -> Iterator[bytes]:
    yield make().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False), "utf-8")
