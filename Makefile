# What a person types. Needs make and python3 (3.11 or newer) with venv; all the rest goes into .venv.
# PYTHON names another interpreter; pip's own settings (PIP_* variables, pip.conf) hold.
.POSIX:

PYTHON = python3
ARGS =
STUBS = .
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

help:
	@echo 'make demo     train on a simulated shop, serve it, show answers; Ctrl-C stops'
	@echo '              ARGS=--exit stops by itself, ARGS="--dataset DIR" takes your data'
	@echo 'make test     linters, types, import rules, then every test'
	@echo 'make lint     the first three alone'
	@echo 'make protos   generate recsys/v1 from protos/'
	@echo 'make clean    remove what make made, .venv included'

demo: .venv/.train
	@$(BIN)/recsys demo $(ARGS)

test: lint
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

protos: .venv/.dev
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=$(STUBS) --pyi_out=$(STUBS) \
	  --grpc_python_out=$(STUBS) protos/recsys/v1/*.proto

clean:
	rm -rf .venv .*_cache .hypothesis build dist demo

# A stamp stands for a whole installation; it is made last, so that an interrupted one is taken up again.
.venv/.train: .venv/.made pyproject.toml constraints.txt
	@echo 'Installing recsys into .venv (once, 840 MB) ...'
	@$(PIP) --editable '.[train]'
	@touch $@

.venv/.dev: .venv/.made pyproject.toml constraints.txt
	@echo 'Installing recsys, linters and test tools into .venv (once, 1,120 MB) ...'
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/.train

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo 'Install python3, 3.11 or newer' \
	  '(Debian: apt install python3), or name another one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'Install the venv module of $(PYTHON)' \
	  '(Debian: apt install python3-venv)' >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.PHONY: help demo test lint protos clean
