"""The command that serves the same model and adapters with vLLM, on a machine with a larger card.

Owns what is known of vLLM's flags. Invariant: a pure function of facts that lie in the model's files; what vLLM cannot
serve is said with its reason and gets no command. Imports neither torch nor vLLM.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.chat.chatml import DEFAULT_SYSTEM
from core.load_options import DEFAULT, LoadOptions
from core.models import families
from core.protocol.messages import Notice
from core.sources import Place

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the values that vLLM takes
DTYPES = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
PARSERS = {"hermes": "hermes", "xml": "qwen3_coder"}
QUANTISED = ("gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes")  # which vLLM reads from config.json itself
# As the first generation's own code writes a conversation; its folders bring no template.
CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\\n" + DEFAULT_SYSTEM + "<|im_end|>\\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """config: its adapter_config.json."""

    name: str
    folder: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """
    model: a repository on a hub, or a folder, which has to be there; hub: "" for a folder
    config: its config.json; template: its chat template, "" for none
    context_length: tokens, 0 leaves it to the model; key: "" for none; options: as it is loaded here
    """

    name: str
    model: str
    config: Mapping[str, Any]
    template: str = ""
    can_chat: bool = True
    adapters: Sequence[Adapter] = ()
    context_length: int = 0
    key: str = ""
    options: LoadOptions = DEFAULT
    hub: Place | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class Command:
    """
    arguments: line by line; none where vLLM cannot serve it
    remarks: `vllm.<code>` of the catalogue: what has to be known, or why there is no command
    """

    arguments: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[Notice, ...] = ()
    by_modelscope: bool = False

    @property
    def text(self) -> str:
        """To be pasted into a shell; one flag a line."""
        lines = " \\\n  ".join(shlex.join(line) for line in self.arguments)
        return f"VLLM_USE_MODELSCOPE=True {lines}" if self.by_modelscope and lines else lines


def vllm_command(wish: Wish) -> Command:
    family = families.family_of(wish.config, wish.template)
    if reason := _obstacle(wish, family):
        return Command((), (reason,))
    lines: list[tuple[str, ...]] = [("vllm", "serve", wish.model), ("--served-model-name", wish.name)]
    remarks: list[Notice] = [] if wish.hub else [Notice("copy_folder", {"folder": wish.model})]
    if not family.is_qwen:
        remarks.append(Notice("not_a_qwen", {"architecture": _architecture(wish.config)}))
    if wish.context_length:
        lines.append(("--max-model-len", str(wish.context_length)))
    lines += _weights(wish, remarks)
    lines += _adapters(wish, remarks)
    lines += _chat(wish, family, remarks)
    if wish.key:
        lines.append(("--api-key", wish.key))
    return Command(tuple(lines), tuple(remarks), wish.hub == "modelscope")


def _obstacle(wish: Wish, family: families.Family) -> Notice | None:
    if family.key == "qwen4_exp":
        return Notice("unknown_architecture", {"architecture": _architecture(wish.config)})
    method = _method(wish.config)
    if method and method not in QUANTISED:
        return Notice("unknown_quantisation", {"method": method})
    return None


def _weights(wish: Wish, remarks: list[Notice]) -> list[tuple[str, ...]]:
    method, chosen = _method(wish.config), wish.options.weights
    if method:
        remarks.append(Notice("quantised", {"method": method.upper()}))
        return [("--dtype", "float16")] if method == "gptq" and _stored(wish.config) == "float16" else []
    if chosen == "nf4":
        remarks.append(Notice("nf4"))
        return [("--dtype", _stored(wish.config)), ("--quantization", "bitsandbytes")]
    if chosen in ("int8", "int4"):
        remarks.append(Notice("rounded_here", {"weights": {"int8": "Int8", "int4": "Int4"}[chosen]}))
    dtype = chosen if chosen in DTYPES else _stored(wish.config)
    return [("--dtype", dtype)]


def _adapters(wish: Wish, remarks: list[Notice]) -> list[tuple[str, ...]]:
    usable = [one for one in wish.adapters if not _beyond_lora(one.config)]
    for one in wish.adapters:
        if one not in usable:
            remarks.append(Notice("adapter_to_merge", {"name": one.name}))
    if not usable:
        return []
    remarks.append(Notice("copy_adapters"))
    rank = max(_rank(one.config) for one in usable)
    most = next((known for known in RANKS if known >= rank), RANKS[-1])
    modules = (_module(one.name, one.folder) for one in usable)
    return [("--enable-lora",), ("--max-lora-rank", str(most)), ("--lora-modules", *modules)]


def _module(name: str, folder: str) -> str:
    """vLLM splits the short form at its signs; what holds those is written as JSON."""
    if any(sign in name + folder for sign in "=,{"):
        import json

        return json.dumps({"name": name, "path": folder}, ensure_ascii=False)
    return f"{name}={folder}"


def _chat(wish: Wish, family: families.Family, remarks: list[Notice]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    if family.key == "qwen":
        remarks.append(Notice("trust_remote_code"))
        lines.append(("--trust-remote-code",))
        if wish.can_chat:
            remarks.append(Notice("first_generation_stop"))
            lines.append(("--chat-template", CHATML))
        return lines
    if not wish.can_chat:
        remarks.append(Notice("base_model"))
        return lines
    parser = PARSERS.get(families.tools_of(family, wish.template)) if "tools" in wish.template else None
    if parser:
        lines += [("--enable-auto-tool-choice",), ("--tool-call-parser", parser)]
    if family.is_qwen and any(mark in wish.template for mark in ("<think>", "enable_thinking")):
        lines.append(("--reasoning-parser", "qwen3"))
    return lines


def _beyond_lora(config: Mapping[str, Any]) -> bool:
    """What vLLM puts on beside a base is LoRA and nothing more."""
    plain = str(config.get("peft_type", "LORA")).upper() == "LORA" and str(config.get("bias", "none")) == "none"
    return not plain or bool(config.get("modules_to_save")) or bool(config.get("use_dora"))


def _rank(config: Mapping[str, Any]) -> int:
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    return max((rank for rank in ranks if isinstance(rank, int)), default=RANKS[1])


def _method(config: Mapping[str, Any]) -> str:
    found = config.get("quantization_config")
    return str(found.get("quant_method", "")).lower() if isinstance(found, Mapping) else ""


def _stored(config: Mapping[str, Any]) -> str:
    inner = families.text_config(config)
    for place in (inner, config):
        name = str(place.get("dtype") or place.get("torch_dtype") or "").removeprefix("torch.")
        if name in DTYPES:
            return name
    return "float16" if config.get("fp16") else "bfloat16" if config.get("bf16") else "auto"


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else str(config.get("model_type", "?"))
