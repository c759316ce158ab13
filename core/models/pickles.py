"""Turns pickle checkpoints into safetensors, for users who ask for it. Runs in a worker.

Invariant: pickles are only read with `weights_only`, which builds tensors and calls nothing the file names.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.models.checkpoint import PICKLE_NAMES, indexed_files
from core.models.safetensors_file import INDEX_NAME
from core.models.steps import Step, Work

if TYPE_CHECKING:
    import torch


def pickle_files(folder: Path) -> tuple[str, ...]:
    """The pickle files of the model in `folder`, all present."""
    whole, index = PICKLE_NAMES
    return (whole,) if (folder / whole).is_file() else indexed_files(folder / index)


def convert_pickles(source: Path, out: Path) -> Work[None]:
    """Write the weights of `source` as safetensors into `out`, one file for each pickle.

    Raises:
        UserError: pickle_refused, when a file holds more than tensors or is broken.
    """
    import json

    from safetensors.torch import save_file

    names = pickle_files(source)
    total = sum((source / name).stat().st_size for name in names)
    done = 0
    weight_map: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        yield Step("converting", done, total, name)
        tensors = read_tensors(source / name)
        target = "model.safetensors" if len(names) == 1 else f"model-{number:05}-of-{len(names):05}.safetensors"
        save_file(tensors, out / target, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, target)
        done += (source / name).stat().st_size
        yield Step("converting", done, total, name)
    if len(names) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (out / INDEX_NAME).write_text(json.dumps(index, indent=2), "utf-8")


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """
    Raises:
        UserError: pickle_refused.
    """
    import torch

    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise UserError("pickle_refused", file=file.name) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise UserError("pickle_refused", file=file.name)
    # Tied weights share memory in a pickle; safetensors wants each name to have its own.
    return {name: tensor.contiguous().clone() for name, tensor in loaded.items()}
