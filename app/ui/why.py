"""The button beside an error or a remark that leads to the answer on the help page.

Invariant: it is there exactly where a question stands behind the error, so none leads nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.services import questions
from app.ui.widgets.button import Button
from core.translation import say

if TYPE_CHECKING:
    from app.ui.window import Window


def why(window: Window, code: str) -> list[Button]:
    """For an error's code: one button, or none."""
    question = questions.of_error(code)
    return [why_button(window, question)] if question else []


def why_button(window: Window, question: str) -> Button:
    """To one of the questions of the help page."""
    button = Button(say("help.why"), "secondary", small=True)
    button.clicked.connect(lambda: window.explain(question))
    return button
