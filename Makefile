# Every target makes its own environment in .venv; nothing has to be installed by hand.
# Python 3.11 or later: `make test PYTHON=python3.12`.
PYTHON ?= python3
BIN := .venv/bin
# -qq: a machine may have further indexes that lack a package, which pip says for each of them.
INSTALL := -m pip install -qq --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL) -c constraints.txt

# The lowest versions that pyproject.toml declares run on the lowest Python, the newest on another.
LOWEST_PYTHON ?= $(PYTHON)
NEWEST_PYTHON ?= python3.13
# What depends on the versions of other packages. The rest is the same arithmetic.
STACK_TESTS ?= tests/tl tests/get tests/pl tests/metrics tests/models tests/datasets tests/simulate \
  tests/test_labels.py tests/test_versions.py tests/test_public_api.py tests/test_predictors.py \
  $(sort $(wildcard tests/test_cli*.py))

.PHONY: demo test test-lowest test-newest docs tutorials lint clean

demo: .venv/.installed
	$(BIN)/cdn-sc demo --output demo_output

test: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Old packages use what was deprecated since, and matplotlib 3.8 draws a little differently.
test-lowest: .venv-lowest/.test
	.venv-lowest/bin/python -m pytest $(STACK_TESTS) -k "not test_picture" \
	  -W ignore::DeprecationWarning -W ignore::FutureWarning -W ignore::PendingDeprecationWarning

test-newest: .venv-newest/.test
	.venv-newest/bin/python -m pytest $(STACK_TESTS)

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

.venv-lowest/.test: pyproject.toml constraints-lowest.txt
	$(LOWEST_PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python $(INSTALL) -c constraints-lowest.txt -e '.[test]'
	touch $@

# dask and xarray, which objects that are read lazily are made of
.venv-newest/.test: pyproject.toml constraints.txt
	$(NEWEST_PYTHON) -m venv .venv-newest
	.venv-newest/bin/python $(INSTALL) --upgrade -c constraints.txt -e '.[test]' 'dask[array]' xarray
	touch $@

.venv/.docs: .venv/.installed
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest docs/_build docs/generated docs/tutorials demo_output
