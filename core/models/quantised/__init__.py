"""Linear layers whose weights are stored in 4 or 8 bits, and how checkpoints become such layers."""
