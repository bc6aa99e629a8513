# The front door. `make demo` and `make test` do all the set-up by themselves, as an ordinary user:
# they need Rust (rustup), Python 3.11 or later with venv, a C compiler, make and git.
# What they build or install is kept in ${XDG_CACHE_HOME:-~/.cache}/dask-azureml-operator.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Worker nodes of the demo, beside the head.
WORKERS ?= 3
# Flags for `make up`: a minute of Azure is a second there, unless they say otherwise.
SIMULATOR_ARGS ?= --time-scale 60
OPERATOR_ARGS ?=

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dask-azureml-operator

# Dependencies are compiled once for all clones; what is compiled of the workspace, and the programs,
# are each clone's own. Cargo tells the members of two clones apart by nothing but the times of their
# files, and would take one clone's for the other's, so each clone gets a number of codegen units that
# follows from its path: so high that it changes nothing else, and part of what cargo tells things
# apart by. Whoever sets CARGO_TARGET_DIR gets plain cargo.
cargo := cargo
ifndef CARGO_TARGET_DIR
export CARGO_TARGET_DIR := $(CURDIR)/target
export CARGO_BUILD_BUILD_DIR := $(CACHE)/cargo
export CARGO_PROFILE_DEV_CODEGEN_UNITS := $(shell echo $$((1000 + $$(printf %s '$(CURDIR)' | cksum | cut -d' ' -f1) % 1000000)))
cargo += --config 'profile.dev.package."*".codegen-units=256'
endif

export PYTHONPATH := $(CURDIR)/tests$(if $(PYTHONPATH),:$(PYTHONPATH))
LINE := $(PYTHON) -m line
# Builds the control plane and the Python environment if they are missing, and names them to the
# command that follows.
WITH_LINE := $(LINE) run --

