"""Requests to the server as text to be pasted: for a shell, for Python, for JavaScript.

Invariant: pasted as it stands each one runs and prints an answer; names and keys are quoted as their language quotes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Literal

Kind = Literal["curl", "python", "javascript"]
QUESTION = "Why is the sky blue?"
NO_KEY = "none"  # clients that insist on one send this
MOST_TOKENS = 200


def curl(address: str, model: str, key: str) -> str:
    body = f"""{{
    "model": {_json(model)},
    "messages": [{{"role": "user", "content": {_json(QUESTION)}}}],
    "max_tokens": {MOST_TOKENS}
  }}"""
    lines = [f"curl {shlex.quote(address + '/v1/chat/completions')}", "-H 'Content-Type: application/json'"]
    lines += [f"-H {shlex.quote(f'Authorization: Bearer {key}')}"] if key else []
    return " \\\n  ".join([*lines, f"-d {shlex.quote(body)}"]) + "\n"


def python(address: str, model: str, key: str) -> str:
    return f"""from openai import OpenAI

client = OpenAI(base_url={_json(address + "/v1")}, api_key={_json(key or NO_KEY)})
stream = client.chat.completions.create(
    model={_json(model)},
    messages=[{{"role": "user", "content": {_json(QUESTION)}}}],
    max_tokens={MOST_TOKENS},
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
"""


def javascript(address: str, model: str, key: str) -> str:
    """No `await` outside a function, so that it runs in a page, in a module and in a plain script alike."""
    secret = f", Authorization: {_json(f'Bearer {key}')}" if key else ""
    return f"""fetch({_json(address + "/v1/chat/completions")}, {{
  method: "POST",
  headers: {{ "Content-Type": "application/json"{secret} }},
  body: JSON.stringify({{
    model: {_json(model)},
    messages: [{{ role: "user", content: {_json(QUESTION)} }}],
    max_tokens: {MOST_TOKENS},
  }}),
}})
  .then((response) => response.json())
  .then((answer) => console.log(answer.choices ? answer.choices[0].message.content : answer.error.message));
"""


SNIPPETS: dict[Kind, Callable[[str, str, str], str]] = {"curl": curl, "python": python, "javascript": javascript}


def _json(value: object) -> str:
    """Which both languages read as the same value."""
    return json.dumps(value, ensure_ascii=False)
