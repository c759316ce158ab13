"""One catalogue, two languages: same keys, same parameters, and every key that the code says exists."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from core import translation
from core.errors import UserError
from core.translation import LANGUAGES, catalogue, say

ROOT = Path(__file__).parents[2]
SOURCES = [file for folder in ("app", "core") for file in (ROOT / folder).rglob("*.py") if file.name != "errors.py"]


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.use("en")


def parameters(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_say_the_same_things() -> None:
    english, chinese = catalogue("en"), catalogue("zh")
    assert set(english) == set(chinese)
    different = [key for key in english if parameters(english[key]) != parameters(chinese[key])]
    assert not different


def test_no_key_stands_twice() -> None:
    import json

    for language in LANGUAGES:
        keys: list[str] = []
        for file in (ROOT / "resources" / "translations" / language).glob("*.json"):
            keys += json.loads(file.read_text("utf-8"))
        assert len(keys) == len(set(keys))


def test_every_key_in_the_code_is_in_the_catalogue() -> None:
    english = catalogue("en")
    missing = []
    for file in SOURCES:
        text = file.read_text("utf-8")
        missing += [f"{file.name}: {key}" for key in re.findall(r'\bsay\(\s*"([\w.]+)"', text) if key not in english]
        for code in re.findall(r'\bUserError\(\s*"(\w+)"', text):
            if f"error.{code}" not in english:
                missing.append(f"{file.name}: error.{code}")
        for prefix in re.findall(r'\bsay\(\s*f"([\w.]+?)\{', text):
            if not any(key.startswith(prefix) for key in english):
                missing.append(f"{file.name}: {prefix}*")
    assert not missing


def test_chinese_is_chinese() -> None:
    """A sentence left in English would pass unseen otherwise; names and formats may stay."""
    letters = re.compile(r"[一-鿿]")
    same = [
        key
        for key, sentence in catalogue("zh").items()
        if not letters.search(sentence) and len(re.sub(r"\{\w+\}", "", sentence).split()) > 2
    ]
    assert same in ([], ["chat.stop_words_hint"])


def test_chinese_has_one_word_for_one_thing() -> None:
    lone = re.compile(r"(?<![{\w.-])tokens?(?![\w}.-])", re.IGNORECASE)
    found = {key for key, sentence in catalogue("zh").items() if "基础模型" in sentence or lone.search(sentence)}
    assert found == set()


def test_an_error_speaks_the_language_in_force() -> None:
    error = UserError("nothing_asked")
    english = str(error)
    translation.use("zh")
    assert str(error) != english and str(error) == say("error.nothing_asked")


def test_the_system_language_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert translation.system_language() == "zh"
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert translation.system_language() == "en"
