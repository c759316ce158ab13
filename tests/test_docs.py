"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.models.families import BY_KEY
from tests import model_table
from tests.conftest import COLLECTED

ROOT = Path(__file__).parents[1]


def test_the_architecture_names_every_file() -> None:
    """Itself, or by a line for the whole package, whose __init__.py then names it."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    files = [file for folder in ("app", "core") for file in (ROOT / folder).rglob("*.py")]
    unnamed = []
    for file in files:
        is_whole = f"\n{file.parent.relative_to(ROOT).as_posix()}/  " in text
        named_in = (file.parent / "__init__.py").read_text("utf-8") if is_whole else text
        if file.name not in named_in and file.name != "__init__.py" and "migrations" not in file.parts:
            unnamed.append(str(file))
    assert not unnamed and len(text.splitlines()) <= 150


def test_links_and_pictures_of_the_documents_exist() -> None:
    broken = []
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert not broken


def test_the_table_of_models_is_what_the_tests_cover(request: pytest.FixtureRequest) -> None:
    collected = request.config.stash[COLLECTED]
    if {item.path for item in collected} != set((ROOT / "tests").rglob("test_*.py")):
        pytest.skip("only a session of all tests knows what they cover")
    expected = model_table.table(model_table.coverage_of(collected))
    assert model_table.written((ROOT / "README.md").read_text("utf-8")) == expected, "run: python -m tests.model_table"


def test_a_table_says_what_was_run_and_what_was_not() -> None:
    found = model_table.table([model_table.Coverage("qwen3", "plain", "loaded and asked")])
    assert {row.family for row in model_table.ROWS} == set(BY_KEY)
    rows = {line.split("|")[1].strip(): line for line in found.splitlines() if line.startswith("|")}
    assert rows["Qwen2.5"].count("–") == len(model_table.WEIGHTS) and "not run here" in rows["Qwen2.5"]
    assert rows["Qwen3, also Instruct, Thinking and 2507"].count("✓") == 1 and "loaded and asked" in found
