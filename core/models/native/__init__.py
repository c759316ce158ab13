"""Our own code for the processor, in C++, built once on the user's machine by the compiler that is there.

library.py finds the compiler, builds and loads; structures.py has the types that both sides know; packed.py makes of
quantised weights what the product reads. In C++: kernels.cpp (what Python calls), step.hpp (one token through a dense
decoder), attention.hpp, rows.hpp (keys and values), products.hpp, pool.hpp (its threads), vectors.hpp.

Invariant: nothing depends on it. Where there is no compiler, or what it built gave other numbers than the reference,
everything is computed by torch, and the reason is told.
"""
