"""The profiler: what a model costs on this machine, cell by cell, each in a process of its own.

plan.py, result.py, timeline.py   what shall be measured; what was; memory over time. Values only, below the protocol
presets.py, readme_table.py, shapes.py   the README's tables as plans; its values; architectures by name
estimating.py, learning.py, time_left.py   before a cell is run: memory, obstacles; what estimates learn; how long yet
measure.py, loading.py, recorder.py, own_memory.py   in the worker: a cell; its model; its memory over time
    inference.py, training.py, quality.py   the three kinds of cells
    random_model.py, probes.py   a model without a download; the machine's limits
form_speeds.py, form_trial.py   how fast 8 and 4 bit weights are on this processor: known; measured
machine.py, command.py, export.py   this machine and its versions; the exact command; CSV and Markdown
comparing.py   two tables, figure by figure
"""
