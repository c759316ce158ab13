"""The real vocabulary of the first Qwen generation, out of a package that carries it. Needs a package index once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE, MEMBER = "qwen-agent==0.0.34", "qwen_agent/utils/qwen.tiktoken"
SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"


def fetch(folder: Path) -> Path:
    """`qwen.tiktoken` in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True, timeout=300, stderr=subprocess.DEVNULL)
    with zipfile.ZipFile(next(folder.glob("qwen_agent*.whl"))) as wheel:
        data = wheel.read(MEMBER)
    assert hashlib.sha256(data).hexdigest() == SHA256
    file = folder / "qwen.tiktoken"
    file.write_bytes(data)
    return file


def unpacked(folder: Path) -> Path:
    """The package whose wheel `fetch` has left in `folder`, to be imported from there."""
    package = folder / "package"
    with zipfile.ZipFile(next(folder.glob("qwen_agent*.whl"))) as wheel:
        wheel.extractall(package)
    return package
