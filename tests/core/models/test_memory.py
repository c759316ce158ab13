"""Memory that loading used for a while goes back, and no value changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.models import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux only")


def mapped(folder: Path) -> int:
    """Bytes of files in the folder that are in this process."""
    found, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            is_ours = str(folder) in rest
        elif is_ours and name == "Rss:":
            found += int(rest.split()[0]) * 1024
    return found


def test_pages_that_were_read_go_and_come_back(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "model").mkdir()
    save_file({"a": torch.arange(1 << 20, dtype=torch.float32)}, tmp_path / "blobs" / "x")
    (tmp_path / "model" / "model.safetensors").symlink_to(tmp_path / "blobs" / "x")  # as in a hub's cache
    tensor = load_file(tmp_path / "model" / "model.safetensors")["a"]
    total = float(tensor.double().sum())
    assert mapped(tmp_path) >= tensor.nbytes
    memory.give_back(tmp_path / "model")
    assert mapped(tmp_path) == 0
    assert float(tensor.double().sum()) == total


def test_what_was_written_to_stays(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1 << 20)}, tmp_path / "model.safetensors")
    tensor = load_file(tmp_path / "model.safetensors")["a"]
    tensor[5] = 7
    memory.give_back(tmp_path)
    assert float(tensor.sum()) == 7


def test_while_loading_it_happens_each_time_the_process_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    monkeypatch.setattr(memory, "give_back", given.append)
    grown = [0]
    monkeypatch.setattr(memory, "_resident", lambda: grown[0])
    spare = memory.Sparing(tmp_path)
    for share in (0.5, 0.9, 1.1, 1.5, 2.2):
        grown[0] = round(share * memory.GROWTH_BYTES)
        spare()
    assert given == [tmp_path, tmp_path]


def test_what_a_process_takes_grows_with_what_it_holds() -> None:
    before = memory.taken("cpu")
    held = torch.ones(20_000_000)
    assert memory.taken("cpu") - before >= 0.9 * held.nbytes
