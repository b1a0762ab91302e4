# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRANSFORMERS := .venv-transformers
# What `make check-transformers` saves.
SAVED := target/saved-for-transformers
# For how long damaged files of each of some fifty formats are opened: with two cores two to three minutes in all.
HOSTILE_SECONDS ?= 3
SOURCES := $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi') Cargo.toml Cargo.lock pyproject.toml README.md LICENSE

# What `make sanitize` runs: operations with each set of instructions, and what reads files, damaged ones for so many seconds a
# format. All of it is on the system's allocator, which the tools know: the package's own is chosen in `src/bind/` alone.
OPERATIONS := autograd:: array:: matmul:: linear:: attention:: operations:: ops:: vocabulary_loss:: precision::
READING := hostile:: pickle:: gguf tokenizers:: side_files:: text::
SANITIZE_SECONDS ?= 1
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# The sanitizer $(1), with more flags $(2). Its runtime comes with the stable toolchain, its option does not. A target that is
# named keeps it out of build scripts and macros, a folder of its own out of other builds. At level 3 it takes long to compile.
sanitized = RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$(1) $(2)" CARGO_TARGET_DIR=target/sanitize-$(1) \
  cargo test --release --locked --no-default-features --target $(HOST) --lib --quiet \
  --config profile.release.package.warmstart.opt-level=1 --config 'profile.release.package.warmstart.debug="line-tables-only"'
# The interpreter of valgrind knows no 512-bit vectors, and takes minutes for what repeats the same with other numbers of threads.
valgrind = WARMSTART_INSTRUCTIONS=baseline RAYON_NUM_THREADS=2 cargo test --release --locked --no-default-features --lib --quiet \
  --config 'target.$(HOST).runner="valgrind --quiet --error-exitcode=9"' \
  -- --test-threads=1 --skip number_of_threads --skip threads_are_any --skip dropout_is_on --skip several_blocks

.DEFAULT_GOAL := help
.PHONY: help build demo test lint test-rust test-python test-machine sanitize sanitize-address sanitize-thread sanitize-valgrind check-transformers bench bench-kernels format clean

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
	cargo clippy --release --locked --all-targets --features bench -- -D warnings
	$(BIN)/ruff format --check python tests bench
	$(BIN)/ruff check python tests bench
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest warmstart._core

test-rust:  ## Rust tests; those of the kernels with each set of instructions that the machine has
	WARMSTART_HOSTILE_SECONDS=$(HOSTILE_SECONDS) cargo test --release --locked --no-default-features
	for level in baseline avx2 avx512; do \
	  WARMSTART_INSTRUCTIONS=$$level cargo test --release --locked --no-default-features --quiet -- operations:: ops:: linear:: matmul:: precision:: parity:: families:: attention:: || exit 1; \
	done

test-python: $(VENV)/.dev build  ## Python tests, README and notebooks
	$(BIN)/python -m pytest

test-machine: $(VENV)/.dev build  ## Estimates of memory beside what this machine measures; not a part of `make test`
	$(BIN)/python -m pytest -m machine tests/python

# By hand, when unsafe code, threads or parsers change; not a part of `make test`. Linux.
sanitize: sanitize-address sanitize-thread sanitize-valgrind  ## Operations and parsers under the address and thread sanitizers and valgrind

sanitize-address: export ASAN_OPTIONS = allocator_may_return_null=1
sanitize-address:
	for level in baseline avx2 avx512 avx512bf16; do \
	  WARMSTART_INSTRUCTIONS=$$level $(call sanitized,address) -- $(OPERATIONS) || exit 1; \
	done
	WARMSTART_HOSTILE_SECONDS=$(SANITIZE_SECONDS) $(call sanitized,address) -- $(READING)

sanitize-thread: export TSAN_OPTIONS = allocator_may_return_null=1 history_size=7 suppressions=$(CURDIR)/tests/sanitize/thread.supp
sanitize-thread: export RAYON_NUM_THREADS = 4
sanitize-thread:
	flags="-Cunsafe-allow-abi-mismatch=sanitizer $$(tests/sanitize/std_locks.sh $(CURDIR)/target/sanitize-thread/std_locks.o)" && \
	for level in baseline avx2 avx512 avx512bf16; do \
	  WARMSTART_INSTRUCTIONS=$$level $(call sanitized,thread,$$flags) -- $(OPERATIONS) || exit 1; \
	done && \
	WARMSTART_HOSTILE_SECONDS=$(SANITIZE_SECONDS) $(call sanitized,thread,$$flags) -- $(READING)

sanitize-valgrind:
	$(valgrind) $(OPERATIONS) pickle::

check-transformers: $(VENV)/.dev build $(TRANSFORMERS)/.made  ## What transformers makes of saved models of every family and head (makes .venv-transformers, 6 GB)
	rm -rf $(SAVED)
	WARMSTART_SAVED="$(CURDIR)/$(SAVED)" $(BIN)/python -m pytest tests/python/test_families.py tests/python/test_regressor.py
	WARMSTART_SAVED="$(CURDIR)/$(SAVED)" cargo test --release --locked --no-default-features -- detector
	$(TRANSFORMERS)/bin/python tests/reference/check_saved.py $(SAVED)

bench: build  ## Speed and memory beside torch, transformers, sentence-transformers and ONNX Runtime (makes .venv-bench, 6 GB)
	$(BIN)/python -m bench.run

bench-kernels:  ## Speed of each kernel beside candle, of products beside the arithmetic peak
	cargo bench --locked --no-default-features --features bench

format: $(VENV)/.dev  ## Format all sources
	cargo fmt
	$(BIN)/ruff format python tests bench
	$(BIN)/ruff check --fix python tests bench

clean:  ## Remove what was built
	rm -rf target dist $(VENV) .venv-bench $(TRANSFORMERS) .assets demo-output
