"""The command for vLLM: each flag where the model asks for it, and none where vLLM cannot serve it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from core.load_options import LoadOptions
from core.serving.vllm_command import Adapter, Wish, vllm_command
from tests.helpers import shelf_models

TOOLS = "{{ tools }} <tool_call>"
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "torch_dtype": "bfloat16"}
GPTQ = QWEN3 | {"quantization_config": {"quant_method": "gptq", "bits": 4}, "torch_dtype": "float16"}
LORA = {"peft_type": "LORA", "r": 24, "bias": "none"}


def made(config: dict[str, Any] = QWEN3, **fields: Any) -> tuple[str, list[str]]:
    """The command, and the codes of what is said of it."""
    given: dict[str, Any] = {"name": "mine", "model": "Qwen/Qwen3-8B", "hub": "huggingface"} | fields
    command = vllm_command(Wish(config=config, **given))
    return command.text, [remark.code for remark in command.remarks]


def test_a_model_of_a_hub_is_served_under_the_same_name_with_its_tools_and_thinking() -> None:
    text, remarks = made(template=f"{TOOLS} <think>", context_length=16_384, key="a key")
    assert shlex.split(text.replace("\\\n", " ")) == [
        "vllm", "serve", "Qwen/Qwen3-8B", "--served-model-name", "mine", "--max-model-len", "16384",
        "--dtype", "bfloat16", "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
        "--reasoning-parser", "qwen3", "--api-key", "a key",
    ]  # fmt: skip
    assert remarks == []


def test_the_first_generation_runs_code_of_its_own_and_that_is_said() -> None:
    text, remarks = made(shelf_models.QWEN_7B, model="Qwen/Qwen-7B-Chat")
    words = shlex.split(text.replace("\\\n", " "))
    template = words[words.index("--chat-template") + 1]
    assert (
        "--trust-remote-code" in words and "<|im_start|>assistant\\n" in template and "--tool-call-parser" not in words
    )
    assert remarks == ["trust_remote_code", "first_generation_stop"]
    base, _ = made(shelf_models.QWEN_7B, can_chat=False)
    assert "--chat-template" not in base
    assert "--trust-remote-code" not in made()[0]


@pytest.mark.parametrize(
    ("config", "weights", "flags", "remarks"),
    [
        (GPTQ, "auto", "--dtype float16", ["quantised"]),
        (QWEN3, "nf4", "--quantization bitsandbytes", ["nf4"]),
        (QWEN3, "int4", "--dtype bfloat16", ["rounded_here"]),
        (QWEN3, "float16", "--dtype float16", []),
    ],
)
def test_weights_are_read_as_they_are_stored(config: Any, weights: Any, flags: str, remarks: list[str]) -> None:
    text, said = made(config, options=LoadOptions(weights=weights))
    assert flags in text and said == remarks


def test_what_vllm_cannot_serve_has_a_reason_and_no_command() -> None:
    unknown = QWEN3 | {"model_type": "qwen4_exp", "architectures": ["Qwen4ExpForCausalLM"]}
    assert made(unknown) == ("", ["unknown_architecture"])
    assert made(QWEN3 | {"quantization_config": {"quant_method": "hqq"}}) == ("", ["unknown_quantisation"])


def test_adapters_are_modules_of_the_next_rank_and_those_beyond_lora_are_to_be_merged() -> None:
    adapters = [Adapter("a", "/runs/a", LORA), Adapter("b=c", "/runs/b", LORA | {"r": 8}),
                Adapter("more", "/runs/more", LORA | {"modules_to_save": ["lm_head"]})]  # fmt: skip
    text, remarks = made(adapters=adapters)
    words = shlex.split(text.replace("\\\n", " "))
    place = words.index("--lora-modules")
    assert words[place + 1 :] == ["a=/runs/a", '{"name": "b=c", "path": "/runs/b"}'] and "--enable-lora" in words
    assert words[words.index("--max-lora-rank") + 1] == "32"
    assert remarks == ["adapter_to_merge", "copy_adapters"]


def test_folders_have_to_be_copied_and_modelscope_is_named() -> None:
    text, remarks = made(model="/models/mine", hub="")
    assert text.startswith("vllm serve /models/mine") and remarks == ["copy_folder"]
    assert made(hub="modelscope")[0].startswith("VLLM_USE_MODELSCOPE=True vllm serve")
    assert made(QWEN3, template="<function=x> {{ tools }}")[0].endswith("--tool-call-parser qwen3_coder")
    assert "tool" not in made(QWEN3, can_chat=False, template=TOOLS)[0]