# Each by itself, as they are programs of their own with settings of their own; tests/azure-sdk has
# an environment of its own too.
PYTHON_TESTS := $(filter-out tests/azure-sdk/,$(sort $(dir $(wildcard tests/*/test_*.py))))
# The longest first, so that none of them is left alone at the end.
LONG_TESTS := $(wildcard tests/whole_line/ tests/bad_input/ tests/bad_weather/ tests/leadership/ tests/bootstrap/ tests/chart/ tests/secrets/ tests/gitops/)

CRD := crds/daskclusters.azureml.dask.dev.yaml
CHART_CRDS := charts/dask-azureml-operator/files/crds

.PHONY: help
help: ## List the targets
	@sed -En 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target what; \
	  do printf '  make %-18s %s\n' "$$target" "$$what"; done

.PHONY: build
build: ## Build operator and simulator
	$(cargo) build --workspace --locked

.PHONY: demo
demo: build ## Run examples/noaa-isd on a simulated Azure, from manifest to empty Azure (WORKERS=3)
	$(WITH_LINE) python examples/noaa-isd/demo.py --workers $(WORKERS)

# Every simulator of the tests leaves there what it saw, which is checked at the end.
EXCHANGES := $(CURDIR)/target/exchanges

.PHONY: test
test: export AZURE_SIMULATOR_EXCHANGES := $(EXCHANGES)
test: build check ## Run all tests, after what `check` looks at
	rm -rf $(EXCHANGES)
	$(LINE) go-tools
	$(WITH_LINE) $(cargo) test --workspace --locked
	$(WITH_LINE) tests/support/two_at_a_time.sh $(LONG_TESTS) $(filter-out $(LONG_TESTS),$(PYTHON_TESTS))
	$(LINE) azure-sdk -- python -m pytest tests/azure-sdk
	$(LINE) azure-sdk -- python tests/azure-sdk/wire_check.py $(EXCHANGES)
	$(LINE) azure-sdk -- python tests/azure-sdk/role_check.py $(EXCHANGES)

.PHONY: up
up: build ## Leave control plane, simulator and operator running (SIMULATOR_ARGS=, OPERATOR_ARGS=)
	$(LINE) up --simulator-arguments='$(SIMULATOR_ARGS)' --operator-arguments='$(OPERATOR_ARGS)'

.PHONY: down
down: ## End what `make up` started
	$(LINE) down

.PHONY: check
check: ## Check formatting, lints, generated files, pages, Dockerfile and the purity of pure modules
	cargo fmt --all --check
	$(cargo) clippy --workspace --all-targets --locked -- -D warnings
	$(cargo) test --locked --test generated --test documents --test image --test purity
	$$($(LINE) hadolint) Dockerfile

.PHONY: generate
generate: ## Write the generated files anew
	mkdir -p $(dir $(CRD)) $(CHART_CRDS)
	$(cargo) run --quiet --locked -- crd > $(CRD).unfinished
	mv $(CRD).unfinished $(CRD)
	cp $(CRD) $(CHART_CRDS)
	$(cargo) run --quiet --locked -- metrics > docs/metrics.md.unfinished
	mv docs/metrics.md.unfinished docs/metrics.md
	$(cargo) run --quiet --locked -- settings > docs/settings.md.unfinished
	mv docs/settings.md.unfinished docs/settings.md
	$$($(LINE) python) tests/chart/values_page.py

# What a release is made of, in target/release-artifacts: `.github/workflows/release.yaml` calls these, and they run here
# but for the image, which needs Docker.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
REVISION ?= $(shell git rev-parse HEAD 2> /dev/null)
REGISTRY ?= registry.example
SOURCE ?=
# The image of the chart and the manifest. After a push by its digest: IMAGE=REPOSITORY@sha256:…
IMAGE ?= $(REGISTRY)/dask-azureml-operator:$(VERSION)
PLATFORM ?=
ARTIFACTS := target/release-artifacts
CARGO_TOOLS := $(CACHE)/cargo-tools

.PHONY: release-version
release-version: ## Check that TAG is the version of Cargo.toml and of the chart (TAG=v0.1.0)
	test '$(TAG)' = 'v$(VERSION)'
	grep -qx 'version: $(VERSION)' charts/dask-azureml-operator/Chart.yaml
	grep -qx 'appVersion: "$(VERSION)"' charts/dask-azureml-operator/Chart.yaml

.PHONY: image
image: ## Build the image with Docker (REGISTRY=, PLATFORM=linux/arm64, SOURCE=)
	docker build --tag $(IMAGE) $(if $(PLATFORM),--platform $(PLATFORM)) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) .

# With the host's own C library, as no other is at hand everywhere: the image's is musl.
HOST = $(shell rustc -vV 2> /dev/null | sed -n 's/^host: //p')

.PHONY: static
static: ## Build the operator as one static program, and run the chart's tests with it in an empty root
	RUSTFLAGS='-C target-feature=+crt-static' $(cargo) build --release --locked --package dask-azureml-operator \
	  --bin dask-azureml-operator --target $(HOST)
	DASK_AZUREML_STATIC=$(CURDIR)/target/$(HOST)/release/dask-azureml-operator \
	  $(WITH_LINE) python -m pytest -rP tests/chart/test_installed.py

.PHONY: manifest
manifest: ## Write the chart as rendered, for kubectl and kustomize (IMAGE=)
	mkdir -p $(ARTIFACTS)
	tests/chart/manifest.sh '$(IMAGE)' > $(ARTIFACTS)/install.yaml

.PHONY: chart
chart: ## Package the chart, of the version and with it as appVersion
	mkdir -p $(ARTIFACTS)
	helm=$$($(LINE) go-tools | sed -n 1p); \
	  "$$helm" package charts/dask-azureml-operator --version $(VERSION) --app-version $(VERSION) --destination $(ARTIFACTS)

.PHONY: sbom
sbom: ## Write what the operator is made of as CycloneDX
	mkdir -p $(ARTIFACTS)
	cargo install --quiet --locked --root $(CARGO_TOOLS) cargo-cyclonedx@0.5.9
	$(CARGO_TOOLS)/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --target x86_64-unknown-linux-musl \
	  --override-filename sbom
	rm -f azure-simulator/sbom.json
	mv sbom.json $(ARTIFACTS)/sbom.cdx.json

.PHONY: checksums
checksums: ## Write the checksums of what a release is made of
	cd $(ARTIFACTS) && rm -f checksums.txt && sha256sum * > checksums.unfinished && mv checksums.unfinished checksums.txt

.PHONY: release-artifacts
release-artifacts: manifest chart sbom checksums ## All of a release but the image (IMAGE=)

.PHONY: bench
bench: ## Run the benchmarks in release, results in bench/results
	$(WITH_LINE) $(cargo) bench --workspace --locked --bench '*'

.PHONY: lock
lock: ## Pin the Python requirements anew
	$(LINE) lock
