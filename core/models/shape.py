"""The shape of a model: its matrices layer by layer and what each layer remembers, from config and file headers.

Reads JSON and safetensors headers only, never torch: the front asks it before anything is loaded, and for models that
are not downloaded yet a config alone will do. Invariant: `parameters` is what the loaded model has, tied ones once.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.models import stored_grid
from core.models.declared_tensors import declared_tensors
from core.models.safetensors_file import INDEX_NAME, ITEM_BYTES, read_header

Json = dict[str, Any]
LayerKind = Literal["full", "sliding", "recurrent"]

EXPERTS = ".experts."
PRECISIONS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_LAYER = re.compile(r"(.+?\.(?:layers|h))\.(\d+)\.(.+)")
_EMBEDDING = re.compile(r"\.(embed_tokens|wte)\.weight$")
_HEAD = re.compile(r"(^|\.)lm_head\.weight$")
_NO_PART = re.compile(r"^(mtp|visual|model\.visual|vision_tower|audio_tower)\.")  # not part of the causal text model
_NO_PARAMETER = re.compile(r"\.(inv_freq|masked_bias|logn_tensor|rotary_emb\..+|attn\.bias)$")
_GPTQ = re.compile(r"\.(qweight|qzeros|scales|g_idx)$")


@dataclass(frozen=True, slots=True)
class Matrix:
    """`count` linear layers of the same (rows, columns), rows being outputs. bits: 0 for plain weights, else GPTQ's;
    is_expert: of a mixture, whose experts lie in memory as one tensor."""

    rows: int
    columns: int
    count: int = 1
    bits: int = 0
    is_expert: bool = False

    @property
    def elements(self) -> int:
        return self.rows * self.columns * self.count


@dataclass(frozen=True, slots=True)
class Memory:
    """What one layer remembers of a sequence.

    kind: "full" keeps keys and values of every token, "sliding" of the last `window`, "recurrent" a state of fixed size
    state: elements of that state
    """

    kind: LayerKind = "full"
    heads: int = 0
    key_width: int = 0
    value_width: int = 0
    window: int = 0
    state: int = 0

    @property
    def elements_per_token(self) -> int:
        return self.heads * (self.key_width + self.value_width)


@dataclass(frozen=True, slots=True)
class Block:
    """One part of the model that is never split over devices. `name`: the module's own. `others`: elements of norms,
    biases, convolutions and tables, everything that is no linear layer's matrix."""

    name: str
    matrices: tuple[Matrix, ...] = ()
    others: int = 0
    memory: Memory | None = None

    @property
    def parameters(self) -> int:
        return sum(matrix.elements for matrix in self.matrices) + self.others


@dataclass(frozen=True, slots=True)
class Quantised:
    """How the matrices lie in the files. group: inputs that share a scale, -1 for all."""

    method: str
    bits: int
    group: int


