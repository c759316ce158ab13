"""The profiler: what a model costs on this machine, cell by cell, each in a process of its own.

plan.py, result.py, timeline.py   what shall be measured; what was; memory over time. Values only, below the protocol
"""
