"""Training data: a file of any usual format, what is wrong with it, and its rows as token ids.

conversation.py, shape.py, reading.py, tool_calls.py, order.py   what is trained on; formats; a row as that; faults
dataset.py, usable.py, encoding.py, guess.py   a file, whether it can be trained on; its text, in which encoding
rows.py, json_items.py, csv_rows.py, parquet_rows.py   its rows by kind
check.py, problems.py, report.py, lengths.py, split.py   what is found in a file; tokens; what is for validation
mending.py, mended_file.py, new_file.py, steps.py   a row mended; a mended copy; whole or not there; long work
rendering.py, rendered.py, spans.py   as ids, with what is learned of them
chatml_rendering.py, react.py, template_rendering.py, template_messages.py, plain_rendering.py   each way of it
"""
