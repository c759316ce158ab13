"""Built once where there is a compiler; where there is none, or it fails, all works without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core import hardware
from core.hardware import NATIVE
from core.models.native import library as native
from core.models.native.library import NotBuilt, build

needs_compiler = pytest.mark.skipif(hardware.compiler() is None, reason="no compiler here")


@needs_compiler
def test_it_is_built_once_and_only_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NATIVE, str(tmp_path))
    told: list[int] = []
    file = build(lambda: told.append(1))
    assert told and [entry.name for entry in tmp_path.iterdir()] == [file.name]
    assert build(lambda: pytest.fail("built again")) == file


@needs_compiler
def test_who_gives_up_waiting_leaves_no_compiler_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NATIVE, str(tmp_path))

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(give_up)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo 'no such instruction' >&2; exit 1", "no such instruction"), ("exit 0", "No such file")],
)
def test_a_compiler_that_fails_is_a_reason(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv(NATIVE, str(tmp_path / "built"))
    with pytest.raises(NotBuilt, match=why):
        build()


def test_a_damaged_file_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "damaged.so").write_bytes(b"\x7fELF")
    with pytest.raises(NotBuilt):
        native._loaded(tmp_path / "damaged.so")


def test_without_a_compiler_a_model_is_computed_by_torch(tmp_path: Path) -> None:
    """In a process of its own, which finds none."""
    script = (
        "import torch\n"
        "from core.models.native.library import library\n"
        "from core.models.quantised.choice import choose\n"
        "from core.models.quantised.rounding import to_int8\n"
        "assert library() is None\n"
        "print(choose(to_int8(torch.randn(64, 128)), torch.float32).reason)\n"
    )
    environment = {"PATH": str(tmp_path), "QWEN_WORKBENCH_HOME": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() in ("backend_int8_processor", "backend_none_better"), ended.stderr
