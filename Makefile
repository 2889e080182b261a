# make demo   the whole experiment on the embedded default, in twelve minutes on two cores
# make real   a real pretrained model and a list of texts that it knows, in an hour on two cores
# make check  what a run would do with your own files, before it starts: CONFIG=custom.yaml
# make test   lint and the whole test suite
# make test-slurm   the workflow on a SLURM cluster of one node, started for the test
# The other targets are steps of these, or for those who change the project.

PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.ready
CONFIG ?= config/config.yaml
BROWSER ?= chromium
RUN     = $(shell sed -n 's/^run: *//p' $(CONFIG))
RESULTS = results/$(RUN)

# jobs are started with `python`: it must be this environment's
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo real test test-slurm lint install lock schema plan check study-docs clean

demo: $(READY)
	snakemake --configfile $(CONFIG)
	@$(MAKE) --no-print-directory $(RESULTS)/report.html
	@echo "Report: $(RESULTS)/index.html   Snakemake's: $(RESULTS)/report.html"

$(RESULTS)/report.html: $(RESULTS)/claims.json $(RESULTS)/provenance.json
	snakemake --configfile $(CONFIG) --report $@

# one file for the browser; for a large run the same as a zip: make results/<run>/report.zip
$(RESULTS)/report.zip: $(RESULTS)/claims.json $(RESULTS)/provenance.json
	snakemake --configfile $(CONFIG) --report $@

# the model comes from a package index, the texts from here
real: $(READY) real/forget.jsonl
	snakemake --configfile config/real.yaml
	@echo "Report: results/real/audit.html"

real/forget.jsonl: $(wildcard examples/real/*.py examples/real/texts/*)
	python examples/real/prepare.py --output real

test: $(READY) lint
	# one thread each: two threads on a shared core cost up to ten times the time
	OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 12 \
	  -m "not slurm"

# root and apt: it installs Debian's slurm-wlm and munge where they are missing
test-slurm: $(READY)
	OMP_NUM_THREADS=1 pytest -m slurm

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check .
	snakemake --lint

install: $(READY)

$(READY): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --requirement requirements.lock
	# by all cores, which pip does not; files for other versions of Python do not compile
	$(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

# resolve requirements.in anew; torch's CUDA packages are left to torch's own exact pins
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --requirement requirements.in
	{ echo "# Made by 'make lock' from requirements.in: edit that file."; \
	  .venv-lock/bin/python -m pip freeze | sed 's/^\(torch==[0-9.]*\)+cpu/\1/' | grep -v '^\(nvidia\|triton\|cuda\)'; \
	} > requirements.lock
	rm -rf .venv-lock

schema: $(READY)
	python -c "import sys; sys.path.insert(0, 'scripts'); from unlearning.configuration import schema; print(schema(), end='')" > config/schema.json

# what an experiment would cost: make plan CONFIG=config/paper.yaml
plan: $(READY)
	@python benchmarks/plan.py --configfile $(CONFIG)

# what a run would do with your files, and what it can decide: make check CONFIG=custom.yaml
check: $(READY)
	@python benchmarks/check.py --configfile $(CONFIG)

# what the README and docs/study/README.md show of a finished study: the report as a picture, which
# needs a Chromium, figures, verdicts, and the tables that are small
STUDY = results/study
ADDED = results/study_perturb
SHOWN = $(shell grep -oh 'figures/[a-z_]*\.png' README.md docs/study/README.md | sort -u)
study-docs: $(READY)
	rm -rf docs/study/figures docs/study/tables
	mkdir -p docs/study/figures docs/study/tables
	cp $(addprefix $(STUDY)/,$(filter-out %/report.png,$(SHOWN))) docs/study/figures/
	find $(STUDY)/tables -name '*.csv' -size -400k -exec cp {} docs/study/tables/ ';'
	cp $(STUDY)/claims.md $(STUDY)/reach.csv $(STUDY)/provenance.json docs/study/
	python benchmarks/summary.py --config config/study.yaml > docs/study/summary.md
	rm -rf docs/study/perturb
	mkdir docs/study/perturb
	cp $(foreach name,which_method attack_suite ulira,$(ADDED)/figures/$(name).png) docs/study/perturb/
	cp $(foreach name,solution_space ulira,$(ADDED)/tables/$(name).csv) docs/study/perturb/
	cp $(ADDED)/reach.csv $(ADDED)/provenance.json docs/study/perturb/
	python benchmarks/summary.py --config config/study_perturb.yaml > docs/study/perturb/summary.md
	$(BROWSER) --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
	  --disable-background-networking --disable-component-update --disable-sync \
	  --user-data-dir=$$(mktemp -d) --window-size=1180,1330 \
	  --screenshot=$(CURDIR)/docs/study/figures/report.png file://$(CURDIR)/$(STUDY)/index.html

# the graph of the rules, as GitHub draws it
docs/rules.md: $(READY) Snakefile $(wildcard rules/*.smk)
	{ echo "# The rules"; echo; echo '```mermaid'; \
	  snakemake --quiet all --rulegraph mermaid-js; echo; echo '```'; } > $@

clean:
	rm -rf results logs .snakemake
