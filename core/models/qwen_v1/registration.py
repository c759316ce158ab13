"""Makes the first generation known to transformers' Auto classes: call `register()` before the first of them is used.

Invariant: from then on AutoConfig, AutoModelForCausalLM and AutoTokenizer take the classes of this package for
`model_type: qwen`, and the code of a folder is not looked at. Calling it again changes nothing.
"""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1)
def register() -> None:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    from core.models.qwen_v1.configuration import QWenConfig
    from core.models.qwen_v1.modeling import QWenLMHeadModel, QWenModel
    from core.models.qwen_v1.tokenization import QWenTokenizer

    AutoConfig.register(QWenConfig.model_type, QWenConfig)
    AutoModel.register(QWenConfig, QWenModel)
    AutoModelForCausalLM.register(QWenConfig, QWenLMHeadModel)
    AutoTokenizer.register(QWenConfig, tokenizer_class=QWenTokenizer)
