"""The settings of `:conf`, by the names of a generation_config.json: what each may be, and how it is read and shown.

Values are literals as Python or JSON write them, never evaluated. Invariant: of several settings in one line all are
taken or none.
"""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import msgspec

from core.chat.turns import HIGHEST_SEED, MOST_NEW_TOKENS, Sampling
from core.errors import UserError

Value = bool | int | float | str | None | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conf:
    """How the next reply is made. thinking: None leaves it to the model."""

    sampling: Sampling
    thinking: bool | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a value may be. low, high: of numbers, both included; can_be_none: it may be left open."""

    of: Literal["whole", "number", "switch", "texts"]
    low: float = 0
    high: float = 1
    can_be_none: bool = False


KEYS = {
    "do_sample": _Kind("switch"),
    "temperature": _Kind("number", 0, 100),
    "top_p": _Kind("number", 0, 1),
    "top_k": _Kind("whole", 0, 1_000_000),
    "min_p": _Kind("number", 0, 1),
    "repetition_penalty": _Kind("number", 0.01, 100),
    "presence_penalty": _Kind("number", -2, 2),
    "frequency_penalty": _Kind("number", -2, 2),
    "max_new_tokens": _Kind("whole", 1, MOST_NEW_TOKENS),
    "seed": _Kind("whole", 0, HIGHEST_SEED, can_be_none=True),
    "stop": _Kind("texts", can_be_none=True),
    "thinking": _Kind("switch", can_be_none=True),
}
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_ITEM = re.compile(rf"""([^\s=]+)(?:\s*=\s*({_QUOTED}|\[(?:{_QUOTED}|[^\]"'])*\]|\S*))?|=\s*(\S*)""")
_WORDS: dict[str, Value] = {"true": True, "on": True, "false": False, "off": False, "null": None, "none": None}


def items(text: str) -> list[tuple[str, str | None]]:
    """`a=1 b = "x y" c` as names and what is written after their `=`; None where there is none.

    Raises:
        UserError: conf_equals, for `a 1`.
    """
    found = [(match[1] or "", match[2] if match[1] else match[3]) for match in _ITEM.finditer(text)]
    for (key, value), (next_key, next_value) in pairwise(found):
        if value is next_value is None and key in KEYS and not _near(next_key):
            raise UserError("conf_equals", key=key, value=next_key)
    return found


def changed(conf: Conf, wanted: list[tuple[str, str]], start: Conf) -> Conf:
    """`conf` with all of `wanted`; start: what it was at first.

    Raises:
        UserError: conf_no_key, conf_key_unknown, conf_key_near, conf_no_value, and those of _value.
    """
    for key, text in wanted:
        _kind(key)
        if not text:
            raise UserError("conf_no_value", key=key, example=shown(start, key))
        value = _value(key, text)
        if key == "thinking":
            conf = replace(conf, thinking=None if value is None else bool(value))
        elif key == "do_sample":
            conf = replace(conf, sampling=_sampled(conf.sampling, bool(value), start.sampling))
        else:
            value = (value or ()) if key == "stop" else value
            conf = replace(conf, sampling=msgspec.structs.replace(conf.sampling, **{key: value}))
    return conf


def _sampled(sampling: Sampling, is_sampled: bool, start: Sampling) -> Sampling:
    """do_sample is a way to say whether the temperature is 0."""
    if is_sampled == (sampling.temperature > 0):
        return sampling
    warm = start.temperature or Sampling().temperature
    return msgspec.structs.replace(sampling, temperature=warm if is_sampled else 0.0)


def shown(conf: Conf, key: str) -> str:
    """The value as it can be typed again.

    Raises:
        UserError: conf_key_unknown.
    """
    _kind(key)
    if key == "thinking":
        return repr(conf.thinking)
    if key == "do_sample":
        return repr(conf.sampling.temperature > 0)
    value = getattr(conf.sampling, key)
    return repr(list(value)) if key == "stop" else repr(value)


def _kind(key: str) -> _Kind:
    if not key:
        raise UserError("conf_no_key", keys=", ".join(KEYS))
    if key not in KEYS:
        near = _near(key)
        raise UserError("conf_key_near" if near else "conf_key_unknown", key=key, near=near, keys=", ".join(KEYS))
    return KEYS[key]


def _near(key: str) -> str:
    """The setting that is meant, "" for none."""
    return (difflib.get_close_matches(key.lower(), KEYS, 1) or [""])[0]


def _value(key: str, text: str) -> Value:
    """Raises UserError."""
    kind = _kind(key)
    try:
        value = _WORDS[text.lower()] if text.lower() in _WORDS else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text  # a single word needs no quotes
    match kind.of:
        case _ if value is None and kind.can_be_none:
            return None
        case "switch" if isinstance(value, bool):
            return value
        case "whole" if isinstance(value, int) and not isinstance(value, bool) and kind.low <= value <= kind.high:
            return value
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            if kind.low <= value <= kind.high:
                return float(value)
        case "texts" if isinstance(value, str):
            return (value,)
        case "texts" if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            return tuple(one for one in value if one)
        case _:
            pass
    low, high = (f"{limit:,}" if kind.of == "whole" else f"{limit:g}" for limit in (kind.low, kind.high))
    none = "_or_none" if kind.can_be_none else ""
    raise UserError(f"conf_{kind.of}{none}", key=key, value=text, low=low, high=high)
