"""Which causal language models the installed transformers can build, read without importing it.

transformers names them in one file of literals; importing that file loads torch, which takes seconds and hundreds of
megabytes. Invariant: the answer is that of the installed version, by whichever way it was read.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

CAUSAL, SEEING = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"

Names = Mapping[str, tuple[str, ...]]


def is_known(model_type: str, architecture: str) -> bool:
    """A model that also sees, as Qwen3.5 is published, counts where its language model can be loaded alone."""
    causal, seeing = _read()
    known = causal.get(model_type, ())
    return bool(known) and architecture in (*known, *seeing.get(model_type, ()))


@lru_cache(maxsize=1)
def _read() -> tuple[Names, Names]:
    """The classes by model_type: those that are causal, and those that also see."""
    found = _from_source()
    if CAUSAL not in found or SEEING not in found:
        from transformers.models.auto import modeling_auto

        found = {name: getattr(modeling_auto, name) for name in (CAUSAL, SEEING)}
    return _tuples(found[CAUSAL]), _tuples(found[SEEING])


def _from_source() -> dict[str, Mapping[str, str | tuple[str, ...]]]:
    spec = find_spec("transformers")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = Path(folders[0]) / "models" / "auto" / "modeling_auto.py" if folders else None
    if file is None or not file.is_file():
        return {}
    found: dict[str, Mapping[str, str | tuple[str, ...]]] = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call):
            name = node.targets[0].id
            if name in (CAUSAL, SEEING) and node.value.args:
                found[name] = dict(ast.literal_eval(node.value.args[0]))
    return found


def _tuples(names: Mapping[str, str | tuple[str, ...]]) -> Names:
    return {key: (value,) if isinstance(value, str) else tuple(value) for key, value in names.items()}
