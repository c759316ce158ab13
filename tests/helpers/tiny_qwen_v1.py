"""Small models of the first generation: the one of the published vectors, random ones, and whole folders as published.

A folder's own code raises when it is run, and its vocabulary is a few merges over single bytes unless a real
`qwen.tiktoken` is given.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from core.chat.tiktoken_file import SPECIAL_TOKENS, special_ids, write_entries
from core.models.qwen_v1.configuration import QWenConfig
from core.models.qwen_v1.modeling import QWenLMHeadModel

torch.set_num_threads(1)

WORDS = ("system", "user", "assistant", " the", "You", "你好", "\n\n")
CONTEXT = 256
TRAINED = 32  # tokens, so that tests get past it
VOCABULARY = 512  # rows; the tiny vocabulary has some less
FOLDER_CODE = 'raise RuntimeError("the code of a model folder was run")\n'
AUTO_MAP = {
    "AutoConfig": "configuration_qwen.QWenConfig",
    "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
}


def vector_config(**changes: Any) -> QWenConfig:
    """Of the model whose outputs are published."""
    shape = {
        "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "kv_channels": 8,
        "intermediate_size": 96, "seq_length": 8, "max_position_embeddings": 64,
    }  # fmt: skip
    return QWenConfig(**(shape | changes))


def vector_model(attention: str = "sdpa", **changes: Any) -> QWenLMHeadModel:
    """Its weights follow a formula: 0.5 sin(0.7390851 i + 1.61803398875 n) for element i of the n-th tensor by name."""
    config = vector_config(**changes)
    config._attn_implementation = attention
    model = QWenLMHeadModel(config)
    with torch.no_grad():
        for number, (name, tensor) in enumerate(sorted(model.state_dict().items()), 1):
            places = torch.arange(tensor.numel(), dtype=torch.float64)
            values = 0.5 * torch.sin(0.7390851 * places + 1.61803398875 * number)
            if ".ln_" in name:
                values = 1 + 0.1 * values
            tensor.copy_(values.view(tensor.shape))
    return model.eval()


def config(**changes: Any) -> QWenConfig:
    """Of random models: two layers, and positions past the trained length."""
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "kv_channels": 16, "intermediate_size": 192,
        "seq_length": TRAINED, "max_position_embeddings": CONTEXT, "initializer_range": 0.2,
    }  # fmt: skip
    return QWenConfig(**(shape | changes))


def model(dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> QWenLMHeadModel:
    """Norms and biases are random too, so that a formula without them shows."""
    torch.manual_seed(seed)
    made = QWenLMHeadModel(config(**changes))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + ("ln_" in name))
    return made.to(dtype).eval()


def ranks() -> dict[bytes, int]:
    """All single bytes, and the beginnings of a few words."""
    found = {bytes((byte,)): byte for byte in range(256)}
    for word in WORDS:
        data = word.encode()
        for end in range(2, len(data) + 1):
            found.setdefault(data[:end], len(found))
    assert len(found) + len(SPECIAL_TOKENS) < VOCABULARY
    return found


def special_id(token: str) -> int:
    """Of a control token in the tiny vocabulary."""
    return special_ids(len(ranks()))[token]


def write_tokenizer(folder: Path, tiktoken: Path | None = None) -> None:
    """tiktoken: a real vocabulary to copy."""
    if tiktoken:
        shutil.copyfile(tiktoken, folder / "qwen.tiktoken")
    else:
        write_entries(folder / "qwen.tiktoken", ranks())
    settings = {
        "model_max_length": 8192,
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def write_generation_config(folder: Path, end: int, *, is_chat: bool) -> None:
    """As published; end: the id of <|endoftext|>."""
    settings: dict[str, Any] = {
        "chat_format": "chatml" if is_chat else "raw", "eos_token_id": end, "pad_token_id": end,
        "max_new_tokens": 512, "do_sample": True, "top_k": 0, "top_p": 0.8, "transformers_version": "4.31.0",
    }  # fmt: skip
    settings |= {"max_window_size": 6144} if is_chat else {"stop_words_ids": [[end]]}
    (folder / "generation_config.json").write_text(json.dumps(settings), "utf-8")


def write_model(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    *,
    is_chat: bool = True,
    tiktoken: Path | None = None,
    max_shard_size: str = "5GB",
    made: QWenLMHeadModel | None = None,
    **changes: Any,
) -> Path:
    """A whole folder; `changes` are those of the config, `made` a model in place of a random one. With the real
    vocabulary in `tiktoken` the model needs vocab_size=151936."""
    folder.mkdir(parents=True, exist_ok=True)
    made = made or model(dtype, **changes)
    made.config.auto_map = AUTO_MAP
    made.config.tokenizer_class = "QWenTokenizer"
    made.save_pretrained(folder, max_shard_size=max_shard_size)
    for name in ("configuration_qwen", "modeling_qwen", "tokenization_qwen"):
        (folder / f"{name}.py").write_text(FOLDER_CODE, "utf-8")
    write_tokenizer(folder, tiktoken)
    write_generation_config(folder, 151_643 if tiktoken else len(ranks()), is_chat=is_chat)
    return folder
