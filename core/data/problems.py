"""What can be wrong with a row of training data, and how each kind is mended.

Owns the list of kinds. Invariant: each has a sentence `data.<code>` and a severity; a row with an "error" is left out
of the training, one with a "warning" is used as it is.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from core.errors import Param
from core.translation import say

Severity = Literal["error", "warning"]
Fix = Literal["", "drop", "strip", "merge", "drop_first", "drop_last", "map_roles", "redecode", "drop_later"]


class Kind(NamedTuple):
    """fix: what mending does to the row, "" for nothing by itself"""

    severity: Severity
    fix: Fix = "drop"


KINDS: dict[str, Kind] = {
    "undecodable": Kind("error"),
    "damaged_text": Kind("error"),
    "mixed_encoding": Kind("error", "redecode"),
    "broken_json": Kind("error"),
    "broken_csv": Kind("error"),
    "broken_parquet": Kind("error"),
    "columns_differ": Kind("error"),
    "not_an_object": Kind("error"),
    "no_conversation": Kind("error"),
    "not_text": Kind("error"),
    "unknown_role": Kind("error"),
    "tool_call_unreadable": Kind("error"),
    "tool_out_of_place": Kind("error"),
    "system_out_of_place": Kind("error"),
    "starts_with_assistant": Kind("error", "drop_first"),
    "roles_repeat": Kind("error", "merge"),
    "no_answer": Kind("error"),
    "empty_question": Kind("error"),
    "empty_answer": Kind("error"),
    "odd_role": Kind("warning", "map_roles"),
    "ends_with_question": Kind("warning", "drop_last"),
    "blank_around_answer": Kind("warning", "strip"),
    "control_text": Kind("warning", ""),
    "duplicate": Kind("warning", "drop_later"),
}


class Fault(NamedTuple):
    """A problem of a row that does not know where the row stands."""

    code: str
    params: dict[str, Param] = {}  # noqa: RUF012  # never written to


class Problem(Struct, frozen=True):
    """line: 1-based, 0 in files without lines; row: 1-based; code: of KINDS, or of a UserError of a model's template"""

    code: str
    line: int
    row: int
    severity: Severity
    fix: Fix = "drop"
    params: dict[str, Param] = {}

    def sentence(self) -> str:
        return say(f"data.{self.code}" if self.code in KINDS else f"error.{self.code}", **self.params)


def problem(fault: Fault, line: int, row: int) -> Problem:
    kind = KINDS.get(fault.code, Kind("error"))
    return Problem(fault.code, line, row, kind.severity, kind.fix, fault.params)


def is_usable(faults: list[Fault]) -> bool:
    return all(fault.code in KINDS and KINDS[fault.code].severity == "warning" for fault in faults)
