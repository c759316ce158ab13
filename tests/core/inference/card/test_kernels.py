"""The Triton kernels compute what plain torch computes, in Triton's interpreter where there is no card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from core.inference.card import available, weights
from tests.core.inference.card.kernel_checks import CHECKS

# Its wheel has 286 MB and unpacks to 1 GB, for tests alone: too much for everyone's set-up.
REASON = "Triton is not installed: `pip install --target FOLDER --no-deps triton`, then PYTHONPATH=FOLDER"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason=REASON)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """From a process of its own: the interpreter has to be chosen before Triton is imported."""
    command = [sys.executable, "-m", "tests.core.inference.card.kernel_checks"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=True)
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@needs_triton
@pytest.mark.parametrize(
    "kind", ["norm", "gate", "place plain", "place int8", "attend plain", "attend int8", "int4", "int8", "decode"]
)
def test_a_kernel_agrees_with_plain_torch(found: dict[str, Any], kind: str) -> None:
    mine = {name: value for name, value in found.items() if name.startswith(f"{kind} ")}
    assert len(mine) >= 5
    assert {name: value for name, value in mine.items() if not isinstance(value, float) or not value < 1} == {}


@needs_triton
def test_every_kernel_builds_for_cards_that_are_not_here(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.core.inference.card.kernel_builds", "80", "90"]
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=True)
    for built in json.loads(done.stdout).values():
        assert {name: facts for name, facts in built.items() if isinstance(facts, str)} == {}
        assert all(facts["shared"] <= 98304 for facts in built.values())  # two programs on a multiprocessor, at least
        assert built["attend"]["tensor_cores"] and built["attend int8"]["tensor_cores"]


def test_what_is_missing_is_said() -> None:
    assert available.why_no_kernels(torch.device("cpu")) == "the model is on cpu"
    assert available.why_no_graph(torch.device("cpu")) == "the model is on cpu"


def test_triton_is_imported_by_kernels_alone_and_these_only_when_asked_for() -> None:
    kernels = Path(available.__file__).parent / "kernels"
    for file in kernels.parents[3].rglob("*.py"):
        if file.is_relative_to(kernels) or not file.is_relative_to(kernels.parents[2]):
            continue
        at_once = [line for line in file.read_text("utf-8").splitlines() if line.startswith(("import", "from"))]
        lazy = {"core.inference.card.kernels", "core.inference.card.fused", "triton"}
        found = {name for line in at_once for name in lazy if f" {name}" in line}
        assert not found or file.name == "fused.py", file


def test_every_check_has_cases() -> None:
    assert set(CHECKS) == {"norm", "gate", "rows", "product", "decode"} and weights.FEW_ROWS >= 4
