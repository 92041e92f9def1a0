# make demo      the main job, told step by step         make bench     ours, theirs and the ratio
# make test      everything that CI runs                  make soak      faults at random, SECONDS=300,
# make features  the user stories                                        and CASES=1000000 of the simulated swarm
# make lint      style, types, layers                     make docs      API pages in docs/api
#                                                         make clean     removes what was made here, but .venv
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help environment demo test unit features lint bench soak docs clean

PATH := $(CURDIR)/.venv/bin:$(PATH)
export PATH
export PYTHONDONTWRITEBYTECODE := 1
SECONDS ?= 300
CASES ?= 1000000

help:
	@sed -n '1,/^\./{/^#/s/^# //p}' Makefile

environment:
	@sh bin/install

demo: environment
	@python -m examples.demo

test: lint features unit

unit: environment
	@echo "== pytest"
	@python -m pytest -n 2 --dist loadfile -v --no-header --tb=short $(ARGS) || { [ $$? = 1 ] && \
	! grep -v '"tests/integration/' .pytest_cache/v/cache/lastfailed | grep -q '"tests/' && \
	echo "== pytest: real programs that failed, once more: a machine may stall; who passes now is a test to be mended" && \
	python -m pytest -n 0 -v --no-header --tb=short --last-failed --last-failed-no-failures=none --maxfail=1 $(ARGS); }

features: environment
	@echo "== behave"
	@trap 'rm -f .behave_failed' EXIT; behave -f rerun -o .behave_failed -f pretty $(ARGS) || { [ -s .behave_failed ] && \
	echo "== behave: what failed, once more: a machine may stall; who passes now is to be mended" && \
	behave -f pretty @.behave_failed; }

lint: environment
	@echo "== ruff, mypy, import-linter"
	@ruff check --quiet .
	@ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }
	@mypy --no-error-summary
	@said=$$(lint-imports --no-cache 2>&1) || { echo "$$said"; exit 1; }; echo "$$said" | tail -n 1

bench: environment
	@python -c 'import libtorrent' 2>/dev/null || python -m pip install -q --disable-pip-version-check -r benchmarks/requirements.txt
	@python -m benchmarks $(ARGS)

soak: environment
	@python -m tests.soak $(SECONDS)
	@python -m tests.swarm_cases 0 $(CASES)

docs: environment
	@pdoc --output-directory docs/api --no-show-source shoal tracker peer
	@echo "docs/api/index.html"

clean:
	@rm -rf docs/api build dist *.egg-info .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
