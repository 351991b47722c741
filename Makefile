# Everything starts here: `make demo` or `make test` on a fresh checkout do all set-up themselves.
# Prerequisites, checked before anything else: Python >= 3.11 with venv, cargo >= 1.89, a C compiler (as linker).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
CRATE := caligo/_native
MANIFEST := $(CRATE)/Cargo.toml
EXTENSION := $(CRATE)/_core.abi3.so

# The interpreter: PYTHON if given, else python3 where it is new enough, else the newest of the named ones.
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)
endif
# Absolute, because the virtual environment comes first on the PATH below.
override PYTHON := $(or $(shell command -v "$(PYTHON)" 2>/dev/null),$(PYTHON))

# Test files are shared out among processes, at most four of them; those marked `alone` measure, or start many processes.
SIDE_BY_SIDE := -n $(shell echo $$(( $$(nproc) < 4 ? $$(nproc) : 4 ))) --dist loadfile

# What this machine has and the tests must therefore not skip: in CI and in `make acceptance` a skip of these is a failure.
REQUIRE = $(shell tests/features)

# Side by side, make has job slots, which it does not hand to cargo.
WITHOUT_SLOTS := env -u MAKEFLAGS -u MFLAGS
OWN_CARGO := $(WITHOUT_SLOTS) cargo

RUST_SOURCES := $(shell find $(CRATE) -name '*.rs' -not -path '*/tests/*' -not -path '*/benches/*' 2>/dev/null)
PACKAGE_SOURCES := $(shell find caligo -name '*.py' -o -name '*.pyi' -o -name py.typed)

export VIRTUAL_ENV := $(abspath $(VENV))
export PATH := $(abspath $(BIN)):$(PATH)
export PYO3_PYTHON := $(abspath $(BIN)/python)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
unexport PYTHONPATH
unexport PYTHONHOME

.PHONY: help setup demo test acceptance acceptance-tools lint lint-rust lint-python build-rust-tests test-rust test-python \
	bench bench-accept flamegraphs wheel sdist sdist-vendored wheelhouse lock clean prerequisites

help: ## Show this list
	@echo "caligo: targets (see CONTRIBUTING.md)"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

# --- set-up ---------------------------------------------------------------------------------------------------------

prerequisites:
	@missing=0; \
	complain() { echo "make: $$1" >&2; echo "      remedy: $$2" >&2; missing=1; }; \
	if [ -z "$(PYTHON)" ]; then \
		complain "no Python >= 3.11 found" "Debian/Ubuntu: apt install python3 python3-venv; or name one: make PYTHON=/path/to/python3.11"; \
	elif ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		complain "$(PYTHON) is not a Python >= 3.11" "Debian/Ubuntu: apt install python3 python3-venv; or name one: make PYTHON=/path/to/python3.11"; \
	elif ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
		complain "$(PYTHON) cannot create virtual environments (no ensurepip)" "Debian/Ubuntu: apt install python3-venv"; \
	fi; \
	rust=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' $(MANIFEST)); \
	if ! command -v cargo >/dev/null; then \
		complain "cargo not found (Rust >= $$rust is needed)" "install Rust from https://rustup.rs and put ~/.cargo/bin on the PATH (Debian 12's own cargo is too old)"; \
	else \
		have=$$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p'); \
		if [ -z "$$have" ] || [ "$$(printf '%s\n%s\n' "$$rust" "$$have" | sort -V | head -n1)" != "$$rust" ]; then \
			complain "cargo $${have:-(does not run)} is older than $$rust" "rustup update stable; or install Rust from https://rustup.rs"; \
		fi; \
	fi; \
	if ! command -v cc >/dev/null; then \
		complain "no C compiler (cc), which cargo needs as its linker" "Debian/Ubuntu: apt install build-essential"; \
	elif ! echo 'int main(void){return 0;}' | cc -x c -o /dev/null - 2>/dev/null; then \
		complain "the C compiler (cc) cannot link a program" "Debian/Ubuntu: apt install build-essential"; \
	fi; \
	exit $$missing

$(VENV)/.created: | prerequisites
	@rm -rf $(VENV)
	@echo "make: creating $(VENV) with $$($(PYTHON) --version)"
	@env -u VIRTUAL_ENV "$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.locked: requirements.lock $(VENV)/.created
	@echo "make: installing the locked dependencies"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@touch $@

$(EXTENSION): $(RUST_SOURCES) $(MANIFEST) $(CRATE)/Cargo.lock pyproject.toml $(VENV)/.locked
	@echo "make: building the native extension (release) and installing caligo, editable"
	@$(OWN_CARGO) fetch --quiet --locked --manifest-path $(MANIFEST)
	@PIP_QUIET=1 $(WITHOUT_SLOTS) $(BIN)/python -m maturin develop --quiet --release --locked
	@touch $@

setup: prerequisites $(VENV)/.locked $(EXTENSION) ## Create .venv with everything: caligo (editable, native build), tools, mpiexec
	@test -x $(BIN)/caligo -a -x $(BIN)/mpiexec

