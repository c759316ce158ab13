"""Small models built through the real code path: random weights as safetensors, a byte-level tokenizer, a template."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

torch.set_num_threads(1)  # models this small gain nothing from more, and lose much to them on a busy machine

CONTEXT = 1024
VOCABULARY = 512  # of the models; the tokenizer fills most of it
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>")  # added, but not special
WORDS = (
    "The quick brown fox jumps over the lazy dog. Explain how rainbows form, step by step.\n\n"
    "def reverse(text):\n    return text[::-1]\n\nuser assistant system think tool_call im_start "
    "你好，世界！今天天气怎么样？ 🙂 12 345"
)

# As Qwen3 does it: thinking of earlier turns is dropped, and an empty thinking stands for "do not think".
TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' and '</think>' in message.content %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
    {%- else %}
        {%- set content = message.content %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if loop.last and message.reasoning_content %}
        {{- '<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """Byte-level BPE with Qwen's kinds of added tokens, trained on a few words."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([WORDS] * 3, trainer)
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return made


def write_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    tokenizer().save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def config(architecture: str, **changes: Any) -> PreTrainedConfig:
    """A config of two layers: "llama", "qwen2", "qwen3", and "mistral" for one without a pass of its own."""
    kinds = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "mistral": MistralConfig}
    end = tokenizer().token_to_id("<|im_end|>")
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": True, "initializer_range": 0.2,
        "bos_token_id": None, "eos_token_id": end, "pad_token_id": None,
    }  # fmt: skip
    if architecture == "mistral":
        shape["sliding_window"] = None
    return kinds[architecture](**(shape | changes))


def model(architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model; biases and norms are random too, so that a formula without them shows."""
    torch.manual_seed(seed)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config(architecture, **changes))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + ("norm" in name))
    return made.to(dtype).eval()


def write_model(
    folder: Path, architecture: str = "qwen3", dtype: torch.dtype = torch.float32, template: str | None = TEMPLATE
) -> Path:
    """A whole model folder, as a hub would give it."""
    folder.mkdir(parents=True, exist_ok=True)
    model(architecture, dtype).save_pretrained(folder)
    write_tokenizer(folder, template)
    return folder