@dataclass(frozen=True)
class Shape:
    """
    Attributes:
        stored: the precision most of the plain weights are in
        head: None where it is the embedding (tied)
        queries: query heads of the attention layers; inner: the widest inner row of an MLP
        context_length: tokens, 0 where the config does not say
        had_4_bits: before they were written in full, see stored_grid.py
    """

    model_type: str
    architecture: str
    stored: str
    hidden: int
    inner: int
    queries: int
    vocabulary: int
    context_length: int
    embedding: Block
    layers: tuple[Block, ...]
    final: Block
    head: Block | None
    quantised: Quantised | None = None
    had_4_bits: bool = False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of a forward pass."""
        return (self.embedding, *self.layers, self.final, *((self.head,) if self.head else ()))

    @cached_property
    def parameters(self) -> int:
        return sum(block.parameters for block in self.blocks)


def read_shape(folder: Path) -> Shape:
    """The shape of a model folder.

    Raises:
        UserError: config_missing, config_unreadable, config_incomplete, weights_missing or safetensors_*.
    """
    config = _config(folder)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    had_4_bits = False
    for number, file in enumerate(_weight_files(folder)):
        entries = read_header(file)
        tensors |= {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
        if not number:
            had_4_bits = stored_grid.had_4_bits(file, entries)
    return replace(shape_from(config, tensors), had_4_bits=had_4_bits)


def shape_of(config: Json) -> Shape:
    """The shape of a model that is only known by its config.

    Raises:
        UserError: config_incomplete, or architecture_unknown for one whose tensors we cannot tell from the config.
    """
    return shape_from(config, declared_tensors(config))


def shape_from(config: Json, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Shape:
    """From a config and the tensors of the files: name -> (dtype as in safetensors, shape)."""
    text = config.get("text_config") or config
    facts = _Facts(text)
    quantised = _quantisation(config)
    grouped: dict[int | str, list[tuple[str, str, tuple[int, ...]]]] = {}
    names: dict[int | str, str] = {}
    for name, (dtype, shape) in tensors.items():
        if _NO_PART.match(name) or _NO_PARAMETER.search(name):
            continue
        place, block = _placed(name)
        grouped.setdefault(place, []).append((name, dtype, shape))
        names.setdefault(place, block)
    is_tied = "head" not in grouped or bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False)))
    made = {
        place: _block(names[place], entries, quantised, facts.memory(place) if isinstance(place, int) else None)
        for place, entries in grouped.items()
    }
    layers = tuple(made[place] for place in sorted(place for place in made if isinstance(place, int)))
    if not layers or "embedding" not in made:
        raise UserError("config_incomplete", field="num_hidden_layers")
    return Shape(
        model_type=str(config.get("model_type", "")),
        architecture=str((config.get("architectures") or [""])[0]),
        stored=_stored(tensors, config),
        hidden=facts.hidden,
        inner=facts.inner,
        queries=facts.queries,
        vocabulary=facts.vocabulary,
        context_length=int(text.get("max_position_embeddings") or 0),
        embedding=made["embedding"],
        layers=layers,
        final=made.get("final", Block("model.norm")),
        head=None if is_tied else made["head"],
        quantised=quantised,
    )


class _Facts:
    """A config by one set of names, whatever the generation calls them."""

    def __init__(self, text: Json) -> None:
        self._text = text
        self.hidden = self._number("hidden_size", "n_embd")
        self.layers = self._number("num_hidden_layers", "n_layer")
        self.queries = self._number("num_attention_heads", "n_head")
        self.key_heads = self._number("num_key_value_heads", default=self.queries)
        self.width = self._number("head_dim", "kv_channels", default=self.hidden // self.queries)
        self.vocabulary = self._number("vocab_size", "padded_vocab_size", default=0)
        inner = self._number("intermediate_size", "n_inner", "ffn_hidden_size", default=4 * self.hidden)
        self.inner = inner // 2 if text.get("model_type") == "qwen" else inner

    def memory(self, layer: int) -> Memory:
        kind = self._kind(layer)
        if kind == "linear_attention":
            return Memory("recurrent", state=self._state())
        window = int(self._text.get("sliding_window") or 0) if kind == "sliding_attention" else 0
        return Memory("sliding" if window else "full", self.key_heads, self.width, self.width, window)

    def _kind(self, layer: int) -> str:
        text = self._text
        if kinds := text.get("layer_types"):
            return str(kinds[layer]) if layer < len(kinds) else "full_attention"
        if "linear_num_value_heads" in text:
            return "linear_attention" if (layer + 1) % int(text.get("full_attention_interval", 4)) else "full_attention"
        if "use_sliding_window" in text:
            slides = text["use_sliding_window"] and layer >= int(text.get("max_window_layers") or 0)
            return "sliding_attention" if slides else "full_attention"
        return "sliding_attention" if text.get("sliding_window") else "full_attention"

    def _state(self) -> int:
        """Of a gated delta net: the last inputs of its convolution, and a matrix for each value head."""
        text = self._text
        values, keys = int(text["linear_num_value_heads"]), int(text["linear_num_key_heads"])
        value_width, key_width = int(text["linear_value_head_dim"]), int(text["linear_key_head_dim"])
        channels = 2 * keys * key_width + values * value_width
        return channels * int(text.get("linear_conv_kernel_dim", 4)) + values * key_width * value_width

    def _number(self, *names: str, default: int | None = None) -> int:
        for name in names:
            found = self._text.get(name)
            if isinstance(found, int) and found > 0:
                return found
        if default is None:
            raise UserError("config_incomplete", field=names[0])
        return default


def _placed(name: str) -> tuple[int | str, str]:
    """In which part a tensor lies, and the name of the module that is this part. Models that also see are loaded as
    their language model alone, one level higher."""
    name = name.replace("model.language_model.", "model.", 1)
    if found := _LAYER.fullmatch(name):
        return int(found[2]), f"{found[1]}.{found[2]}"
    if _EMBEDDING.search(name):
        return "embedding", name.removesuffix(".weight")
    if _HEAD.search(name):
        return "head", name.removesuffix(".weight")
    return "final", name.rpartition(".")[0]


def _block(
    name: str, entries: list[tuple[str, str, tuple[int, ...]]], quantised: Quantised | None, memory: Memory | None
) -> Block:
    matrices: Counter[tuple[int, int, int, bool]] = Counter()
    others = 0
    for tensor, _, shape in entries:
        if quantised is not None and _GPTQ.search(tensor):
            if tensor.endswith(".qweight"):
                matrices[shape[1], shape[0] * 32 // quantised.bits, quantised.bits, EXPERTS in tensor] += 1
        elif _is_matrix(tensor, shape):
            matrices[shape[-2], shape[-1], 0, EXPERTS in tensor] += prod(shape[:-2])
        else:
            others += prod(shape)
    kinds = tuple(
        Matrix(rows, columns, count, bits, is_expert) for (rows, columns, bits, is_expert), count in matrices.items()
    )
    return Block(name, kinds, others, memory)


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """The weight of a linear layer, or of many experts in one tensor."""
    if _EMBEDDING.search(name) or "conv" in name:
        return False
    return len(shape) == 2 or (len(shape) == 3 and EXPERTS in name)


def _quantisation(config: Json) -> Quantised | None:
    found = config.get("quantization_config")
    if not isinstance(found, dict):
        return None
    return Quantised(str(found.get("quant_method", "")), int(found.get("bits", 4)), int(found.get("group_size", 128)))


def _stored(tensors: Mapping[str, tuple[str, tuple[int, ...]]], config: Json) -> str:
    sizes: Counter[str] = Counter()
    for dtype, shape in tensors.values():
        if dtype in PRECISIONS:
            sizes[dtype] += prod(shape) * ITEM_BYTES[dtype]
    if sizes:
        return PRECISIONS[sizes.most_common(1)[0][0]]
    return str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def _config(folder: Path) -> Json:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError("config_missing", folder=str(folder))
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise UserError("config_unreadable", file=file.name, folder=str(folder))
    return config


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_NAME
    if index.is_file():
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        files = [folder / name for name in names]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files or not all(file.is_file() for file in files):
        raise UserError("weights_missing", folder=str(folder))
    return files
