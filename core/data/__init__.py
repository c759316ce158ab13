"""Training data: a file of any usual format, what is wrong with it, and its rows as token ids.

conversation.py, shape.py, reading.py, tool_calls.py, order.py   what is trained on; formats; a row as that; faults
dataset.py, encoding.py, rows.py, json_items.py, csv_rows.py, parquet_rows.py   a file, its text, its rows by kind
check.py, problems.py, report.py, lengths.py, split.py   what is found in a file; tokens; what is for validation
mending.py, mended_file.py, new_file.py   a row mended; a mended copy; a file that is whole or not there
conversation.py, rendering.py, rendered.py   what is trained on; as ids, with what is learned: chatml_rendering.py,
template_rendering.py, template_messages.py, spans.py, plain_rendering.py, react.py   by template, as text; tools
"""
