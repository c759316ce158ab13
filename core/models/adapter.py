"""Looks at an adapter folder (PEFT's format) and says what it changes, or in one sentence why it cannot be used.

Reads adapter_config.json and the header of the weights; opens no pickle and imports no torch. Invariant: an `Adapter`
that was made has weights for every layer it names, of the shapes its own config says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.models.safetensors_file import TensorEntry, read_header
from core.protocol.messages import Notice

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
PICKLE_NAME = "adapter_model.bin"
SIDE_FILES = (
    CONFIG_NAME, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "qwen.tiktoken", "generation_config.json",
)  # fmt: skip
PREFIX = "base_model.model."
PRECISIONS: dict[str, Literal["bfloat16", "float16", "float32"]] = {
    "BF16": "bfloat16", "F16": "float16", "F32": "float32",
}  # fmt: skip

# a, b: the two factors; shift: added to the output of b; magnitude: of DoRA; rows: single rows of a table; weight and
# bias: a whole layer that was trained along; copy: a part of the base model, saved needlessly
Role = Literal["a", "b", "shift", "magnitude", "rows", "weight", "bias", "copy"]
_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"\.lora_A(\.\w+)?\.weight$"), "a"),
    (re.compile(r"\.lora_B(\.\w+)?\.weight$"), "b"),
    (re.compile(r"\.lora_B(\.\w+)?\.bias$"), "shift"),
    (re.compile(r"\.lora_magnitude_vector(\.\w+)?$"), "magnitude"),
    (re.compile(r"\.token_adapter\.trainable_tokens_delta(\.\w+)?$"), "rows"),
    (re.compile(r"\.base_layer\.weight$"), "copy"),
    (re.compile(r"(\.modules_to_save(\.\w+)?)?\.weight$"), "weight"),
    (re.compile(r"(\.base_layer|\.modules_to_save(\.\w+)?)?\.bias$"), "bias"),
)
# Ways to begin a training that change the base model itself, so that the adapter fits the changed one only.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# What PEFT can do beyond two factors beside a linear layer.
_UNUSUAL = (
    "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication",
    "monteclora_config", "target_parameters", "use_bdlora", "use_qalora",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adapter:
    """
    base_name: what its config calls the model it was trained on: a hub name or a folder; may be empty
    tensors: the name in the file and the shape, by the layer of the base model and the role it has there
    needs_peft: why only the PEFT library itself can compute it; empty for plain low-rank factors
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, dict[Role, tuple[str, TensorEntry]]]
    needs_peft: str
    notices: tuple[Notice, ...]

    @property
    def base_name(self) -> str:
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def kind(self) -> str:
        """As people name it."""
        return "DoRA" if self.config.get("use_dora") else "rsLoRA" if self.config.get("use_rslora") else "LoRA"

    @property
    def rank(self) -> int:
        return _whole(self.config.get("r"), 8)

    @property
    def alpha(self) -> float:
        return _number(self.config.get("lora_alpha"), 8.0)

    @property
    def targets(self) -> tuple[str, ...]:
        """The last part of the names of the layers it changes."""
        return tuple(sorted({layer.rpartition(".")[2] for layer in self.tensors}))

    @property
    def parameters(self) -> int:
        return sum(entry.elements for _, entry in self._entries())

    @property
    def weights(self) -> Literal["bfloat16", "float16", "float32"]:
        return PRECISIONS.get(next((entry.dtype for _, entry in self._entries()), "F32"), "float32")

    @property
    def file_names(self) -> tuple[str, ...]:
        return (*(name for name in SIDE_FILES if (self.folder / name).is_file()), WEIGHTS_NAME)

    def scale(self, layer: str) -> float:
        """What the product of the two factors is multiplied by in this layer."""
        rank, alpha = _patterned(self.config, "rank_pattern", layer), _patterned(self.config, "alpha_pattern", layer)
        r, a = _whole(rank, self.rank), _number(alpha, self.alpha)
        return a / (math.sqrt(r) if self.config.get("use_rslora") else r)

    def _entries(self) -> Iterable[tuple[str, TensorEntry]]:
        return (found for roles in self.tensors.values() for found in roles.values())


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG_NAME).is_file()


