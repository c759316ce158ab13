"""Plain weights that read the same input laid side by side, so that one product does for all of them.

Invariant: nothing is held twice: the modules' own weights become views of the joined one, so the module, adapters and
everything else that names them go on as before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from core.inference import architectures


@torch.no_grad()
def join(model: Any) -> int:
    """Join what can be joined in a model that has no `architectures.obstacle`; how many groups were."""
    return sum(_join(modules) for modules in architectures.same_input(model))


def _join(modules: list[Any]) -> bool:
    if len(modules) < 2 or not all(type(module) is nn.Linear for module in modules):
        return False
    if len({module.weight.dtype for module in modules}) > 1:
        return False
    whole = torch.cat([module.weight for module in modules])
    at = 0
    for module in modules:
        module.weight.data = whole.narrow(0, at, module.out_features)
        at += module.out_features
    return True
