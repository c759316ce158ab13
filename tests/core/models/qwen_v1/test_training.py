"""The first generation learns: checkpointing changes no gradient, and PEFT's adapters have their published names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from core.models.qwen_v1.registration import register
from tests.helpers import tiny_qwen_v1

IDS = torch.tensor([[5, 260, 17, 300, 99, 4, 8, 15], [0, 0, 260, 17, 5, 5, 9, 1]])
MASK = (IDS != 0).long()
LABELS = IDS.masked_fill(MASK == 0, -100)


def loss_of(model: Any) -> torch.Tensor:
    loss: torch.Tensor = model(input_ids=IDS, attention_mask=MASK, labels=LABELS).loss
    return loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.train().zero_grad()
    loss_of(model).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    model: Any = tiny_qwen_v1.model()
    expected = gradients(model)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
    model.enable_input_require_grads()
    calls = 0

    def counted(*args: Any) -> None:
        nonlocal calls
        calls += 1

    model.transformer.h[0].ln_1.register_forward_hook(counted)
    found = gradients(model)
    assert calls == 2  # once more on the way back
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks for the old name
def test_an_adapter_trains_and_is_saved_under_the_published_names(tmp_path: Path) -> None:
    register()
    folder = tiny_qwen_v1.write_model(tmp_path / "model")
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(
            task_type="CAUSAL_LM", r=4, lora_alpha=16, lora_dropout=0.0,
            target_modules=["c_attn", "c_proj", "w1", "w2"], modules_to_save=["wte", "lm_head"],
        ),
    )  # fmt: skip
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        losses.append(loss_of(model.train()))
        losses[-1].backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[2] < losses[0]
    model.save_pretrained(tmp_path / "adapter")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    targets = ("attn.c_attn", "attn.c_proj", "mlp.w1", "mlp.w2", "mlp.c_proj")
    names = {
        f"base_model.model.transformer.h.{n}.{target}.lora_{half}.weight"
        for n in range(2) for target in targets for half in "AB"
    }  # fmt: skip
    assert set(tensors) == names | {
        "base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight"
    }  # fmt: skip
    assert tensors["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"].shape == (4, 64)
    assert tensors["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"].shape == (192, 4)

    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter").eval()
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    with torch.no_grad():
        expected = loss_of(model.eval())
        torch.testing.assert_close(loss_of(again), expected)
        torch.testing.assert_close(loss_of(merged.merge_and_unload().eval()), expected, atol=1e-4, rtol=1e-4)
