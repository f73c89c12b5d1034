# Two commands: `make run` does the main job, `make test` checks everything.
PYTHON ?= python3
BIN = .venv/bin
# A worker keeps the tests of a module together where it can: they share what they compile.
PYTEST = $(BIN)/python -m pytest -q -n 2 --dist worksteal
# Where real data are looked for: mnist/ and scikit_learn_data/ within.
export BILEVAX_DATA ?= ../shared/data

# Workers and the processes that tests start import the same modules, compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint types unit dist benchmark tree clean

# Half of the rows test, so that they can tell a gain from chance.
run: .venv/ready
	$(BIN)/python examples/diabetes_and_shuffled.py results/diabetes.csv
	$(BIN)/bilevax tune results/diabetes.csv --label progress --model ridge --test 0.5 \
		--output results/diabetes

# The type checker has one thread, and the tests' start leaves a core idle now and then.
test: .venv/ready
	$(MAKE) --no-print-directory --jobs=2 lint types unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: .venv/ready
	$(BIN)/pyright

# Docstrings, and the tests that call all there is, run with a check of types at every call. It
# takes a quarter of a test's time, so that the others go without, as users do. All of these
# compile fast; what depends on how programs are compiled is run optimised, as users do.
TYPED = tests/test_bad_input.py tests/test_cost.py tests/test_exported.py
UNTYPED = --jaxtyping-packages= tests
unit: .venv/ready
	$(PYTEST) -m "not slow and not optimised" src $(TYPED)
	$(PYTEST) -m "not slow and not optimised" $(UNTYPED) $(TYPED:%=--ignore=%)
	BILEVAX_TEST_OPTIMISED=1 $(PYTEST) -m "optimised and not slow" $(UNTYPED)

# The sdist and the wheel, in dist/.
dist: .venv/ready
	$(BIN)/python -m build --no-isolation

# Every file, and what it is for.
tree:
	@grep -rm1 '"""' src/bilevax --include='*.py' | sort | sed -E 's/:r?"""/: /; s/"""$$//'

# Beside its peers, in an environment of its own.
benchmark: .venv-peers/ready
	.venv-peers/bin/python benchmarks/run.py

# uv takes a tenth of pip's time; where it cannot be had, or finds no packages, pip does it.
define install
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv \
		&& $(1)/bin/uv pip install --quiet --python $(1)/bin/python -e ".[$(2)]" \
		|| $(1)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$(2)]"
	touch $(1)/ready
endef

.venv/ready: pyproject.toml
	$(call install,.venv,all)

.venv-peers/ready: pyproject.toml
	$(call install,.venv-peers,all$(comma)peers)

comma = ,

clean:
	rm -rf .venv .venv-peers dist results
