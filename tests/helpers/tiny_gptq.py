"""Small models quantised as GPTQ publishes them: whole folders, and the plain model their weights stand for.

The rounding is to the nearest, which for tests of loading is as good as the real algorithm.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.models.quantised import packing
from core.models.quantised.scheme import Scheme
from core.models.quantised.weight import QuantisedWeight, join_nibbles
from tests.helpers import tiny_families, tiny_models, tiny_qwen_v1

WIDE = {"hidden_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen": {**WIDE, "kv_channels": 32, "intermediate_size": 512},
    "qwen2": {**WIDE, "head_dim": 32, "intermediate_size": 256, "tie_word_embeddings": False},
    "qwen3": {**WIDE, "head_dim": 32, "intermediate_size": 256, "tie_word_embeddings": True},
}  # fmt: skip


PACKED = 8  # outputs whose zeros share a word; gates of one output stay plain
FUSED = (".experts.gate_up_proj", ".experts.down_proj")


@dataclass(frozen=True)
class Kind:
    """group -1: one group a row; zeros: as in Scheme"""

    bits: int = 4
    group: int = 128
    desc_act: bool = False
    sym: bool = True
    zeros: Any = "less_one"

    @property
    def scheme(self) -> Scheme:
        return Scheme(8 if self.bits == 8 else 4, self.group, self.zeros)

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "bits": self.bits, "group_size": self.group, "damp_percent": 0.01, "desc_act": self.desc_act,
            "static_groups": False, "sym": self.sym, "true_sequential": True, "model_name_or_path": None,
            "model_file_base_name": "model", "quant_method": "gptq",
        }  # fmt: skip
        if self.zeros == "plain":
            found["checkpoint_format"] = "gptq_v2"
        if self.zeros == "less_one_carried":
            found["meta"] = {"quantizer": ["gptqmodel:2.2.0"]}
        return found


def rounded(weight: Tensor, kind: Kind) -> QuantisedWeight:
    """(out, in) to codes, with fp16 scales; by a random order of the inputs where desc_act is on."""
    outputs, inputs = weight.shape
    size = inputs if kind.group == -1 else kind.group
    order = torch.randperm(inputs) if kind.desc_act else None
    wide = (weight if order is None else weight[:, order]).float().view(outputs, -1, size)
    low, high = wide.amin(2).clamp(max=0), wide.amax(2).clamp(min=0)
    most, middle = 2**kind.bits - 1, 2 ** (kind.bits - 1)
    if kind.sym:
        high = torch.maximum(high, -low)
        low = -high
    scales = ((high - low) / most).half().clamp(min=1e-6)
    # Stored less one, a zero of 0 does not exist.
    least = 0 if kind.zeros == "plain" else 1
    zeros = torch.full_like(scales, middle) if kind.sym else (-low / scales).round().clamp(least, most)
    codes = (wide / scales.float()[..., None] + zeros.float()[..., None]).round().clamp(0, most)
    packed = codes.to(torch.uint8).view(outputs, inputs)
    return QuantisedWeight(
        codes=join_nibbles(packed) if kind.bits == 4 else packed,
        scales=scales,
        zeros=None if kind.sym else zeros.to(torch.uint8),
        order=order,
        bits=8 if kind.bits == 8 else 4,
    )


def write(folder: Path, architecture: str, kind: Kind, seed: int = 0) -> tuple[Path, Any]:
    """The folder, and the model in fp32 whose weights are exactly those of the folder."""
    torch.manual_seed(seed)
    model = _model(architecture, seed)
    tensors = {name: tensor.half() for name, tensor in model.state_dict().items()}
    plain = {name: tensor.float() for name, tensor in tensors.items()}
    for name, weight in _weights(model, tensors).items():
        packed = rounded(weight, kind)
        layer = name.removesuffix(".weight")
        tensors |= {f"{layer}.{key}": tensor for key, tensor in packing.write(packed, kind.scheme).items()}
        tensors.setdefault(f"{layer}.bias", torch.zeros(weight.shape[0], dtype=torch.float16))
        _put(plain, name, packed.in_order_of_input(packed.dequantised()), weight.shape)
        tensors.pop(name, None)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(FUSED)}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    _write_folder(folder, architecture, model, kind)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    reference = deepcopy(model).float()
    reference.load_state_dict(plain)
    return folder, reference.eval()


def _model(architecture: str, seed: int) -> Any:
    if architecture not in SHAPES:  # 64 wide, experts of 32
        return tiny_families.model(architecture, seed)
    if architecture == "qwen":
        return tiny_qwen_v1.model(seed=seed, **SHAPES[architecture])
    return tiny_models.model(architecture, seed=seed, **SHAPES[architecture])


def _weights(model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What GPTQ quantises, by the name a file gives it: linear layers inside the blocks, experts one by one."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if type(module) is nn.Linear and "lm_head" not in name and module.out_features % PACKED == 0:
            found[f"{name}.weight"] = tensors[f"{name}.weight"]
    for name, tensor in tensors.items():
        where = name.rpartition(".")[0]
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(tensor):
                gate, up = both.chunk(2)
                found[f"{where}.{expert}.gate_proj.weight"] = gate
                found[f"{where}.{expert}.up_proj.weight"] = up
        elif name.endswith("experts.down_proj"):
            found |= {f"{where}.{expert}.down_proj.weight": down for expert, down in enumerate(tensor)}
    return found


def _put(plain: dict[str, Tensor], name: str, values: Tensor, shape: torch.Size) -> None:
    if name in plain:
        plain[name] = values
        return
    where, expert, part, _ = name.rsplit(".", 3)
    if part == "down_proj":
        plain[f"{where}.down_proj"][int(expert)] = values
        return
    rows = slice(0, shape[0]) if part == "gate_proj" else slice(shape[0], None)
    plain[f"{where}.gate_up_proj"][int(expert), rows] = values


def _write_folder(folder: Path, architecture: str, model: Any, kind: Kind) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if architecture == "qwen":
        tiny_qwen_v1.write_model(folder, made=model)
    else:
        model.save_pretrained(folder)
        tiny_models.write_tokenizer(folder)
    (folder / "model.safetensors").unlink()
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config |= {"torch_dtype": "float16", "fp16": True, "quantization_config": kind.config}
    config.pop("dtype", None)
    file.write_text(json.dumps(config), "utf-8")
    (folder / "quantize_config.json").write_text(json.dumps(kind.config), "utf-8")
