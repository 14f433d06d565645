# make demo   a virtual environment with pinned versions, then the demonstration
# make test   the same environment plus lint, types, the built wheel, the documentation and all tests
# make docs   the documentation as a site, in site/
# make bench  benchmarks: QUICK=1 for a part in minutes, DATA=folder for the data sets
PYTHON ?= python3
BIN    := .venv/bin
WHEEL  := .venv-wheel/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet -c constraints.txt
CODE   := src tests examples docs $(wildcard benchmarks)
SOURCE := $(shell find src examples/demo -name '*.py' -o -name 'py.typed')
DATA   ?=
QUICK  ?=

.PHONY: demo test lint types wheel docs tests bench clean

demo: .venv/.runtime
	$(BIN)/upland demo

test: lint types wheel docs tests

lint: .venv/.dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: .venv/.dev
	$(BIN)/mypy

wheel: .venv-wheel/.installed
	cd .venv-wheel && PYTHONPATH= bin/python ../tests/check_wheel.py bin/upland

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

tests: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: .venv/.bench
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/benchmarks/test_peers.py
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(DATA),--data $(DATA))

clean:
	rm -rf .venv .venv-wheel build dist site upland-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

# One stamp per set of packages: a second `make` installs nothing.
.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.runtime: .venv/.created pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/.dev: .venv/.created pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $@ .venv/.runtime

.venv/.docs: .venv/.dev
	$(PIP) --editable '.[docs]'
	touch $@

.venv/.bench: .venv/.dev
	$(PIP) --editable '.[bench]'
	touch $@

# The wheel is installed for itself, beside the dependencies of .venv and not beside the editable sources.
.venv-wheel/.installed: .venv/.dev README.md LICENSE $(SOURCE)
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --wheel --no-isolation > /dev/null
	$(BIN)/python -m venv --without-pip .venv-wheel
	$(WHEEL)/python -c "import site; print(site.getsitepackages()[0])" > .venv-wheel/.site
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" > "$$(cat .venv-wheel/.site)/dependencies.pth"
	$(BIN)/python -m pip --python $(WHEEL)/python --disable-pip-version-check install --quiet --quiet --no-deps dist/*.whl
	touch $@
