"""What is said of a model of the library as JSON. Invariant: names once given out stay, since scripts read them."""

from __future__ import annotations

from typing import Any

from app.services.installed import Installed


def facts(model: Installed) -> dict[str, Any]:
    known = model.manifest
    return {
        "name": known.name,
        "architecture": known.architecture,
        "model_type": known.model_type,
        "weights": known.weights,
        "parameters": known.parameters,
        "context_length": known.context_length,
        "size_bytes": known.size_bytes,
        "licence": known.licence,
        "can_chat": known.can_chat,
        "source": known.source,
        "added": known.added,
        "folder": str(model.files_folder),
        "in_place": bool(known.location),
        "gone": model.is_gone,
        "code_files": list(known.code_files),
        "base": known.base,
    }
