"""How fast the forms of weights are here: measured through a loaded model's products, known on this machine only."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch.nn import functional as F

from core.profiling import form_speeds, form_trial
from core.profiling.form_speeds import FormSpeeds
from core.profiling.measure import Step


def measured() -> FormSpeeds:
    *steps, last = form_trial.trying(side=256, count=2)
    assert all(isinstance(step, Step) for step in steps) and isinstance(last, FormSpeeds)
    return last


def test_each_form_is_timed_and_what_is_kept_holds_for_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert form_speeds.known() is None
    found = measured()
    assert set(found.seconds) == {"bfloat16", "int8", "int4"} and min(found.seconds.values()) > 0
    form_speeds.keep(found)
    assert form_speeds.known() == found
    form_speeds.keep(msgspec.structs.replace(found, machine="another|64|"))
    assert form_speeds.known() is None
    form_speeds.keep(msgspec.structs.replace(found, versions={**found.versions, "torch": "1.0"}))
    assert form_speeds.known() is None
    form_speeds.file().write_text('{"machine": "torn')
    assert form_speeds.known() is None


def test_plain_weights_go_through_the_product_that_answers() -> None:
    matrix, x = torch.randn(64, 64).bfloat16(), torch.randn(1, 64)
    expected, found = F.linear(x, matrix.float()), form_trial._plain(matrix)(x)
    assert isinstance(found, torch.Tensor)
    assert F.cosine_similarity(found.float(), expected).item() > 0.9999  # the step's own norm stands before it


def test_a_form_is_advised_only_where_it_is_worth_it_and_good() -> None:
    def speeds(plain: float, int8: float, int4: float) -> FormSpeeds:
        return msgspec.structs.replace(measured(), seconds={"bfloat16": plain, "int8": int8, "int4": int4})

    assert speeds(3, 1, 0.5).best == "int8", "int4 is faster, and its answers are worse"
    assert speeds(1.1, 1, 0.2).best == "bfloat16"
    assert speeds(3, 1, 0.5).gain("int4") == 6 and speeds(3, 1, 0.5).gain("nf4") == 0
