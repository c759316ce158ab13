"""The first generation of Qwen (`model_type: qwen`), natively: no code of a model folder is run."""
