# Two commands matter: `make run` opens the program, `make test` sets up and checks everything.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: run test check format setup setup-test screenshots tour desktop clean

run: setup  ## open the window; without a display: do the main job offscreen and save pictures of it
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname -s)" != Linux ]; then exec $(BIN)/qwen-workbench; \
	else echo "No display here: running the tour offscreen instead."; \
	$(BIN)/qwen-workbench tour --out tour && echo "The screenshots are in $(CURDIR)/tour"; fi

test: setup-test check

check:  ## format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: .venv/bin/python
	@$(BIN)/python packaging/setup_env.py

setup-test: .venv/bin/python
	@packaging/system-deps.sh --test
	@$(BIN)/python packaging/setup_env.py test

.venv/bin/python:
	@PYTHON=$(PYTHON) packaging/system-deps.sh
	$(PYTHON) -m venv .venv

screenshots: setup  ## docs/images/*.png: light, dark, Chinese
	$(BIN)/python -m app.ui.screenshots docs/images

tour: setup
	$(BIN)/qwen-workbench tour --out tour

desktop: setup  ## an entry with our icon in the user's applications menu
	packaging/install-desktop.sh $(CURDIR)/$(BIN)/qwen-workbench

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info tour