demo: setup ## Reconcile two 2^24-bit keys from disk and show what it took
	@$(BIN)/caligo demo

# --- checks ---------------------------------------------------------------------------------------------------------

# The extension takes one core for minutes, so the Rust tests are built beside it.
test: prerequisites ## Lint, Rust tests, Python tests (at most 25 minutes on 2 cores)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target setup build-rust-tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint test-rust
	@$(MAKE) --no-print-directory test-python

build-rust-tests: prerequisites
	@echo "make: building the Rust tests"
	@$(OWN_CARGO) test --quiet --locked --no-run --manifest-path $(MANIFEST)

test-rust: setup
	@echo "make: cargo test"
	@$(if $(CI),CALIGO_REQUIRE="$${CALIGO_REQUIRE-$(REQUIRE)}") $(OWN_CARGO) test --quiet --locked --manifest-path $(MANIFEST)

test-python: setup
	@echo "make: pytest"
	@$(if $(CI),CALIGO_REQUIRE="$${CALIGO_REQUIRE-$(REQUIRE)}") $(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

# Instructions are counted by valgrind; cluster jobs run under a Slurm of their own (slurm/box), the index in a PostgreSQL of its
# own, pages in a browser. CI installs them where it may; elsewhere what is missing is said, and those tests are skipped.
SLURM_PACKAGES := slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmi2-0 libpmix-dev iproute2 util-linux

acceptance-tools:
	@ensure() { \
		what=$$1 lost=$$2; shift 2; \
		if [ -n "$${CI:-}" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "make: installing $$what"; \
			(apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$$@") >/dev/null || \
				echo "make: $$what cannot be installed here, $$lost" >&2; \
		else \
			echo "make: $$what is missing, $$lost; remedy: Debian/Ubuntu: apt install $$*" >&2; \
		fi; \
	}; \
	command -v valgrind >/dev/null || ensure valgrind "no instructions will be counted" valgrind; \
	case ",$$(tests/features)," in *,slurm,*) ;; *) ensure Slurm "no job will be queued" $(SLURM_PACKAGES) ;; esac; \
	case ",$$(tests/features)," in *,postgres,*) ;; *) ensure PostgreSQL "no index will be kept in it" postgresql ;; esac; \
	case ",$$(tests/features)," in *,chromium,*) ;; *) ensure Chromium "no page will be rendered" chromium fonts-dejavu-core ;; esac

acceptance: setup ## The long suites; nothing this machine can run is skipped
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target wheel acceptance-tools sdist-vendored wheelhouse
	@features="$${CALIGO_REQUIRE-$$(tests/features)}"; echo "make: pytest -m acceptance, requiring $$features"; \
		export CALIGO_REQUIRE="$$features"; failed=0; \
		$(BIN)/python -m pytest -q -m "acceptance and not alone" $(SIDE_BY_SIDE) --no-loadscope-reorder --timeout 2400 || failed=1; \
		$(BIN)/python -m pytest -q -m "acceptance and alone" --timeout 2400 || failed=1; \
		exit $$failed

lint: lint-rust lint-python ## rustfmt, clippy, ruff, mypy --strict, stubtest

# Tests and benchmarks fail by panicking; the library never does.
TESTS_MAY := -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic

# A toolchain without rustfmt or clippy still builds and tests; CI has both, or fails.
lint-rust: setup
	@echo "make: cargo fmt, cargo clippy, cargo doc"
	@if $(OWN_CARGO) fmt --version >/dev/null 2>&1; then $(OWN_CARGO) fmt --check --manifest-path $(MANIFEST); \
	elif [ -n "$${CI:-}" ]; then echo "make: rustfmt is missing; remedy: rustup component add rustfmt" >&2; exit 1; \
	else echo "make: SKIPPED cargo fmt: rustfmt is missing; remedy: rustup component add rustfmt" >&2; fi
	@if $(OWN_CARGO) clippy --version >/dev/null 2>&1; then \
		$(OWN_CARGO) clippy --quiet --locked --lib --manifest-path $(MANIFEST) -- -D warnings; \
		$(OWN_CARGO) clippy --quiet --locked --lib --features python --manifest-path $(MANIFEST) -- -D warnings; \
		$(OWN_CARGO) clippy --quiet --locked --all-targets --manifest-path $(MANIFEST) -- -D warnings $(TESTS_MAY); \
		RUSTDOCFLAGS="-D warnings" $(OWN_CARGO) doc --quiet --locked --no-deps --document-private-items --manifest-path $(MANIFEST); \
	elif [ -n "$${CI:-}" ]; then echo "make: clippy is missing; remedy: rustup component add clippy" >&2; exit 1; \
	else echo "make: SKIPPED cargo clippy: clippy is missing; remedy: rustup component add clippy" >&2; fi

lint-python: setup
	@echo "make: ruff, mypy, stubtest"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/stubtest caligo._native._core

bench: setup ## Benchmarks; results kept as JSON under .benchmarks/, criterion's under target/criterion/
	@mkdir -p .benchmarks
	@$(BIN)/python -m pytest -q benchmarks --benchmark-json=.benchmarks/$$(date -u +%Y%m%dT%H%M%SZ).json
	@for bench in kernels decoders; do \
		cargo bench --quiet --locked --manifest-path $(MANIFEST) --bench $$bench -- \
			--warm-up-time 0.2 --measurement-time 0.5 --sample-size 10 --noplot; \
	done

bench-accept: setup ## Accept this machine's counts and ratios as what CI compares with
	@$(BIN)/python benchmarks/instructions.py accept
	@$(BIN)/python benchmarks/ratios.py accept
	@CALIGO_ACCEPT=1 cargo test --quiet --locked --manifest-path $(MANIFEST) --test operations

flamegraphs: setup ## Profile every decoder into docs/flamegraphs/ (py-spy must be allowed to trace)
	@$(BIN)/python benchmarks/flamegraphs.py docs/flamegraphs

# --- packages -------------------------------------------------------------------------------------------------------

$(VENV)/.wheel-tools: requirements-wheel.lock $(VENV)/.locked
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-wheel.lock
	@touch $@

dist/.wheel: $(RUST_SOURCES) $(PACKAGE_SOURCES) $(MANIFEST) $(CRATE)/Cargo.lock pyproject.toml README.md LICENSE $(VENV)/.wheel-tools
	@mkdir -p dist && rm -f dist/*.whl
	@echo "make: building a manylinux2014 wheel (engines are chosen at run time; the build targets the baseline CPU)"
	@RUSTFLAGS="--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo --remap-path-prefix=$(CURDIR)=/caligo" \
		$(WITHOUT_SLOTS) $(BIN)/python -m maturin build --quiet --release --strip --locked --zig --compatibility manylinux2014 --out dist
	@touch $@

wheel: setup dist/.wheel ## A portable wheel in dist/
	@ls dist/*.whl

sdist: setup ## A source distribution in dist/
	@mkdir -p dist && rm -f dist/*.tar.gz
	@$(BIN)/python -m maturin pep517 write-sdist --sdist-directory dist >/dev/null
	@ls dist/*.tar.gz

# For machines without network (docs/hpc.md): the source distribution with every crate in it, and the wheels that it needs.
AIR_GAPPED := dist/air-gapped

sdist-vendored: sdist ## The same with all its crates, for machines without network, in dist/air-gapped/
	@rm -rf $(AIR_GAPPED)/sources $(AIR_GAPPED)/*.tar.gz && mkdir -p $(AIR_GAPPED)/sources
	@tar -xzf dist/caligo-*.tar.gz -C $(AIR_GAPPED)/sources
	@cd $(AIR_GAPPED)/sources/caligo-* && mkdir .cargo && \
		{ $(OWN_CARGO) vendor --locked --versioned-dirs --manifest-path $(MANIFEST) vendor >.cargo/config.toml 2>.cargo/log || \
			{ cat .cargo/log >&2; exit 1; }; } && rm .cargo/log
	@grep -rlI '^#!' $(AIR_GAPPED)/sources/caligo-*/slurm | xargs chmod +x
	@name=$$(cd $(AIR_GAPPED)/sources && ls); \
		tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
			-C $(AIR_GAPPED)/sources -czf $(AIR_GAPPED)/$$name.tar.gz $$name
	@rm -rf $(AIR_GAPPED)/sources
	@ls $(AIR_GAPPED)/*.tar.gz

wheelhouse: $(VENV)/.created ## Wheels of all that building and running needs, for this Python, in dist/air-gapped/
	@rm -rf $(AIR_GAPPED)/wheelhouse
	@$(BIN)/python -m pip download --quiet --require-hashes --no-deps --only-binary :all: \
		--dest $(AIR_GAPPED)/wheelhouse -r requirements-offline.lock
	@ls $(AIR_GAPPED)/wheelhouse/*.whl

# Hashes only: no index, no local path may enter a lock file, whatever this machine's pip is configured to.
UV_COMPILE = env -u PIP_FIND_LINKS -u UV_FIND_LINKS -u UV_INDEX -u UV_INDEX_URL -u UV_DEFAULT_INDEX -u UV_EXTRA_INDEX_URL \
	$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" pyproject.toml

lock: $(VENV)/.created ## Refresh requirements*.lock and Cargo.lock
	@$(BIN)/python -m pip install --quiet 'uv>=0.8'
	@$(UV_COMPILE) --upgrade --output-file requirements.lock \
		--extra mpi --extra oracle --extra plot --extra store --extra formats --extra test --extra lint --extra bench --extra build
	@$(UV_COMPILE) --upgrade --output-file requirements-wheel.lock --extra wheel --constraint requirements.lock
	@$(UV_COMPILE) --upgrade --output-file requirements-offline.lock --extra mpi --extra build --constraint requirements.lock
	@cargo update --manifest-path $(MANIFEST)

clean: ## Remove everything that was built
	rm -rf $(VENV) target dist build .benchmarks .hypothesis .pytest_cache .mypy_cache .ruff_cache caligo-demo
	find caligo -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
