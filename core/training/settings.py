"""What a recipe can say, setting by setting, as Recipe itself declares it: for who writes one by hand.

Invariant: a setting is here exactly when Recipe has it, with the values that are let in there. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from core.training.recipe import RANGES, Recipe, choices

KINDS: dict[type[inspect.Type], str] = {
    inspect.IntType: "whole", inspect.FloatType: "real", inspect.BoolType: "switch", inspect.StrType: "text",
    inspect.LiteralType: "choice", inspect.VarTupleType: "list", inspect.DictType: "table",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """
    Attributes:
        kind: "whole", "real", "switch", "text", "choice", "list" or "table"
        default: None where it must be given
        choices: the words it may be, of a choice; least, most: of a number
    """

    key: str
    kind: str
    default: Any
    choices: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0


def settings() -> list[Setting]:
    """In the order of a recipe."""
    declared = inspect.type_info(Recipe)
    assert isinstance(declared, inspect.StructType)
    return [_setting(field) for field in declared.fields]


def _setting(field: inspect.Field) -> Setting:
    default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    least, most = RANGES.get(field.name, (0.0, 0.0))
    return Setting(
        field.name,
        KINDS[type(field.type)],
        None if field.required else default,
        choices(field.name),
        least,
        most,
    )
