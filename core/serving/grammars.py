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


def of_xml_call(tools: Mapping[str, Any], *, is_named: bool) -> str:
    """The same in the XML of Qwen3-Coder, from `<function=` on, or from its first parameter where the name is in the
    prompt. Parameters come in the order of the schema; texts may be any, all else is JSON.

    Raises:
        Refusal: grammar_refused, for names that cannot stand in a tag.
    """
    from llguidance import LLMatcher

    lines = ["start: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    lines.append(r'text[suffix="\n</parameter>\n"]: /(.|\n)*/')
    for at, (name, schema) in enumerate(tools.items()):
        known = arguments_schema(schema)
        parts = [] if is_named else [_literal(f"{_in_tag(name)}>\n")]
        properties = known.get("properties")
        for number, (key, one) in enumerate(properties.items() if isinstance(properties, dict) else ()):
            rule = f"parameter_{at}_{number}"
            parts.append(rule if key in known.get("required", ()) else f"{rule}?")
            lines.append(f"{rule}: {_literal(_opened(key))} {_xml_value(one, known)}")
        lines.append(f"call_{at}: {' '.join(parts)} {_literal('</function>')}")
    return LLMatcher.grammar_from_lark("\n".join(lines))


def _xml_value(schema: Any, whole: Mapping[str, Any]) -> str:
    """Up to the end of its tag. whole: where the definitions are that it may refer to."""
    end = _literal("\n</parameter>\n")
    schema = schema if isinstance(schema, dict) else {}
    if schema.get("type") not in (None, "string"):
        definitions = {name: whole[name] for name in ("$defs", "definitions") if name in whole}
        return f"%json {json.dumps({**definitions, **schema, 'x-guidance': OPTIONS}, ensure_ascii=False)} {end}"
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(choices, list) and choices and all(isinstance(choice, str) for choice in choices):
        return f"({' | '.join(map(_literal, choices))}) {end}"
    return "text"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _opened(key: str) -> str:
    return f"<parameter={_in_tag(key)}>\n"


def _in_tag(name: str) -> str:
    if ">" in name or "\n" in name:
        raise Refusal("grammar_refused", "tools", reason=f"{name!r} cannot stand in a tag")
    return name


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
