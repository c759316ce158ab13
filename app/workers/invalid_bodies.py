"""Why a body is none of the API's, out of what pydantic says of it.

Invariant: the place is one that the client has written, and every sentence is whole characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.serving.refusals import Refusal

BRANCH = re.compile(r"str|int|bool|float|.*\[.*|[A-Z]\w*")  # of a union, which nobody has written


def refusal_of(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """Of several faults the first, and of the branches of a union the one that came nearest."""
    first = next((one for one in errors if not str(one["type"]).endswith("_type")), errors[0] if errors else {})
    if first.get("type") == "json_invalid":
        what = str(first.get("ctx", {}).get("error", "")).rstrip(".")
        return Refusal("api_no_json", None, at=int(first["loc"][-1]), reason=whole(what))
    parts = [str(part) for part in first.get("loc", ())[1:]]
    place = whole(".".join(part for part in parts if not BRANCH.fullmatch(part))) or "body"
    if first.get("type") == "too_long" and "max_length" in first.get("ctx", {}):
        return Refusal("api_too_many", place, place=place, most=int(first["ctx"]["max_length"]))
    return Refusal("api_invalid", place, place=place, reason=whole(str(first.get("msg", ""))))


def whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
