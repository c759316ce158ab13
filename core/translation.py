"""Every sentence the program says, in English and Chinese; one catalogue for core, command line and window.

The catalogue is resources/translations/<language>/<area>.json, flat objects whose keys are `<area>.<name>`. Invariant:
both languages have the same keys with the same `{parameters}` (a test holds them together), so `say` never guesses.
"""

from __future__ import annotations

import json
import locale
import os
from functools import lru_cache
from typing import Literal, cast

from core.errors import Param
from core.paths import resources

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_language: Language = "en"


def use(language: Language) -> None:
    """Put a language in force for everything said from now on."""
    global _language
    _language = language


def language() -> Language:
    return _language


def system_language() -> Language:
    """Chinese where the system speaks Chinese, English elsewhere."""
    names = (os.environ.get("LC_ALL"), os.environ.get("LC_MESSAGES"), os.environ.get("LANG"), locale.getlocale()[0])
    first = next((name for name in names if name), "")
    return "zh" if first.lower().startswith(("zh", "chinese")) else "en"


@lru_cache(maxsize=2)
def catalogue(language: Language) -> dict[str, str]:
    """All sentences of one language by key."""
    found: dict[str, str] = {}
    for file in sorted((resources() / "translations" / language).glob("*.json")):
        found |= cast(dict[str, str], json.loads(file.read_text("utf-8")))
    return found


def say(key: str, /, **params: Param) -> str:
    """The sentence for `key` in the language in force, its `{parameters}` filled in. Of one thing (`count`) it is that
    of `<key>_one`, where there is one.

    Raises:
        KeyError: the key is in no catalogue, which is a bug.
    """
    known = catalogue(_language)
    sentence = known[key]
    if params.get("count") in (1, "1"):
        sentence = known.get(f"{key}_one", sentence)
    return sentence.format(**params) if params else sentence
