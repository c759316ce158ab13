"""The fine-tune page. page.py joins the list of runs (runs.py), a run (app/ui/training_run) and the wizard (wizard.py).

leaving.py merges and exports what a run left; making_room.py asks a chat's model to make room. The wizard shows the
draft of the context, step by step (step.py): model_step.py; data_step.py with data_facts.py, columns.py, problems.py,
mending.py, chats.py and the X-ray row_view.py over learned_view.py; method_step.py of choice_card.py; settings_step.py
of fields.py; review_step.py with fit.py and command.py. memory_foot.py stands below the last three.
"""
