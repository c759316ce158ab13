"""The files of the web page: their words and colours, and that they are in what is installed."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from app.ui import tokens

ROOT = Path(__file__).parents[2]
WEB = ROOT / "resources" / "web"


def test_both_languages_have_the_same_words_and_all_that_are_asked_for() -> None:
    source = (WEB / "words.js").read_text("utf-8")
    english, chinese = re.split(r"\n  zh: \{", source)
    entry = re.compile(r'^    (\w+): "(.*)",$', re.MULTILINE)
    words = [dict(entry.findall(part)) for part in (english, chinese)]
    assert words[0].keys() == words[1].keys()
    for key, sentence in words[0].items():
        assert set(re.findall(r"\{\w+\}", sentence)) == set(re.findall(r"\{\w+\}", words[1][key])), key
    used: set[str] = set()
    for file in (*WEB.glob("*.js"), *WEB.glob("*.html")):
        text = file.read_text("utf-8")
        used |= set(re.findall(r'(?:\bsay\(|part\(|data-(?:say|hint|label)=)"(\w+)"', text))
        if file.name != "words.js":
            used |= {word for word in re.findall(r'"(\w+)"', text) if word in words[0]}
    assert used == words[0].keys()


def test_the_files_of_others_are_those_that_are_listed() -> None:
    listed = dict(re.findall(r"^(\w{64})  (\S+)$", (WEB / "NOTICE.md").read_text("utf-8"), re.MULTILINE))
    vendor = WEB / "vendor"
    files = [file for file in vendor.rglob("*") if file.is_file() and file.suffix != ".txt"]
    found = {hashlib.sha256(file.read_bytes()).hexdigest(): file.relative_to(vendor).as_posix() for file in files}
    assert found == listed
    assert all(list(folder.glob("LICENSE*.txt")) for folder in vendor.iterdir())


def test_the_colours_are_those_of_the_window() -> None:
    light, dark = (WEB / "tokens.css").read_text("utf-8").split("@media")
    for css, colours in ((light, tokens.LIGHT), (dark, tokens.DARK)):
        found = dict(re.findall(r"--([\w-]+): (#\w+);", css))
        assert len(found) > 30
        for name, value in found.items():
            expected = getattr(colours, name.replace("-", "_")).lower()
            assert value == (expected if len(expected) == 7 else f"#{expected[3:]}{expected[1:3]}"), name


def test_an_installed_program_has_the_page(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("app", "core", "resources"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("main.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=100)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = set(wheel.namelist())
    files = {file.relative_to(ROOT).as_posix() for file in WEB.rglob("*") if file.is_file()}
    assert files <= packed and sum(file.stat().st_size for file in WEB.rglob("*")) < 1_500_000
