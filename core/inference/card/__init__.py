"""Decoding on an NVIDIA card: one step of static shapes, captured once and replayed, which chooses the token itself.

    available.py    what of it this machine can use, each answer with its reason
    rows.py         keys and values in buffers that stay where they are, plain or in 8 bits
    operations.py   what a layer does between its products, in plain torch: the reference and the fallback
    fused.py        the same by the kernels of kernels/
    step.py         one pass of a few tokens with everything that changes on the device
    choosing.py     logits -> the next token, and whether it ends the reply, on the device
    drafting.py     tokens guessed on the device from what was said before, and how many of them were right
    graph.py        a call captured as a CUDA graph
    loop.py         the state of one sequence and the captured steps over its buffers
    decoder.py      the decoder: reads as the lean pass does, goes on by the loop
    choice.py       which of this a model is decoded by, checked against the model itself
    joining.py      plain weights of the same input laid side by side, without a second copy
    weights.py      which product multiplies by quantised weights, by trying
    accounting.py   bytes and kernels of a step, counted and by formula
    kernels/        the Triton kernels, one file each; nobody else imports Triton

Nothing here was run on a card yet. What holds without one: the step gives the lean pass's tokens on the CPU, its trace
on torch's meta device asks nothing of the host, each kernel agrees with its reference in Triton's interpreter and
builds for compute capability 8.0 and 9.0.
"""
