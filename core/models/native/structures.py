"""The types of step.hpp and products.hpp as Python sees them.

Invariant: the layouts are those of the C++ side; library.py compares their sizes before anything is called.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p

MOST_JOINED = 3

INT4, INT8, BF16, F16, F32 = 4, 8, 16, 17, 32  # kinds of weights and rows


class Piece(ctypes.Structure):
    """Of an adapter: outputs from `first` on get b (outputs, rank) times the low numbers from `at` on."""

    _fields_ = (("b", c_void_p), ("first", c_int32), ("outputs", c_int32), ("at", c_int32), ("rank", c_int32))


class Linear(ctypes.Structure):
    """A linear map. codes: packed, or the plain matrix; a, pieces: of an adapter; kind: see above; inputs 0: none."""

    _fields_ = (
        ("codes", c_void_p), ("scales", c_void_p), ("zeros", c_void_p), ("bias", c_void_p), ("a", c_void_p),
        ("pieces", c_void_p), ("outputs", c_int32), ("inputs", c_int32), ("groups", c_int32), ("kind", c_int32),
        ("low", c_int32), ("piece_count", c_int32),
    )  # fmt: skip


class Layer(ctypes.Structure):
    _fields_ = (
        ("qkv", Linear * MOST_JOINED), ("gate_up", Linear * MOST_JOINED), ("out", Linear), ("down", Linear),
        ("attention_norm", c_void_p), ("mlp_norm", c_void_p), ("head_norm", c_void_p),
    )  # fmt: skip


class Model(ctypes.Structure):
    """least, head_least: width times epsilon, of the norms."""

    _fields_ = (
        ("layers", c_void_p), ("final_norm", c_void_p), ("head", Linear),
        ("layer_count", c_int32), ("hidden", c_int32), ("intermediate", c_int32), ("heads", c_int32),
        ("kv_heads", c_int32), ("width", c_int32), ("threads", c_int32),
        ("least", c_float), ("head_least", c_float),
    )  # fmt: skip


class Cache(ctypes.Structure):
    """Where the rows of a layer are: keys, values (kv_heads, room, width). marks, sizes: of those in 8 bits."""

    _fields_ = (
        ("keys", c_void_p), ("values", c_void_p), ("marks", c_void_p), ("sizes", c_void_p), ("room", c_int64),
    )  # fmt: skip


class Place(ctypes.Structure):
    """Where a token is. cos, sin: (width,), the first half of the sine negative; query_scale: 1 for none; caches: of
    all layers; rows_kind: INT8 of kv_int8."""

    _fields_ = (
        ("caches", c_void_p), ("cos", c_void_p), ("sin", c_void_p), ("query_scale", c_float), ("position", c_int32),
        ("rows_kind", c_int32),
    )  # fmt: skip


ALL: tuple[type[ctypes.Structure], ...] = (Piece, Linear, Layer, Model, Cache, Place)
