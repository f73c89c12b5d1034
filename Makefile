# Two commands: `make run` does the main job, `make test` checks everything.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test lint types doctest unit benchmark clean

run: .venv/ready
	$(BIN)/python examples/digits_penalties.py

test: lint types doctest unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/pyright

doctest: .venv/ready
	$(BIN)/python -m pytest -q src

unit: .venv/ready
	$(BIN)/python -m pytest -q -n 2 -m "not slow" tests

benchmark: .venv/ready
	$(BIN)/python benchmarks/quadratic_step.py

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[all]"
	touch $@

clean:
	rm -rf .venv results
