# Every target makes its own environment in .venv; nothing has to be installed by hand.
# Python 3.11 or later: `make test PYTHON=python3.12`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: demo test docs tutorials lint clean

demo: .venv/.installed
	$(BIN)/cdn-sc demo --output demo_output

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

lint: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

tutorials: .venv/.docs
	$(BIN)/python tutorials/execute.py --check

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.test: .venv/.installed
	$(PIP) -e '.[test]'
	touch $@

.venv/.docs: .venv/.installed
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv docs/_build docs/generated docs/tutorials demo_output
