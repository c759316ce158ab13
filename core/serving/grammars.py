"""What a reply must look like, as grammars for llguidance: an object, a schema, the call of a tool.

Invariant: only building them needs llguidance, and no schema of a request can do more than be refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.serving.refusals import Refusal
from core.serving.requests import ResponseFormat

# A model that may write blanks without end sometimes does.
OPTIONS: Any = {"whitespace_pattern": r"[\x20\x0A]{0,12}"}
OBJECT: dict[str, Any] = {"type": "object"}


def of_format(wanted: ResponseFormat | None) -> str:
    """ "" for a reply that may hold anything.

    Raises:
        Refusal: api_invalid, grammar_refused.
    """
    if wanted is None or wanted.type == "text":
        return ""
    if wanted.type == "json_object":
        return of_schema(OBJECT)
    if wanted.json_schema is None:
        place = "response_format.json_schema"
        raise Refusal("api_invalid", place, place=place, reason="the schema is missing")
    schema = wanted.json_schema.schema_
    return of_schema(OBJECT if schema is None else schema)


def of_call(tools: Mapping[str, Any]) -> str:
    """The JSON of a call of one of them. tools: the schema of the parameters of each."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": arguments_schema(schema)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, schema in tools.items()
    ]
    return of_schema(calls[0] if len(calls) == 1 else {"anyOf": calls})


def of_react_call(tools: Mapping[str, Any]) -> str:
    """The same as ReAct writes it, after `Action:`."""
    from llguidance import LLMatcher

    lines = ["start: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, (name, schema) in enumerate(tools.items()):
        begun = json.dumps(f" {name}\nAction Input: ", ensure_ascii=False)
        arguments = json.dumps(arguments_schema(schema) | {"x-guidance": OPTIONS}, ensure_ascii=False)
        lines.append(f"call_{at}: {begun} %json {arguments}")
    return LLMatcher.grammar_from_lark("\n".join(lines))


def arguments_schema(schema: Any) -> dict[str, Any]:
    """The parameters of a tool as JSON schema; the first generation's own way to describe them is none."""
    is_schema = isinstance(schema, dict) and schema.get("type") == "object"
    return schema if is_schema else OBJECT


def of_schema(schema: dict[str, Any]) -> str:
    from llguidance import LLMatcher

    try:
        text = json.dumps(schema, ensure_ascii=False)
        text.encode()
        return LLMatcher.grammar_from_json_schema(text, overrides=OPTIONS)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:300]
        raise Refusal("grammar_refused", "response_format", reason=reason) from error
