"""transformers' Trainer and what belongs to it. Its import takes bitsandbytes along, which must fetch nothing.

Invariant: nothing else in core.training imports these names from transformers.
"""

from core.models.quantised.bits_and_bytes import fetching_nothing

with fetching_nothing():
    from transformers import Trainer, TrainerCallback, TrainingArguments

__all__ = ["Trainer", "TrainerCallback", "TrainingArguments"]
