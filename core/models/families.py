"""The families of Qwen models: what a config.json and a chat template tell of a model without loading it.

Owns the facts that were published with the models and stand in no file of theirs: how long the training texts were, how
far positions can be stretched, how tools are called, which layers an adapter is trained on. Invariant: `family_of`
answers for every config; what is no Qwen is OTHER. Imports no torch, so the window may ask too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

from core.errors import UserError
from core.models.qwen_v1.positions import WINDOW_ATTENTION_NOTICE, LongContext
from core.protocol.messages import Notice

Config = Mapping[str, Any]
# switch: unless told otherwise; asked: only when told to
Thinking = Literal["none", "switch", "asked", "always"]
# react: Thought/Action/Observation as text; qwen_agent: marks with flowers, written by the Qwen-Agent library;
# hermes: JSON inside <tool_call>; xml: <function=..><parameter=..> inside <tool_call>
Tools = Literal["none", "react", "qwen_agent", "hermes", "xml"]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
DENSE = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
TURN_START, TURN_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
LONGEST_STRETCH = 1_010_000  # tokens; what was tried with the models of 262,144
STRETCHED_FIRST = 32_768  # the longest texts the first generation was tried with, by NTK and LogN
LARGEST_FACTOR = 1000  # of a stretching; anything above is no number of a model
PACKAGES = {"fla": "flash-linear-attention", "causal_conv1d": "causal-conv1d"}
# Limits in published configs that are larger than the texts the model has read in training.
TRAINED_OF_LIMIT = {40_960: 32_768, 131_072: 32_768, 1_010_000: 262_144}


@dataclass(frozen=True, slots=True)
class Yarn:
    """Published for models that were trained on `trained` tokens and are at least `hidden` wide."""

    factor: float
    trained: int = 32_768
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Family:
    """
    key: as in ModelLoaded.family; its name in the user's language is `family.<key>` of the catalogue
    chat: "built" means that the program writes the conversation itself, "template" that the model brings one
    thinking, tools: of its chat models; a template that says otherwise goes before (thinking_of, tools_of)
    adapter_targets: the layers that LoRA is put on
    card_modules: optional packages whose programs make it fast on a card, by the name they are imported as
    """

    key: str
    name: str
    model_types: tuple[str, ...]
    chat: Literal["built", "template"] = "template"
    thinking: Thinking = "none"
    tools: Tools = "hermes"
    yarn: Yarn | None = None
    adapter_targets: tuple[str, ...] = DENSE
    turn_start: str = TURN_START
    turn_end: str = TURN_END
    text_end: str = TEXT_END
    card_modules: tuple[str, ...] = ()

    @property
    def is_qwen(self) -> bool:
        return self.key != "other"


class Lengths(NamedTuple):
    """In tokens. trained: texts of the training; limit: what the config lets in; reachable: with the stretching that
    was published for the model, switched on or not; by: what stretches from trained to reachable."""

    trained: int
    limit: int
    reachable: int
    by: Literal["", "ntk", "yarn", "other"]


_QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "?"}], "add_generation_prompt": True, "tools": None, "documents": None,
}  # fmt: skip
_THINK, _DO_NOT_THINK = {"enable_thinking": True}, {"enable_thinking": False}

OTHER = Family("other", "Not a Qwen", (), tools="none", turn_start="", turn_end="", text_end="")
LINEAR = ("fla", "causal_conv1d")  # programs for linear attention
FAMILIES = (
    Family("qwen", "Qwen (first generation)", ("qwen",), chat="built", tools="react",
           adapter_targets=("c_attn", "c_proj", "w1", "w2")),
    Family("qwen1_5", "Qwen1.5", ("qwen2",), tools="react"),
    Family("qwen2", "Qwen2", ("qwen2",), tools="qwen_agent", yarn=Yarn(4.0, hidden=3584)),
    Family("qwen2_5", "Qwen2.5", ("qwen2",), yarn=Yarn(4.0, hidden=3584)),
    Family("qwen1_5_moe", "Qwen1.5-MoE", ("qwen2_moe",), tools="react", adapter_targets=ATTENTION),
    Family("qwen2_moe", "Qwen2-MoE", ("qwen2_moe",), tools="qwen_agent", yarn=Yarn(2.0), adapter_targets=ATTENTION),
    Family("qwen3", "Qwen3", ("qwen3",), thinking="switch", yarn=Yarn(4.0, hidden=2560)),
    Family("qwen3_moe", "Qwen3-MoE", ("qwen3_moe",), thinking="switch", yarn=Yarn(4.0), adapter_targets=ATTENTION),
    Family("qwen3_next", "Qwen3-Next", ("qwen3_next",), yarn=Yarn(4.0, 262_144),
           adapter_targets=(*ATTENTION, "in_proj_qkvz", "out_proj"), card_modules=LINEAR),
    Family("qwen3_5", "Qwen3.5", ("qwen3_5", "qwen3_5_text"), thinking="switch", tools="xml", yarn=Yarn(4.0, 262_144),
           adapter_targets=(*DENSE, "in_proj_qkv", "in_proj_z", "out_proj"), card_modules=LINEAR),
    Family("qwen3_5_moe", "Qwen3.5-MoE", ("qwen3_5_moe", "qwen3_5_moe_text"), thinking="switch", tools="xml",
           yarn=Yarn(4.0, 262_144), adapter_targets=(*ATTENTION, "in_proj_qkv", "in_proj_z", "out_proj"),
           card_modules=LINEAR),
    Family("qwen4_exp", "Qwen4 (experimental)", ("qwen4_exp", "qwen4_exp_text"), thinking="switch", tools="xml",
           adapter_targets=(*ATTENTION, "in_proj_qkv", "in_proj_z", "out_proj"), card_modules=LINEAR),
    OTHER,
)  # fmt: skip
BY_KEY = {family.key: family for family in FAMILIES}


def family_of(config: Config, template: str = "") -> Family:
    """The family of a config.json. Qwen1.5, 2 and 2.5 share one architecture: heads, widths and, where the caller has
    it, the chat template tell them apart."""
    model_type = str(config.get("model_type", ""))
    if model_type == "qwen2":
        return BY_KEY[_dense_second(config, template)]
    if model_type == "qwen2_moe":
        return BY_KEY["qwen1_5_moe" if _has_equal_heads(config) else "qwen2_moe"]
    return next((family for family in FAMILIES if model_type in family.model_types), OTHER)


def text_config(config: Config) -> Config:
    """Where the language model of a config is described: models that also see keep it one level down."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def thinking_of(template: str) -> Thinking:
    """Whether the replies of this very model begin with thinking, and whether that can be switched. Families have
    members of several kinds (Instruct, Thinking, both in one), which differ in what their templates ask for."""
    if "<think>" not in template and "enable_thinking" not in template:
        return "none"
    from core.chat.jinja import render  # the window asks for families, never for this

    try:
        untold, on, off = (render(template, _QUESTION | chosen) for chosen in ({}, _THINK, _DO_NOT_THINK))
    except UserError:  # it takes no such conversation, and will say so when it is used
        return "none"
    if on != off:
        return "asked" if untold == off else "switch"
    return "always" if untold.rstrip().endswith("<think>") else "none"


