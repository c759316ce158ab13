"""The forms of weights are measured once, by the real worker, when a model has become ready and nobody is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import form_trial
from app.services.form_trial import FormTrial
from app.services.inference import InferenceService, ModelFiles
from core.profiling import form_speeds
from tests.helpers.tiny_models import write_model
from tests.helpers.waiting import until

pytestmark = [pytest.mark.loops("asyncio"), pytest.mark.timeout(120)]


async def test_measured_once_at_the_first_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_trial, "REST_S", 0.0)
    folder = write_model(tmp_path / "tiny")
    inference = InferenceService(lambda name: ModelFiles(name, folder))
    trial, told = FormTrial(inference), []
    trial.changed.listen(told.append)
    try:
        assert trial.known() is None
        await inference.load("tiny")
        await until(lambda: told)
        assert trial.known() == form_speeds.known() == told[0]
        written = form_speeds.file().stat().st_mtime_ns
        inference.changed.emit(inference.state)  # it rests again
        assert trial._timer is not None
        await until(lambda: trial._timer is None and trial._task is None)
        assert form_speeds.file().stat().st_mtime_ns == written and len(told) == 1
    finally:
        await trial.close()
        await inference.close()
