"""The weights of a model with an adapter worked into them, tensor by tensor from the files of both.

A tensor is read when its turn to be written comes, so no model lies in memory. Invariant: what the adapter leaves alone
keeps its bits, and what it changes is computed in fp32 and rounded once, to the precision the base model is stored in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError
from core.inference.changes import trained_ids
from core.models import adapter as adapter_files
from core.models import families
from core.models.adapter import Adapter, Role
from core.models.checkpoint import Checkpoint
from core.models.quantised.gptq import Files
from core.models.safetensors_file import Planned, TensorEntry, read_header

CHUNK_BYTES = 16 * 1024 * 1024
HEAD = "lm_head"
_TABLE = re.compile(r"(^|\.)(embed_tokens|wte)$")


class MergedWeights:
    """
    Attributes:
        is_untied: head and table of embeddings were one in the base model, and are two now
    """

    def __init__(self, base: Checkpoint, found: Adapter) -> None:
        """
        Raises:
            UserError: adapter_layer_unknown, merge_bias, adapter_does_not_fit.
        """
        self._found = found
        self._weights = Files(base.folder, base.weight_files)
        self._changes = Files(found.folder, (adapter_files.WEIGHTS_NAME,))
        self._entries: dict[str, TensorEntry] = {}
        for file in base.weight_files:
            self._entries |= read_header(base.folder / file)
        self._is_tied = is_tied(base.config)
        self._table = next((name for name in self._entries if _TABLE.search(_layer(name))), "")
        adapter_files.need_fit(found, adapter_files.header_shapes(self._entries))
        self._need_places()
        self.is_untied = self._is_tied and self._has_own_head()

    def planned(self) -> list[Planned]:
        """In the order of the base's files. Another copy of a table that is tied is left out."""
        plans = [
            self._plan(name, entry, partial(self._merged, name))
            for name, entry in self._entries.items()
            if not (self._is_tied and _layer(name) == HEAD)
        ]
        if self.is_untied:
            plans.append(self._plan(f"{HEAD}.weight", self._entries[self._table], self._head))
        return plans

    def _plan(self, name: str, entry: TensorEntry, make: Any) -> Planned:
        return Planned(name, entry.dtype, entry.shape, _bytes_when_asked(make))

    # --- one tensor ------------------------------------------------------------------

    def _merged(self, name: str) -> Tensor:
        weight = self._weights.read(name)
        layer, leaf = _layer(name), name.rpartition(".")[2]
        roles = self._found.tensors.get(layer)
        if not roles or leaf not in ("weight", "bias"):
            return weight
        return self._weight(layer, weight) if leaf == "weight" else self._bias(layer, weight)

    def _weight(self, layer: str, weight: Tensor) -> Tensor:
        changes = self._read(layer)
        made = changes.get("weight", weight).to(weight.dtype)
        if "rows" in changes:
            made = made.index_copy(0, trained_ids(self._found, layer), changes["rows"].to(weight.dtype))
        if "a" not in changes:
            return made
        wide = made.float().addmm(changes["b"].float(), changes["a"].float(), alpha=self._found.scale(layer))
        if "magnitude" in changes:
            wide *= (changes["magnitude"].float() / wide.norm(dim=1))[:, None]
        return wide.to(weight.dtype)

    def _bias(self, layer: str, bias: Tensor) -> Tensor:
        changes = self._read(layer)
        made = changes.get("bias", bias)
        if "shift" in changes:
            made = made.float() + self._found.scale(layer) * changes["shift"].float()
        return made.to(bias.dtype)

    def _head(self) -> Tensor:
        """Of a model that had none of its own: the table as it was, with what was trained of it."""
        weight, table = self._weights.read(self._table), _layer(self._table)
        if HEAD in self._found.tensors:
            return self._weight(HEAD, weight)
        rows = self._found.tensors[table].get("rows")
        if rows is None:
            return weight
        return weight.index_copy(0, trained_ids(self._found, table), self._read(table)["rows"].to(weight.dtype))

    def _read(self, layer: str) -> dict[Role, Tensor]:
        return {role: self._changes.read(name) for role, (name, _) in self._found.tensors[layer].items()}

    # --- what there is ---------------------------------------------------------------

    def _has_own_head(self) -> bool:
        """The head was trained otherwise than the table it shares its weights with."""
        head, table = self._found.tensors.get(HEAD), self._found.tensors.get(_layer(self._table), {})
        if head is None or "weight" not in table or head.keys() != {"weight"}:
            return head is not None or "weight" in table or "a" in table
        return not torch.equal(self._read(HEAD)["weight"], self._read(_layer(self._table))["weight"])

    def _need_places(self) -> None:
        layers = {_layer(name) for name in self._entries} | ({HEAD} if self._is_tied else set())
        biased = {_layer(name) for name in self._entries if name.endswith(".bias")}
        for layer, roles in self._found.tensors.items():
            if layer not in layers:
                raise UserError("adapter_layer_unknown", name=self._found.folder.name, layer=layer)
            if roles.keys() & {"bias", "shift"} and layer not in biased:
                raise UserError("merge_bias", name=self._found.folder.name, layer=layer)


def is_tied(config: dict[str, Any]) -> bool:
    """Head and table of embeddings are one. What a config does not say is what its class says."""
    said = families.text_config(config).get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return bool(said) if said is not None else _tied_by_default(str(config.get("model_type", "")))


def _tied_by_default(model_type: str) -> bool:
    from transformers import AutoConfig

    if model_type == "qwen":
        return False
    return bool(AutoConfig.for_model(model_type).get_text_config().tie_word_embeddings)


def _layer(name: str) -> str:
    return adapter_files.layer_name(name.rpartition(".")[0])


def _bytes_when_asked(make: Any) -> Iterator[bytes]:
    flat = make().contiguous().flatten().view(torch.uint8)
    for piece in torch.split(flat, CHUNK_BYTES):
        yield piece.numpy().tobytes()
