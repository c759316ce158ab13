"""The fine-tune, from a recipe to a proven adapter.

recipe.py, settings.py, presets.py, run_files.py   what is asked for, as one file; each setting; what lies in a run
run_data.py, packing.py, passes.py   the data as rows of ids; which rows in which step; what goes through at once
preparing.py, trial.py, pass_size.py   the model made ready; our shorter ways tried on it; what the memory lets in
attention.py, loss.py   rows that lie one after the other; the loss at the learned tokens only
trainer.py, library.py, stepped.py   transformers' Trainer, its import, and its loop turned into steps
    session.py, callbacks.py, arguments.py, answers.py   a run; between its steps; Trainer words for it; its answers
ranks.py, first_rank.py, deepspeed.py   a run on several devices: a process for each; ZeRO's settings
results.py, taught.py, card.py   what a run leaves; how it is chatted with; its model card
exporting.py, recipe_words.py   what a run left, in a folder elsewhere; what a setting can be
merging.py, merged_weights.py, proof.py   an adapter worked into its base; its tensors; that both answer alike
"""
