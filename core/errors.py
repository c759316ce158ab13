"""Errors of the user's world, as a code and its parameters.

Owns the split between the two kinds of failure. Invariant: a `UserError` is foreseen, loses nothing and is shown as a
sentence (`core.translation.say("error." + code, ...)`); every other exception is our bug and makes a crash report.
"""

from __future__ import annotations

Param = str | int | float


class UserError(Exception):
    """What happened, in the user's world: `UserError("disk_full", needed="3.1 GB", free="1.0 GB")`.

    The sentence stands in resources/translations under `error.<code>`: what happened, what it means, what to do.
    """

    def __init__(self, code: str, **params: Param) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params

    def __str__(self) -> str:
        from core.translation import say

        return say(f"error.{self.code}", **self.params)
