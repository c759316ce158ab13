"""A folder written in 4 bits is read back as what rounding made of the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import UserError
from core.load_options import LoadOptions
from core.models.int4_folder import write_int4
from core.models.load import load
from core.models.quantised.rounding import to_int4
from core.models.steps import result
from tests.helpers import tiny_families

pytestmark = pytest.mark.errors_logged


@pytest.mark.parametrize("name", ["qwen", "qwen3", "qwen3_moe", "qwen3_5"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    source = tiny_families.write(tmp_path / "plain", name)
    folder = result(write_int4(source, tmp_path / "int4"))
    exact = LoadOptions(weights="float32")
    found: Any = load(folder, exact).model
    plain: Any = load(source, exact).model
    changed = 0
    for layer, module in plain.named_modules():
        weight = found.get_submodule(layer).weight if isinstance(module, nn.Linear) else None
        if weight is None or torch.equal(weight, module.weight):
            continue
        changed += 1
        torch.testing.assert_close(weight, to_int4(module.weight.data).dequantised().float(), rtol=1e-3, atol=1e-4)
    assert changed >= 6 and load(folder).weights == "int4"
    assert (folder / "config.json").is_file() and not list(tmp_path.glob(".incoming*"))
    for wrong, out, code in ((folder, "again", "int4_already"), (source, "int4", "out_exists")):
        with pytest.raises(UserError) as caught:
            result(write_int4(wrong, tmp_path / out))
        assert caught.value.code == code
