"""Other machines whose models answer in the chat.

engines.py is the list of them (dialog.py holds it for whoever chooses a model), engine_row.py one of them in it;
engine_dialog.py adds or changes one, model_ticks.py lists the models it offers.
"""
