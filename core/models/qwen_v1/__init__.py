"""The first generation of Qwen (`model_type: qwen`), natively: no code of a model folder is run.

configuration.py, modeling.py and tokenization.py are what the Auto classes get by registration.py; positions.py has
NTK and LogN as numbers past the trained length, rotary.py the same in the model, per cache; int8_rows.py and
int8_cache.py its published 8-bit keys and values.
"""
