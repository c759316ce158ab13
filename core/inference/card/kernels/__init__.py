"""The Triton kernels. Each file has one, and the function that launches it on tensors of a card.

    norm.py           a sum and its root mean square norm
    placing.py        norms of heads, rotary positions, and keys and values into their buffers, plain or in 8 bits
    attention.py      few queries over many rows, split over programs, plain or in 8 bits; the length is read on the
    device gate.py           silu(gate) * up
    int4_product.py   few rows times weights of 4 bits in groups
    int8_product.py   few rows times weights of 8 bits with a scale an output

Importing a module here imports Triton: only `fused` and `weights` do, where `available` found nothing against it. What
each computes stands in plain torch in `operations` and `core.models.quantised`; tests hold the two together.
"""
