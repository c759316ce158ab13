"""Full, LoRA and Q-LoRA on every family: it learns, and leaves what loads again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.models import adapter
from core.protocol.messages import Metrics
from core.training import run_files, session
from core.training.recipe import Recipe
from core.training.run_files import RunFiles
from tests.helpers import tiny_families, tiny_gptq, tiny_qwen_v1

pytestmark = pytest.mark.errors_logged  # transformers says that it has no fast linear attention

NAMES = [name for name in tiny_families.TINY if "window" not in name]
ROWS = [
    {"id": "1", "conversations": [{"from": "user", "value": f"step {n}"}, {"from": "assistant", "value": f"fox {n}"}]}
    for n in range(8)
]


class Unhurried:
    is_paused = is_cancelled = False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "rows.json"
    file.write_text(json.dumps(ROWS), "utf-8")
    return file


def trained(place: Path, folder: Path, data: Path, **changes: Any) -> RunFiles:
    values = {
        "model": "tiny", "data": str(data), "steps": 4, "batch": 8, "learning_rate": 2e-3, "rank": 4, "warmup": 0.0,
        "validation_share": 0.0, "save_every": 100, "threads": 1,
    }  # fmt: skip
    run = run_files.create(place, Recipe(**(values | changes)), folder, "tiny")
    losses = [event.values["loss"] for event in session.train("job", run, Unhurried()) if isinstance(event, Metrics)]
    assert len(losses) == 4 and min(losses[1:]) < losses[0]
    return run


def factors(run: RunFiles) -> dict[str, torch.Tensor]:
    return load_file(run.result / adapter.WEIGHTS_NAME)


def assert_learned(run: RunFiles) -> None:
    found = adapter.examine(run.result)
    assert found.tensors and not found.notices
    outer = [tensor for name, tensor in factors(run).items() if "lora_B" in name]
    assert outer and all(tensor.abs().sum() > 0 for tensor in outer)


def covered(weights: str) -> Iterator[Any]:
    return (tiny_families.covered(name, weights, "tiny") for name in NAMES)


@pytest.mark.parametrize("name", [*covered("lora")])
def test_lora(tmp_path: Path, data: Path, name: str) -> None:
    folder = tiny_families.write(tmp_path / "tiny-chat", name)
    assert_learned(trained(tmp_path, folder, data))


@pytest.mark.parametrize("name", [*covered("qlora")])
def test_qlora_on_nf4(tmp_path: Path, data: Path, name: str) -> None:
    folder = tiny_families.write(tmp_path / "tiny-chat", name)
    run = trained(tmp_path, folder, data, method="qlora")
    assert_learned(run)
    assert run.facts and run.facts.weights == "nf4"


@pytest.mark.parametrize("name", [*covered("full")])
def test_full(tmp_path: Path, data: Path, name: str) -> None:
    folder = tiny_families.write(tmp_path / "tiny-chat", name)
    run = trained(tmp_path, folder, data, method="full")
    before, after = (load_file(place / "model.safetensors") for place in (folder, run.result))
    assert before.keys() <= after.keys() and run.facts
    assert run.facts.trained == run.facts.parameters
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)


@pytest.mark.parametrize("name", ["qwen", "qwen2", "qwen3"])
@pytest.mark.parametrize("bits", [4, 8])
def test_qlora_on_gptq(tmp_path: Path, data: Path, name: str, bits: int) -> None:
    folder, _ = tiny_gptq.write(tmp_path / "tiny-chat", name, tiny_gptq.Kind(bits=bits))
    for precision in ("bfloat16", "float32"):
        run = trained(tmp_path, folder, data, method="qlora", precision=precision)
        assert_learned(run)
        assert run.facts and run.facts.weights == f"int{bits}"


def test_qlora_on_our_int4(tmp_path: Path, data: Path) -> None:
    folder = tiny_families.write(tmp_path / "tiny-chat", "qwen3")
    run = trained(tmp_path, folder, data, method="qlora", weights="int4")
    assert_learned(run)
    assert run.facts and run.facts.weights == "int4"


@pytest.mark.parametrize("kind", [{"rslora": True}, {"dora": True}, {"targets": ("q_proj", "down_proj")}])
def test_kinds_of_lora(tmp_path: Path, data: Path, kind: dict[str, Any]) -> None:
    folder = tiny_families.write(tmp_path / "tiny-chat", "qwen3")
    found = adapter.examine(trained(tmp_path, folder, data, **kind).result)
    assert found.kind == {"rslora": "rsLoRA", "dora": "DoRA", "targets": "LoRA"}[next(iter(kind))]
    if "targets" in kind:
        assert found.targets == ("down_proj", "q_proj")


@pytest.mark.parametrize("new_tokens", ["rows", "full", "none"])
def test_a_base_model_learns_the_marks_of_turns(tmp_path: Path, data: Path, new_tokens: str) -> None:
    """The published script lost embedding and head with its last save."""
    folder = tiny_qwen_v1.write_model(tmp_path / "tiny-base", is_chat=False)
    run = trained(tmp_path, folder, data, new_tokens=new_tokens)
    found = adapter.examine(run.result)
    roles = {layer.rpartition(".")[2]: set(kinds) for layer, kinds in found.tensors.items()}
    if new_tokens == "rows":
        assert roles["wte"] == {"rows"} and roles["lm_head"] == {"rows"}
    elif new_tokens == "full":
        assert roles["wte"] == {"weight"} and roles["lm_head"] == {"weight"}
    else:
        assert "wte" not in roles and "lm_head" not in roles
    assert not found.notices
