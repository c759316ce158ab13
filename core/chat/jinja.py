"""Renders a model's chat template in a sandbox, with the functions templates expect.

A template comes from a download and is not trusted: it sees strings, numbers, lists and dicts only. Invariant:
whatever a template does, the outcome is a string or a UserError.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import UserError

LEARNED_FROM, LEARNED_TO = "\ufdd0", "\ufdd1"  # characters that no text may hold


class Refused(Exception):
    """The template itself says that it cannot show this conversation."""


def render(template: str, variables: dict[str, Any], *, marks: bool = False) -> str:
    """`marks`: what stands in `{% generation %}` comes between LEARNED_FROM and LEARNED_TO.

    Raises:
        UserError: template_broken, or template_refused with the template's own words.
    """
    try:
        return _compiled(template, marks).render(variables)
    except Refused as error:
        raise UserError("template_refused", reason=str(error)) from error
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError("template_broken", reason=f"{type(error).__name__}: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks replies for training; for a prompt its content counts."""

    tags = {"generation"}  # noqa: RUF012  (jinja asks for an attribute of this kind)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _MarkedGeneration(_Generation):
    def parse(self, parser: Parser) -> list[nodes.Node]:
        first, last = (nodes.Output([nodes.TemplateData(mark)]) for mark in (LEARNED_FROM, LEARNED_TO))
        return [first, *super().parse(parser), last]


@lru_cache(maxsize=8)
def _compiled(template: str, marks: bool) -> jinja2.Template:
    extensions = [_MarkedGeneration if marks else _Generation, loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes for HTML, which no model has been trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise Refused(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
