"""The shape of the program: who imports whom, how long files are, what the window's process never loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(file for folder in ("app", "core") for file in (ROOT / folder).rglob("*.py"))
HEAVY = ("torch", "transformers", "pyqtgraph", "sqlalchemy", "alembic", "markdown_it", "pygments", "ziamath", "numpy",
         "huggingface_hub", "modelscope", "typer", "keyring")  # fmt: skip

STARTED = """
import os, sys
os.environ["QT_QPA_PLATFORM"] = "offscreen"
from app.ui import start

def painted(window):
    print(" ".join(m for m in sys.argv[1].split(",") if m in sys.modules), flush=True)
    window.close()

sys.exit(start.open_window(painted))
"""


def test_the_first_paint_comes_before_everything_heavy() -> None:
    command = [sys.executable, "-c", STARTED, ",".join(HEAVY)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "\n", "")


@pytest.mark.parametrize(
    "module",
    [
        "app.services.chat",
        "app.services.library",
        "app.services.inference",
        "app.services.profiling",
        "app.services.serving",
        "app.context",
    ],
)
def test_services_load_neither_torch_nor_qt(module: str) -> None:
    heavy = ("torch", "transformers", "PySide6", "sqlalchemy", "pydantic", "fastapi", "uvicorn")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"


def test_files_stay_small() -> None:
    lengths = sorted(len(file.read_text("utf-8").splitlines()) for file in SOURCES if file.name != "__init__.py")
    assert lengths[-1] <= 600 and lengths[len(lengths) // 2] <= 220


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(file)
        for file in SOURCES
        if file.read_text("utf-8").strip() and not file.read_text("utf-8").startswith(('"""', 'r"""'))
    ]
    assert not silent


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty_words = {"utils", "util", "helpers", "manager", "base", "common", "misc"}
    assert not [str(file) for file in SOURCES if file.stem in empty_words]


def test_dialogs_and_menus_are_never_executed() -> None:
    """exec() inside a task stops every other task for good."""
    bad = [
        str(file)
        for file in SOURCES
        for call in (".exec(", ".exec_(", "processEvents")
        if call in file.read_text("utf-8")
    ]
    assert not bad


def test_an_installed_program_has_every_package() -> None:
    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(file.parent.relative_to(ROOT).parts) for top in ("app", "core") for file in (ROOT / top).rglob("*.py")
    }
    assert found == {name for name in named if name.split(".")[0] in ("app", "core")}


def test_an_installed_program_has_every_file_it_reads() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    taken = {file for package, patterns in named.items() for pattern in patterns
             for file in (ROOT / package.replace(".", "/")).glob(pattern)}  # fmt: skip
    there = {file for top in ("app", "core", "resources") for file in (ROOT / top).rglob("*")}
    assert not {f for f in there if f.is_file() and f.suffix not in (".py", ".pyc", ".mako")} - taken
