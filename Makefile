# make demo   a virtual environment with pinned versions, then the demonstration
# make test   the same environment plus lint, types, the built wheel, the documentation and all tests
# make docs   the documentation as a site, in site/
# make bench  benchmarks: QUICK=1 for a part in minutes, DATA=folder for the data sets
PYTHON ?= python3
BIN    := .venv/bin
WHEEL  := .venv-wheel/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
LOCKED := $(PIP) --require-hashes --no-deps -r
CODE   := src tests examples docs $(wildcard benchmarks)
SOURCE := $(shell find src examples/demo -name '*.py' -o -name 'py.typed')
DATA   ?=
QUICK  ?=

.PHONY: demo test lint types wheel docs tests bench clean

demo: .venv/.demo
	$(BIN)/upland demo

test: lint
	$(MAKE) --jobs=2 --output-sync types wheel docs
	$(MAKE) tests

lint: .venv/.dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(PYTHON) tests/audit.py .venv-audit constraints.txt

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
	rm -rf .venv .venv-wheel .venv-audit build dist site upland-demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

# One stamp per set of packages: a second `make` installs nothing. All are pinned with hashes but PyTorch, whose
# build depends on the machine, and upland itself.
.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.runtime: .venv/.created pyproject.toml constraints.txt requirements/runtime.txt
	$(LOCKED) requirements/runtime.txt
	$(PIP) -c constraints.txt torch
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/.demo: .venv/.runtime requirements/demo.txt
	$(LOCKED) requirements/demo.txt
	touch $@

.venv/.dev: .venv/.demo requirements/dev.txt
	$(LOCKED) requirements/dev.txt
	touch $@

.venv/.docs: .venv/.dev requirements/docs.txt
	$(LOCKED) requirements/docs.txt
	touch $@

.venv/.bench: .venv/.docs requirements/bench.txt
	$(LOCKED) requirements/bench.txt
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
