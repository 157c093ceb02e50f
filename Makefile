# make demo       a report as HTML, from nothing but Python
# make lab        JupyterLab on the notebooks, the quickstart open
# make test       all checks, as CI runs them
# make test-fast  the tests that are neither slow nor in a browser: under 3 minutes
# make lint       ruff and mypy only
# make api        the reference of all public names, as pages in build/api
# make site       README, course, how-tos, reference and the live page as pages in build/site, which need no network
# make live       the live page, build/live.html: the miniature in one file that needs neither Python nor a network
# make bench      how long things take, beside diffusers, a peer, bare passes and a bare picture; TABLES=start is one table
# make parity     how far our latents are from those of diffusers' own pipelines
# make residue    what stays behind 300 runs of each kind, and behind calls that are broken off; KINDS=reports is one kind
# make faults     kills, full disks, damaged files, interrupts, shortages: what they leave
# make hostile    20,000 examples of hostile input, a trace bit by bit, injected words: what is refused
# make evidence   these five: all of docs/evidence.md, for hours
# make study      when guidance helps: a day of one core, goes on where it was stopped, writes the table of notebooks/study.ipynb
# make restudy    10 pictures of each of its settings made again, beside those of the table: some minutes
# make render     the README's pictures and the notebooks' outputs, made again
# make clean      removes what these made, virtual environments included
# make help       these lines
# PYTHON=python3.12 make ... takes another interpreter than python3; WORKERS=1 make test runs one test at a time.

PYTHON ?= python3
WORKERS ?= logical
BIN := .venv/bin
COLAB := .venv-colab/bin
RUNTIME := build/onnxruntime-web-1.30.0.tgz
TYPESCRIPT := build/node_modules/typescript
PEER := build/peer
ROOT := $(filter 0,$(shell id -u))
SUDO := $(if $(ROOT),,sudo)
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := demo
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: demo lab live render study restudy bench parity residue faults hostile evidence test test-fast test-colab lint api site chromium clean help

# Tests must neither reach for a hub nor for a display.
OFFLINE := test test-fast test-colab restudy bench parity residue faults hostile
$(OFFLINE): export HF_HUB_OFFLINE := 1
$(OFFLINE): export TRANSFORMERS_OFFLINE := 1
$(OFFLINE): export MPLBACKEND := Agg

apt = $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y $(1)
# Debian's python3 comes without ensurepip, and venv needs it.
venv = $(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call apt,python3-venv); }; $(PYTHON) -m venv $(1)

demo: .venv/.report
	$(BIN)/sagviz report report.html --prompt "a fox on a blue background" --seed 7 --steps 50

lab: .venv/.lab .venv/.report
	$(BIN)/jupyter lab notebooks $(if $(ROOT),--allow-root) --LabApp.default_url=/lab/tree/00_quickstart.ipynb

render: .venv/.dev chromium
	$(BIN)/python docs/render.py
	$(BIN)/python docs/screenshots.py

study: export OMP_NUM_THREADS := 1
study: .venv/.report
	nice -n 19 $(BIN)/python -m sagviz.mini.study

restudy: export SAGVIZ_CELLS := every
restudy: .venv/.dev
	$(pytest) --dist load tests/mini/test_study.py -k made_again

# Each writes its section of docs/evidence.md.
TABLES ?= start engine large peer growth microscope browser
bench parity residue: export PYTHONPATH := tests
bench: .venv/.dev chromium $(PEER)
	for table in $(TABLES); do $(BIN)/python -W ignore tests/benchmarks/$$table.py || exit 1; done

parity residue: .venv/.dev
	$(BIN)/python -W ignore tests/benchmarks/$@.py $(if $(filter residue,$@),$(KINDS))

evidence:
	for part in parity faults hostile residue bench; do $(MAKE) $$part || exit 1; done

# The peer's torchvision is bound to another build of torch, and capture does not use it.
$(PEER): | .venv/.dev
	$(BIN)/pip install -q --no-deps --target $@ attention-map-diffusers==1.0.0

faults hostile: export PYTHONPATH := tests
faults: export SAGVIZ_MOMENTS := 50
faults: .venv/.dev $(RUNTIME)
	$(BIN)/python tests/proofs.py faults

hostile: export SAGVIZ_EXAMPLES := 20000
hostile: .venv/.dev chromium $(RUNTIME)
	$(BIN)/python tests/proofs.py hostile

# A file's tests stay on one worker; the files that take long begin first (tests/conftest.py).
pytest = $(BIN)/pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Colab's set comes first, beside the linters, so that the line that counts all tests is the last one.
test: .venv/.dev chromium $(RUNTIME) $(TYPESCRIPT)
	$(MAKE) test-colab & $(MAKE) lint; lint=$$?; wait $$! && exit $$lint
	$(pytest)

test-fast: .venv/.dev $(TYPESCRIPT)
	$(pytest) -m "not slow and not browser"

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

api: .venv/.dev
	$(BIN)/python docs/api.py build/api

# With the live page where its runtime is at hand.
site: .venv/.dev $(if $(wildcard $(RUNTIME)),live)
	$(BIN)/python docs/site.py build/site $(if $(wildcard $(RUNTIME)),build/live.html)

live: .venv/.dev $(RUNTIME)
	$(BIN)/python -c 'import sagviz as sv; sv.live_page(sv.load(), "build/live.html", runtime="$(RUNTIME)")'

# What the live page carries beside the model, and what checks the types of its scripts; npm is the environment's.
$(RUNTIME): | .venv/.dev
	mkdir -p build
	cd build && ../$(BIN)/npm pack --silent onnxruntime-web@1.30.0

$(TYPESCRIPT): | .venv/.dev
	$(BIN)/npm install --silent --no-audit --no-fund --prefix build typescript@6.0.3

# The wheel as a user gets it, among Colab's versions; installed again each time because its version number stays the same.
# No tests/conftest.py: it is made for the other environment.
test-colab: $(COLAB)/python
	rm -rf build/colab
	$(COLAB)/pip wheel -q --no-deps -w build/colab .
	$(COLAB)/pip install -q -c tests/colab/constraints.txt pytest "$$(echo build/colab/sagviz-*.whl)[report]"
	$(COLAB)/pip install -q --no-deps --force-reinstall build/colab/sagviz-*.whl
	$(COLAB)/pytest --confcutdir=tests/colab tests/colab

chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null; then $(call apt,chromium); \
	else echo "No chromium or google-chrome on PATH: the browser tests need one." >&2; fi

# One environment, a stamp for each set of extras in it; `dev` holds the others.
.venv/.report .venv/.lab .venv/.dev: .venv/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -c constraints.txt -e ".[$*]"
	touch $@ $(if $(filter dev,$*),.venv/.report .venv/.lab)

$(BIN)/python $(COLAB)/python:
	$(call venv,$(@D:/bin=))

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

clean:
	rm -rf .venv .venv-colab build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache report.html report.ipynb
	find sagviz tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