def tools_of(family: Family, template: str) -> Tools:
    """How this very model calls tools."""
    if "<function=" in template:
        return "xml"
    return "hermes" if "<tool_call>" in template else family.tools


def lengths(config: Config, family: Family | None = None) -> Lengths:
    """How long texts may be. All zero for a config that does not say."""
    family = family or family_of(config)
    if family.key == "qwen":
        return _first_generation(LongContext.from_config(config))
    inner = text_config(config)
    limit = _whole(inner.get("max_position_embeddings"))
    kind, factor, original = _scaling(inner)
    if kind not in ("", "default"):
        trained = original or limit
        limit = max(limit, int(trained * factor)) if original else limit
        return Lengths(trained, limit, limit, "yarn" if kind == "yarn" else "other")
    trained = TRAINED_OF_LIMIT.get(limit, limit) if family.is_qwen else limit
    if stretch := published_yarn(config, family):
        return Lengths(trained, limit, max(limit, min(int(trained * stretch.factor), LONGEST_STRETCH)), "yarn")
    return Lengths(trained, limit, limit, "")


def published_yarn(config: Config, family: Family) -> Yarn | None:
    """The stretching that the model's makers published for it, where its config has none switched on."""
    inner, yarn = text_config(config), family.yarn
    if yarn is None or _scaling(inner)[0] not in ("", "default"):
        return None
    limit = _whole(inner.get("max_position_embeddings"))
    is_meant = TRAINED_OF_LIMIT.get(limit, limit) == yarn.trained
    return yarn if is_meant and _whole(inner.get("hidden_size")) >= yarn.hidden else None


