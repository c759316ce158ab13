"""Linear layers whose weights are stored in 4 or 8 bits, and how checkpoints become such layers.

weight.py has the one layout in memory, packing.py that of GPTQ tensors, scheme.py what configs say; gptq.py reads a
GPTQ folder into a model, at_load.py, rounding.py and grid.py make int8 and int4 from plain weights, bits_and_bytes.py
NF4, parallel.py does many layers at once. linear.py has Int4Linear and Int8Linear, product.py what multiplies and the
reference, processor.py and card.py torch's faster products, choice.py which one, found by trying (our own for the
processor is in native/). grid.py finds weights that had 4 bits before.
"""
