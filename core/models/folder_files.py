"""The names of the files that make a model folder, for those who read one here and for those who fetch one.

Invariant: what is not named here is not needed to run a model.
"""

from __future__ import annotations

from core.models.quantised import scheme
from core.models.safetensors_file import INDEX_NAME

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
PICKLE_NAMES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZER_NAMES = ("tokenizer.json", "tokenizer.model", "vocab.json", "qwen.tiktoken")
SIDE_FILES = (
    *TOKENIZER_NAMES, CONFIG_NAME, INDEX_NAME, "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "generation_config.json", "chat_template.jinja", "chat_template.json",
    scheme.FILE_NAME,
)  # fmt: skip
