"""A folder whose weights come from a 4-bit file is recognised without torch, and its Int4 estimate says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gguf import quants
from gguf.constants import GGMLQuantizationType
from safetensors.torch import save_file

from core.load_options import LoadOptions
from core.models.footprint import weight_bytes
from core.models.quantised.grid import on_grid
from core.models.safetensors_file import read_header
from core.models.shape import read_shape
from core.models.stored_grid import GROUP, had_4_bits
from tests.helpers.tiny_models import write_model

NAME = "model.layers.0.mlp.up_proj.weight"


def stored(tmp_path: Path, kind: GGMLQuantizationType, dtype: torch.dtype) -> tuple[Path, torch.Tensor]:
    plain = (torch.randn(64, 320) * 0.02).numpy()
    weight = torch.from_numpy(quants.dequantize(quants.quantize(plain, kind), kind)).to(dtype)
    file = tmp_path / "model.safetensors"
    save_file({"model.embed_tokens.weight": torch.randn(64, 320).to(dtype), NAME: weight}, file)
    return file, weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_it_says_what_quantising_will_find(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    file, weight = stored(tmp_path, GGMLQuantizationType[kind], dtype)
    found = on_grid(weight)
    assert had_4_bits(file, read_header(file)) == (found is not None) == (kind != "Q8_0")
    assert found is None or found.group_size == GROUP


def test_its_int4_takes_more_for_scales_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    shape = read_shape(folder)
    assert not shape.had_4_bits

    known = replace(shape, had_4_bits=True)
    int4, int8 = LoadOptions(weights="int4"), LoadOptions(weights="int8")
    assert weight_bytes(known, int4) > weight_bytes(shape, int4) and weight_bytes(known, int8) == weight_bytes(
        shape, int8
    )
