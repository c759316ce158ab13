"""Compiles every Triton kernel to machine code for NVIDIA cards, which needs none: `python -m ... [CAPABILITY ...]`.

Prints one JSON object: by kernel and capability the registers' spill, the shared memory and the warps, or what was
wrong.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

CAPABILITIES = (80, 90)
POINTERS = {"half": "*bf16", "wide": "*fp32", "byte": "*u8", "code": "*i8", "place": "*i64"}


def kernels() -> dict[str, tuple[Any, dict[str, str], dict[str, Any], int]]:
    """By name: the kernel, its arguments' types, its constants, its warps; as a 7B model launches them."""
    from core.inference.card.kernels import attention, gate, int4_product, int8_product, norm, placing

    half, wide, byte, code, place, number = "*bf16", "*fp32", "*u8", "*i8", "*i64", "i32"
    found: dict[str, Any] = {}
    found["norm"] = (
        norm._add_norm,
        dict(x=half, delta=half, weight=half, summed=half, out=half, width=number, epsilon="fp32"),
        dict(HAS_DELTA=True, BLOCK=4096), 8,
    )  # fmt: skip
    found["gate"] = (gate._gate, dict(gate_up=half, out=half, width=number), dict(BLOCK=1024), 4)
    for packed in (False, True):
        keys, values = (code, byte) if packed else (half, half)
        for scaled in (False, True):
            found[f"place{' int8' * packed}{' normed and scaled' * scaled}"] = (
                placing._place,
                dict(qkv=half, gain=half, cos=half, sin=half, query_scale=wide, places=place, queries=half, keys=keys,
                     values=values, largest=half, marks=wide, inverse=half, heads=number, kv_heads=number, width=number,
                     room=number, epsilon="fp32"),
                dict(HAS_NORM=scaled, HAS_SCALE=scaled, IS_INT8=packed, BLOCK=128), 1,
            )  # fmt: skip
        found[f"attend{' int8' * packed}"] = (
            attention._part,
            dict(queries=half, keys=keys, values=values, largest=half, marks=wide, sizes=wide, places=place,
                 partial=wide, extent=wide, new=number, heads=number, kv_heads=number, width=number, room=number,
                 scale="fp32"),
            dict(SPLITS=16, IS_INT8=packed, ROWS=16, TOKENS=attention.TOKENS, BLOCK=128), 4,
        )  # fmt: skip
    found["join"] = (
        attention._join, dict(partial=wide, extent=wide, out=half, width=number), dict(SPLITS=16, BLOCK=128), 2,
    )  # fmt: skip
    for splits, out in ((1, half), (4, wide)):
        for zeros in (False, True):
            found[f"int4 in {splits}{' with zeros' * zeros}"] = (
                int4_product._multiply,
                dict(x=half, codes=byte, scales=half, zeros=byte, out=out, rows=number, outputs=number, inputs=number,
                     groups=number),
                dict(HAS_ZEROS=zeros, GROUP=128, AT_ONCE=4, OUTPUTS=int4_product.OUTPUTS, SPLITS=splits), 4,
            )  # fmt: skip
    found["int8"] = (
        int8_product._multiply,
        dict(x=half, codes=byte, scales=wide, zeros=byte, out=half, outputs=number, inputs=number),
        dict(HAS_ZEROS=False, OUTPUTS=int8_product.OUTPUTS, INPUTS=int8_product.INPUTS), 4,
    )  # fmt: skip
    return found


def build(capability: int) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    results: dict[str, Any] = {}
    for name, (kernel, types, constants, warps) in kernels().items():
        signature = types | dict.fromkeys(constants, "constexpr")
        # Tensors begin at multiples of 16 bytes, and what a 7B model passes as sizes are such multiples too.
        attributes = {
            (place,): [["tt.divisibility", 16]]
            for place, kind in enumerate(types.values())
            if kind.startswith("*") or (kind == "i32" and list(types)[place] in ("width", "inputs", "outputs", "room"))
        }
        source = ASTSource(kernel, signature, {key: value for key, value in constants.items()}, attributes)
        try:
            done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"[:2000]
            continue
        ptx = done.asm["ptx"]
        loads = sorted(set(re.findall(r"ld\.global\S*?\.(?:v\d\.)?[a-z]\d+", ptx)))
        results[name] = {
            "bytes": len(done.asm["cubin"]), "shared": done.metadata.shared, "loads": loads,
            "tensor_cores": len(re.findall(r"\b(?:mma|wgmma)\S*\.sync", ptx)),
        }  # fmt: skip
    return results


if __name__ == "__main__":
    wanted = [int(argument) for argument in sys.argv[1:]] or CAPABILITIES
    print(json.dumps({str(capability): build(capability) for capability in wanted}))
