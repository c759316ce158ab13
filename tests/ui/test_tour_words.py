"""What the tours say: nothing of Qt's noise, and why a check did not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import qInstallMessageHandler, qWarning

from app.ui import tour
from app.ui.tour_finetune import STEPS, FinetuneTour


def test_what_qt_says_of_every_unseen_window_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    tour.hush()
    try:
        qWarning(tour.OFFSCREEN_NOISE)  # type: ignore[call-overload]
        qWarning("something else")  # type: ignore[call-overload]
    finally:
        qInstallMessageHandler(None)  # type: ignore[arg-type]
    assert capsys.readouterr().err == "something else\n"


@pytest.mark.parametrize(("steps", "is_told"), [("3", True), ("60", False)])
def test_a_model_without_a_name_after_few_steps_says_how_many_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: str, is_told: bool
) -> None:
    monkeypatch.setenv(STEPS, steps)
    assert ("after 3 steps; the check needs about 10" in FinetuneTour(tmp_path, "trained")._nameless("Hi")) == is_told
