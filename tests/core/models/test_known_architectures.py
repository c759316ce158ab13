"""What transformers can build is told without loading it, and told right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.models import known_architectures


def test_the_names_are_those_that_transformers_itself_has() -> None:
    from transformers.models.auto import modeling_auto

    causal, seeing = known_architectures._read()
    assert causal == known_architectures._tuples(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert seeing == known_architectures._tuples(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def test_an_installation_that_is_laid_out_otherwise_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_architectures, "_from_source", dict)
    known_architectures._read.cache_clear()
    try:
        assert known_architectures.is_known("qwen3", "Qwen3ForCausalLM")
    finally:
        known_architectures._read.cache_clear()


def test_models_that_see_count_and_others_do_not() -> None:
    assert known_architectures.is_known("qwen3_5", "Qwen3_5ForConditionalGeneration")
    assert not known_architectures.is_known("bert", "BertForMaskedLM")
    assert not known_architectures.is_known("qwen", "")


def test_asking_loads_neither_transformers_nor_torch() -> None:
    program = (
        "import sys; from core.models import known_architectures as k; k.is_known('qwen3', 'Qwen3ForCausalLM');"
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