def notices(config: Config, code_files: tuple[str, ...] = (), *, on_card: bool = False) -> tuple[Notice, ...]:
    """What a person should know of this model before they trust its answers, or wait for them."""
    found: list[Notice] = []
    family = family_of(config)
    if not family.is_qwen:
        names = config.get("architectures")
        architecture = str(names[0]) if isinstance(names, list) and names else str(config.get("model_type", "?"))
        found.append(Notice("not_a_qwen", {"architecture": architecture}))
    if code_files:
        found.append(Notice("code_never_run", {"files": ", ".join(code_files)}))
    if text_config(config) is not config:
        found.append(Notice("text_only"))
    missing = [PACKAGES[name] for name in family.card_modules if find_spec(name) is None]
    if on_card and missing:
        found.append(Notice("linear_attention_slow", {"packages": ", ".join(missing)}))
    return (*found, *(Notice(code) for code in remarks(config) if code == "system_prompt_weak"))


def remarks(config: Config) -> tuple[str, ...]:
    """Lines for the details of a model, `notice.<code>` of the catalogue; true whenever it runs, so no warning."""
    if family_of(config).key != "qwen":
        return ()
    # 7B and 14B saw few system prompts in training; 1.8B and 72B many.
    weak = ("system_prompt_weak",) if _whole(config.get("hidden_size")) in (4096, 5120) else ()
    return (*weak, WINDOW_ATTENTION_NOTICE)


def _dense_second(config: Config, template: str) -> str:
    if "Alibaba" in template or "<tool_call>" in template or "<think>" in template:
        return "qwen2_5"
    if _has_equal_heads(config):
        return "qwen1_5"
    shape = _whole(config.get("hidden_size")), _whole(config.get("intermediate_size"))
    if shape in ((5120, 27_392), (8192, 49_152)):  # Qwen1.5 32B and 110B, the two of it with shared key heads
        return "qwen1_5"
    # The sizes that only Qwen2.5 has: 3B, 14B and 32B. The others have the same shapes in both.
    return "qwen2_5" if shape[0] in (2048, 5120) or not template else "qwen2"


def _has_equal_heads(config: Config) -> bool:
    heads = config.get("num_attention_heads")
    return heads is not None and config.get("num_key_value_heads", heads) == heads


def _first_generation(found: LongContext) -> Lengths:
    limit = max(found.trained_length, found.extended_length)
    if not found.has_ntk:
        return Lengths(found.trained_length, limit, limit, "")
    return Lengths(found.trained_length, limit, max(limit, STRETCHED_FIRST), "ntk")


def _scaling(config: Config) -> tuple[str, float, int]:
    """(kind, factor, length before it) of the rotary scaling, in the old and the new spelling."""
    found = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(found, Mapping):
        return "", 1.0, 0
    kind = str(found.get("rope_type") or found.get("type") or "")
    factor = found.get("factor", 1.0)
    original = _whole(found.get("original_max_position_embeddings"))
    is_usable = isinstance(factor, int | float) and 1 <= factor <= LARGEST_FACTOR
    return kind, float(factor) if is_usable else 1.0, original


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
