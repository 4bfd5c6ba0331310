# Every target sets up what it needs in .venv on a machine that has only Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
NEWEST := .venv-newest
INSTALLED := .venv/.installed

.PHONY: install demo test pytest test-fast test-newest lint bench docs clean

install: $(INSTALLED)

# The lock file pins every package; the project itself is added without asking an index for anything.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; install it or run: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	$(BIN)/copydesk demo --out demo --force

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Side by side: mypy alone would leave one of two cores idle.
test: install
	@$(MAKE) --no-print-directory -j 2 lint pytest

# Two at a time; each computes in one thread, or they would wait for each other.
pytest: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# The quick part, for use while you work.
test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not browser and not kill and not docs_commands"

# The newest releases that pyproject.toml allows, in an environment of their own; BEYOND=1: also those above its upper
# bounds.
test-newest:
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python scripts/list_requirements.py $(if $(BEYOND),--beyond) > $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	OMP_NUM_THREADS=1 $(NEWEST)/bin/pytest -n 2 --dist loadfile

bench: install
	$(BIN)/copydesk bench paper --columns email/strong --seeds 0 --edits 100 --rounds 60 --out bench --force

# The site for people to read is in site/.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv $(NEWEST)
