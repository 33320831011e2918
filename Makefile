# make quickstart   set everything up and run NPT water in LAMMPS with the shipped potential
# make test         set everything up and run the tests
# make docs         set everything up and build the documentation site: build/docs/index.html
# make demo-loop    set everything up and run the closed loop on a few molecules (minutes)
# All work on a fresh clone with Python >= 3.11 (with venv), g++ and an internet connection.

PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
READY = $(VENV)/.ready

.PHONY: quickstart demo-loop docs test lint format sanitize clean

quickstart: $(READY)
	$(PY) -m examples.quickstart

# GFN2-xTB labels the demo: tblite is in the extra "labels"
demo-loop: $(READY)
	@$(PY) -c 'import tblite.ase' 2>/dev/null \
	|| $(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test,classical,labels]' \
	|| { echo "error: tblite, which labels the demo, cannot be installed: pip says why above"; exit 2; }
	$(VENV)/bin/tpainn-train loop examples/demo_loop/demo.yaml

# warnings are errors: a link that leads nowhere, a name that does not exist
docs: $(READY)
	@$(PY) -c 'import sphinx, myst_parser, furo, sphinx_copybutton' 2>/dev/null \
	|| $(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test,classical,docs]'
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "see build/docs/index.html"

# a process per core, at most four; a file stays in one, for what its tests share
test: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# the LAMMPS plugin under AddressSanitizer, in every ghost mode (minutes)
sanitize: $(READY)
	$(PY) -m benchmarks.sanitize

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Reused while setup.cfg and constraints.txt stay as they are. pip's own options (an index of CPU
# wheels, a proxy) can be given in its environment variables.
$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version.split()[0] + "; set PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 2; }
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[test,classical]'
	@touch $@

clean:
	rm -rf $(VENV) quickstart runs build dist docs/api docs/studies *.egg-info
