"""How the weights of a checkpoint are quantised, as its config.json or quantize_config.json says. Imports no torch.

Invariant: a `Scheme` is one that packing.py can read; every other one is refused in a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError

FILE_NAME = "quantize_config.json"
SUFFIXES = ("qweight", "qzeros", "scales", "g_idx")  # of the tensors of a quantised layer
# What would read the other kinds; only named.
PACKAGES = {
    "awq": "autoawq",
    "compressed-tensors": "compressed-tensors",
    "fp8": "fbgemm-gpu",
    "fbgemm_fp8": "fbgemm-gpu",
    "bitsandbytes": "bitsandbytes",
    "quark": "amd-quark",
    "hqq": "hqq",
    "aqlm": "aqlm",
    "torchao": "torchao",
    "quanto": "optimum-quanto",
    "auto-round": "auto-round",
    "eetq": "eetq",
}


@dataclass(frozen=True, slots=True)
class Scheme:
    """
    group: inputs that share a scale and a zero, -1 for all
    zeros: "less_one" each is stored less one (the first format), "less_one_carried" the same by subtraction from whole
        words, borrows included (what gptqmodel writes), "plain" as they are (gptq_v2)
    """

    bits: Literal[4, 8]
    group: int
    zeros: Literal["less_one", "less_one_carried", "plain"] = "less_one"


def scheme_of(config: Mapping[str, Any], folder: Path) -> Scheme | None:
    """None for plain weights.

    Raises:
        UserError: quantisation_method, quantisation_field or config_unreadable.
    """
    found = config.get("quantization_config") or _side_file(folder)
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise UserError("quantisation_field", folder=folder.name, field="quantization_config", value=_shown(found))
    method = str(found.get("quant_method") or "gptq").lower()
    if method != "gptq":
        package = PACKAGES.get(method, method)
        raise UserError("quantisation_method", folder=folder.name, method=method, package=package)
    return _gptq(found, folder.name)


def _gptq(found: Mapping[str, Any], name: str) -> Scheme:
    bits, group = found.get("bits"), found.get("group_size", -1)
    if bits not in (4, 8):
        raise UserError("quantisation_field", folder=name, field="bits", value=_shown(bits))
    if not isinstance(group, int) or isinstance(group, bool) or (group < 1 and group != -1):
        raise UserError("quantisation_field", folder=name, field="group_size", value=_shown(group))
    form = found.get("checkpoint_format") or "gptq"
    if form not in ("gptq", "gptq_v2"):
        raise UserError("quantisation_field", folder=name, field="checkpoint_format", value=_shown(form))
    if found.get("pack_dtype", "int32") not in ("int32", "torch.int32"):
        raise UserError("quantisation_field", folder=name, field="pack_dtype", value=_shown(found["pack_dtype"]))
    if found.get("dynamic"):  # layers of other widths; those it leaves plain are seen from the tensors
        _need_same_bits(found["dynamic"], bits, group, name)
    if form == "gptq_v2":
        return Scheme(bits, group, "plain")
    return Scheme(bits, group, "less_one_carried" if "gptqmodel" in _quantizer(found) else "less_one")


def _need_same_bits(dynamic: object, bits: int, group: int, name: str) -> None:
    rules = dynamic.values() if isinstance(dynamic, Mapping) else ()
    for rule in rules:
        if not isinstance(rule, Mapping):
            continue
        if rule.get("bits", bits) != bits or rule.get("group_size", group) != group:
            raise UserError("quantisation_field", folder=name, field="dynamic", value=_shown(rule))


def _quantizer(found: Mapping[str, Any]) -> str:
    """The program that wrote it, "" where it does not say."""
    meta = found.get("meta")
    return str(meta.get("quantizer", "")) if isinstance(meta, Mapping) else ""


def _side_file(folder: Path) -> object:
    file = folder / FILE_NAME
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError):
        raise UserError("config_unreadable", file=file.name, folder=str(folder)) from None


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:80]
