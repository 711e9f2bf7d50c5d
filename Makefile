# Targets for people; each one is idempotent and quick the second time. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

python := .venv/bin/python
vm2c := .venv/bin/vm2c
disk := .cache/shop.qcow2
out := demo-out/shop
shell_files := .ci/run scripts/*.sh examples/shop/build.sh examples/shop/recipe/*.sh tests/machines/forty/*.sh examples/shop/files/usr/local/bin/orders-report

.PHONY: help demo test disk setup engine lint bench clean

help:  ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name says; do printf '  make %-8s %s\n' "$$name" "$$says"; done

# vm2c ends with 3 where it is done and lists what it could not read.
demo: disk  ## Build the example machine's disk, analyze it, generate its images and manifests, build them.
	@$(vm2c) analyze $(disk) --output $(out) || [ $$? -eq 3 ]
	@$(vm2c) generate $(out) || [ $$? -eq 3 ]
	@if timeout 20 docker version >/dev/null 2>&1; then \
		scripts/base-images.sh; \
		$(vm2c) build $(out); \
	else \
		echo "No Docker engine answers, so no image is built; scripts/engine.sh starts one, then: $(vm2c) build $(out)"; \
	fi
	@echo
	@echo "Look at: $(out)/report.html      what was found, what is decided and why"
	@echo "         $(out)/plan.yaml        the plan, yours to edit; then make demo again"
	@echo "         $(out)/images/          a Dockerfile for each component"
	@echo "         $(out)/compose.yaml, $(out)/kubernetes/, $(out)/RUNBOOK.md"
	@echo "The machine itself: examples/shop/README.md"

test:  ## Everything CI does: set-up, disk, engine, linters, tests.
	@scripts/setup.sh test
	@examples/shop/build.sh
	@$(python) -m tests.machines forty
	@scripts/engine.sh
	@scripts/base-images.sh
	@$(MAKE) lint
	$(python) -m pytest $(PYTEST_FLAGS)

disk: setup  ## Build the example machine's disk, .cache/shop.qcow2.
	@examples/shop/build.sh

setup:  ## Install what the demo needs: the distribution's packages and .venv.
	@scripts/setup.sh demo

engine:  ## Start a Docker engine where none answers.
	@scripts/engine.sh
	@scripts/base-images.sh

lint:  ## ruff, mypy, and shellcheck where it is installed.
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	@if command -v shellcheck >/dev/null; then shellcheck --severity=warning $(shell_files); else for f in $(shell_files); do bash -n $$f; done; fi

bench: setup  ## Time the readers against virt-inspector and the floor, on disks it builds (some minutes).
	$(python) -m benchmarks $(BENCH_FLAGS)

clean:  ## Remove what was made here, but for .venv.
	rm -rf .cache demo-out dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
