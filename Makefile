# `make demo` and `make test` need nothing but Python 3.11 or later.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test test-long check lint checked compiled docs ml mace upet matgl orb constraints clean

# uv takes seconds where pip takes minutes; pip does it where uv cannot be had. Bytecode as pip
# makes it: without, and where PYTHONDONTWRITEBYTECODE is set, each worker compiles for seconds.
define install
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --quiet --compile-bytecode \
		--python $(BIN)/python --constraint constraints.txt --editable $(1) || \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable $(1)
endef

demo: .venv/.installed
	$(BIN)/quacc run bulk_to_slabs Cu
	$(BIN)/quacc run bulk_to_slabs Cu --prefect

# Two that compute, two that wait: tests/lanes.py.
test: checked
	$(BIN)/pytest --numprocesses 4 --dist loadfile -m "not long"

# Real codes, statistics, and what happens when nodes, servers and flows end.
test-long: checked docs
	$(BIN)/pytest --numprocesses 4 --dist loadfile -m long

# For the daily round: the tests that are quick, and those in TESTS.
check: checked
	$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile -m "not slow and not long"
	$(if $(TESTS),$(BIN)/pytest --numprocesses 2 --dist loadfile $(TESTS))

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

checked: .venv/.dev
	$(MAKE) --jobs=2 lint compiled

# For the processes that tests start; and the tests' own files, which pytest rewrites, once for all
# of its workers.
compiled: .venv/.compiled

.venv/.compiled: .venv/.dev $(shell find quacc tests docs -name '*.py')
	$(BIN)/python -m compileall -q quacc
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --quiet --quiet --collect-only > /dev/null
	touch $@

# Potentials for the tests, each in a Python of its own: 1 to 2 GB, some minutes. Torch first, and by
# pip: its build for processors alone is what pip takes where there is one. All tests need ml; those
# of the others skip without.
ml := chgnet sevenn
mace := mace-torch
upet := upet
matgl := matgl
orb := orb-models

ml mace upet matgl orb: %: .envs/%/.installed

.envs/%/.installed: constraints-%.txt
	$(PYTHON) -m venv .envs/$*
	.envs/$*/bin/python -m pip install --quiet --constraint $< torch
	.envs/$*/bin/python -m pip install --quiet --constraint $< ase $($*)
	touch $@

docs: .venv/.docs
	$(BIN)/python docs/reference.py
	$(BIN)/zensical build --strict --clean

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(call install,.)
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(call install,".[dev]")
	touch $@ .venv/.installed

.venv/.docs: .venv/bin/python pyproject.toml constraints.txt
	$(call install,".[docs]")
	touch $@

# Pins everything that the tests and the documentation need, by name and version alone.
constraints:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --extra docs \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		pyproject.toml --output-file constraints.txt

clean:
	rm -rf .venv .envs site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
