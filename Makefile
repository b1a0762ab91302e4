# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRANSFORMERS := .venv-transformers
# What `make check-transformers` saves.
SAVED := target/saved-for-transformers
# For how long damaged files of each of some forty formats are opened: with two cores two minutes in all.
HOSTILE_SECONDS ?= 6
SOURCES := $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi') Cargo.toml Cargo.lock pyproject.toml README.md LICENSE

.DEFAULT_GOAL := help
.PHONY: help build demo test lint test-rust test-python test-machine check-transformers bench bench-kernels format clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(VENV)/.made: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.made requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(TRANSFORMERS)/.made: tests/reference/requirements.txt
	$(PYTHON) -m venv $(TRANSFORMERS)
	$(TRANSFORMERS)/bin/pip install --quiet --disable-pip-version-check -r tests/reference/requirements.txt
	touch $@

$(VENV)/.built: $(VENV)/.made $(SOURCES)
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	touch $@

build: $(VENV)/.built  ## Build the wheel and install it into .venv

demo: build  ## The main job on real input: fine-tune MiniLM on Reuters R8, save, reload, predict, compare
	$(BIN)/python -m bench.demo

test: lint test-rust test-python  ## Everything that checks the project

lint: $(VENV)/.dev build  ## Formatting, clippy, ruff, mypy, stubtest
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	$(BIN)/ruff format --check python tests bench
	$(BIN)/ruff check python tests bench
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest warmstart._core

test-rust:  ## Rust tests; those of the kernels with each set of instructions that the machine has
	WARMSTART_HOSTILE_SECONDS=$(HOSTILE_SECONDS) cargo test --release --locked --no-default-features
	for level in baseline avx2 avx512; do \
	  WARMSTART_INSTRUCTIONS=$$level cargo test --release --locked --no-default-features --quiet -- kernels:: linear:: product:: precision:: parity:: families:: attention:: || exit 1; \
	done

test-python: $(VENV)/.dev build  ## Python tests, README and notebooks
	$(BIN)/python -m pytest

test-machine: $(VENV)/.dev build  ## Estimates of memory beside what this machine measures; not a part of `make test`
	$(BIN)/python -m pytest -m machine tests/python

check-transformers: $(VENV)/.dev build $(TRANSFORMERS)/.made  ## What transformers makes of saved models of every family and head (makes .venv-transformers, 6 GB)
	rm -rf $(SAVED)
	WARMSTART_SAVED="$(CURDIR)/$(SAVED)" $(BIN)/python -m pytest tests/python/test_families.py
	WARMSTART_SAVED="$(CURDIR)/$(SAVED)" cargo test --release --locked --no-default-features -- detector
	$(TRANSFORMERS)/bin/python tests/reference/check_saved.py $(SAVED)

bench: build  ## Speed and memory beside torch, transformers, sentence-transformers and ONNX Runtime (makes .venv-bench, 6 GB)
	$(BIN)/python -m bench.run

bench-kernels:  ## Speed of each kernel beside candle, of products beside the arithmetic peak
	cargo bench --locked --no-default-features

format: $(VENV)/.dev  ## Format all sources
	cargo fmt
	$(BIN)/ruff format python tests bench
	$(BIN)/ruff check --fix python tests bench

clean:  ## Remove what was built
	rm -rf target dist $(VENV) .venv-bench $(TRANSFORMERS) .assets demo-output