def examine(folder: Path) -> Adapter:
    """
    Raises:
        UserError: as read_config(); adapter_weights_missing, adapter_pickle, adapter_damaged, lfs_pointer,
            safetensors_*.
    """
    config = read_config(folder)
    file = weights_file(folder)
    tensors: dict[str, dict[Role, tuple[str, TensorEntry]]] = {}
    strange = ""
    for name, entry in read_header(file).items():
        layer, role = _place(name)
        if role is None:
            strange = strange or name
        elif role != "copy":
            tensors.setdefault(layer, {})[role] = (name, entry)
    if not tensors and not strange:
        raise UserError("adapter_weights_missing", folder=str(folder))
    needs_peft = next((key for key in _UNUSUAL if config.get(key)), "") or strange
    if not needs_peft:
        _need_whole(folder, config, tensors)
    return Adapter(folder, config, tensors, needs_peft, _notices(config, tensors))


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json, once it describes a LoRA that leaves its base model alone.

    Raises:
        UserError: adapter_config_missing, adapter_is_model, adapter_config_unreadable, adapter_kind_unknown,
            adapter_changes_base.
    """
    try:
        config = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
    except FileNotFoundError:
        if (folder / "config.json").is_file():
            raise UserError("adapter_is_model", name=str(folder)) from None
        raise UserError("adapter_config_missing", folder=str(folder)) from None
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise UserError("adapter_config_unreadable", folder=str(folder))
    kind = str(config.get("peft_type", "?"))
    if kind.upper() != "LORA":
        raise UserError("adapter_kind_unknown", kind=kind)
    begun = str(config.get("init_lora_weights", "")).lower()
    if begun.startswith(_CHANGES_BASE):
        raise UserError("adapter_changes_base", method=begun)
    return config


def weights_file(folder: Path) -> Path:
    file = folder / WEIGHTS_NAME
    if file.is_file():
        return file
    code = "adapter_pickle" if (folder / PICKLE_NAME).is_file() else "adapter_weights_missing"
    raise UserError(code, folder=str(folder))


def need_fit(found: Adapter, shapes: Mapping[str, tuple[int, int]]) -> None:
    """shapes: (inputs, outputs) of the layers of the base model by name; of a table of embeddings (width, rows). Layers
    that are not in it are not judged.

    Raises:
        UserError: adapter_does_not_fit.
    """
    for layer, roles in found.tensors.items():
        if (shape := shapes.get(layer)) is None:
            continue
        inputs, outputs = shape
        for role, (_, entry) in roles.items():
            has, wants = entry.shape[-1 if role in ("a", "rows") else 0], inputs if role in ("a", "rows") else outputs
            if has != wants:
                raise UserError("adapter_does_not_fit", name=found.folder.name, layer=layer, expected=wants, found=has)


def header_shapes(entries: Mapping[str, TensorEntry]) -> dict[str, tuple[int, int]]:
    """What need_fit wants, from the headers of a checkpoint whose weights are plain."""
    return {
        layer_name(name.removesuffix(".weight")): (entry.shape[1], entry.shape[0])
        for name, entry in entries.items()
        if name.endswith(".weight") and len(entry.shape) == 2
    }


def header_layers(entries: Mapping[str, TensorEntry]) -> set[str]:
    """The names of all layers of a checkpoint, whatever their weights are."""
    return {layer_name(name.rpartition(".")[0]) for name in entries}


def layer_name(name: str) -> str:
    """The language part of a model that also sees is loaded alone, without that step of its name."""
    return name.removeprefix(PREFIX).replace("model.language_model.", "model.")


def _place(name: str) -> tuple[str, Role | None]:
    """The layer of the base model, and what the tensor is there; None for what is not known here."""
    for pattern, role in _ROLES:
        if found := pattern.search(name):
            layer = layer_name(name[: found.start()])
            return layer, None if ".lora_" in layer or layer.endswith(".experts") else role
    return name, None


def _need_whole(folder: Path, config: dict[str, Any], tensors: dict[str, dict[Role, tuple[str, TensorEntry]]]) -> None:
    for layer, roles in tensors.items():
        if ("a" in roles) != ("b" in roles):
            raise UserError("adapter_damaged", folder=folder.name, layer=layer)
        if "a" not in roles:
            continue
        rank = _whole(_patterned(config, "rank_pattern", layer), _whole(config.get("r"), 8))
        a, b = roles["a"][1].shape, roles["b"][1].shape
        if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
            raise UserError("adapter_damaged", folder=folder.name, layer=layer)


def _notices(config: dict[str, Any], tensors: Mapping[str, Mapping[Role, object]]) -> tuple[Notice, ...]:
    """An early fine-tuning script saved the factors only, although embedding and head had been trained as well."""
    wanted = config.get("modules_to_save") or ()
    saved = {layer.rpartition(".")[2] for layer, roles in tensors.items() if "weight" in roles}
    missing = sorted(str(name) for name in wanted if str(name).rpartition(".")[2] not in saved)
    return (Notice("adapter_layers_missing", {"layers": ", ".join(missing)}),) if missing else ()


def _patterned(config: dict[str, Any], key: str, layer: str) -> object:
    """The value that a pattern of the config gives to a layer; None without one."""
    patterns = config.get(key)
    if not isinstance(patterns, dict):
        return None
    try:
        return next((value for name, value in patterns.items() if re.match(rf"(.*\.)?({name})$", layer)), None)
    except re.error:
        raise UserError("adapter_damaged", folder=CONFIG_NAME, layer=layer) from None


def _whole(value: object, fallback: int) -> int:
    return value if isinstance(value, int) and value > 0 else fallback


def _number(value: object, fallback: float) -> float:
    return float(value) if isinstance(value, int | float) else fallback
