# make run VIDEO=clip.mp4      environment, installation and posefix in one command
# make test                    everything the tests need, then the tests
# make test-mmpose             the same for MMPose, which the tests do without: it goes into the environment
# make docs                    the documentation as pages in site/, all their links checked
#
# Variables: VIDEO (file, glob, folder, camera index or URL), ARGS (more options for posefix),
#            PYTHON (an interpreter, 3.10 to 3.12), VENV (where the environment goes).

VENV ?= .venv
PYTHON ?=
VIDEO ?=
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
SAMPLE := sample/sample.mp4

.PHONY: run install test test-mmpose lint docs clean help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -7

ifeq ($(strip $(VIDEO)),)
run: $(SAMPLE)
	$(BIN)/posefix $(SAMPLE) -o sample/sample_posefix --overwrite $(ARGS)
else
run: install
	$(BIN)/posefix "$(VIDEO)" $(ARGS)
endif

$(SAMPLE): demos/make_sample.py | install
	@echo "drawing a sample clip (up to a minute)"
	@$(BIN)/python -m posefix.demos.make_sample $@

install: $(VENV)/.posefix

test: $(VENV)/.test
	$(BIN)/python -m pytest

# Holds setuptools below 81, so it comes after the other tests.
test-mmpose: $(VENV)/.test
	$(BIN)/posefix install-mmpose --mmdet
	$(BIN)/python -m pytest tests/test_mmpose.py tests/test_mmpose_real.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The pages as they stand to each other in the repository: links hold there and on the site.
PAGES := build/pages
docs: $(VENV)/.docs
	@rm -rf $(PAGES) && mkdir -p $(PAGES)/benchmarks $(PAGES)/weights
	@cp -r README.md LICENSE docs $(PAGES)
	@cp benchmarks/README.md $(PAGES)/benchmarks && cp weights/README.md $(PAGES)/weights
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) sample site build dist posefix.egg-info .pytest_cache .ruff_cache .hypothesis

# The stamps: installing again only when what is asked for has changed.
$(VENV)/.posefix: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing posefix into $(VENV) (a few minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.test: $(VENV)/.posefix
	@echo "installing what the tests need"
	@$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.posefix
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.posefix
	@$(PIP) -e '.[docs]'
	@touch $@

$(BIN)/python:
	@for python in $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.10 python3 python); do \
	    if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then \
	        $$python -m venv "$(VENV)" && exit 0; \
	        echo "make: $$python cannot make an environment; install its venv module (python3-venv)" >&2; \
	        rm -rf "$(VENV)"; exit 1; \
	    fi; \
	done; \
	echo "make: posefix needs Python 3.10, 3.11 or 3.12$(if $(PYTHON), and $(PYTHON) is not,; none was found); install one or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
	exit 1
