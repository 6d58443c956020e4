# make demo and make test are all a fresh machine needs: Python 3.11 to 3.14 and a C++ compiler.
# PYTHON= names the Python of a new environment; by default workflow_scripts/headsplat_workflow/find_python.sh does.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
SET_UP := workflow_scripts/headsplat_workflow/set_up.py
# Test files side by side; each starts processes of its own, so no more than four.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile
# Pins beside requirements.lock are installed where they are needed.
ADD := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
# SLURM first, because it mostly waits.
SLOW := tests/slow/test_slurm.py $(filter-out %/test_slurm.py,$(wildcard tests/slow/test_*.py))

.PHONY: setup demo test test-chaos test-slow wheel bench docs gallery options lock lint clean

# Looks at the environment itself, not at a time stamp, so that a moved checkout, another Python or another lock is noticed.
setup:
	@$(BIN)/python -I $(SET_UP) --check $(VENV) >/dev/null 2>&1 && exit; \
	command -v c++ >/dev/null || { echo "error: no C++ compiler; install g++ (Debian: apt-get install g++)"; exit 1; }; \
	python=$$(sh $(dir $(SET_UP))find_python.sh "$(PYTHON)") && "$$python" $(SET_UP) $(VENV)

demo: setup
	$(BIN)/snakemake --cores $(CORES) demo

test: setup lint
	$(ADD) -r requirements-dev.txt -r requirements-slurm.txt
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

# Kills at random moments and broken machines; needs nothing but the set-up.
test-chaos: setup
	$(ADD) -r requirements-dev.txt
	$(BIN)/python -m pytest -q tests/slow/test_chaos.py tests/slow/test_faults.py

# Chaos, SLURM, Kubernetes, storage, pins. What cannot run here is skipped, with the reason.
test-slow: setup
	for group in dev slurm kubernetes storage; do $(ADD) -r requirements-$$group.txt || exit; done
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld >/dev/null && command -v rsync >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends slurm-wlm munge rsync; } || \
	echo "not installed: slurm-wlm, munge and rsync (Debian: apt-get install them as root); their tests are skipped"
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) --no-loadscope-reorder $(SLOW)

lint: setup
	$(ADD) -r requirements-dev.txt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules workflow

# config/schema.yaml and the tables of config/README.md, from the options' dataclasses.
options: setup
	PYTHONPATH=workflow_scripts:. $(BIN)/python -m headsplat_workflow.write_options

# requirements.lock and the files beside it, from pyproject.toml. `make lock UPGRADE=--upgrade` takes the newest releases. Needs uv.
lock:
	python3 workflow_scripts/headsplat_workflow/write_locks.py $(UPGRADE)

# For machines without compilers: the library, and its operators compiled for every GPU that nvcc
# knows (or TORCH_CUDA_ARCH_LIST), for the PyTorch of this environment. pip install dist/*.whl
# Built from a copy, because what the build leaves behind would count as changed code.
wheel: setup
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	cp -R headsplat cuda_ext pyproject.toml README.md LICENSE "$$copy" && \
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist "$$copy" "$$copy/cuda_ext"

bench: setup
	$(BIN)/snakemake work/heads/procedural.npz --cores $(CORES) --quiet all
	$(BIN)/python -m benchmarks

# The API reference of the library, in docs/api.
docs: setup
	$(ADD) -r requirements-docs.txt
	$(BIN)/python docs/build_api.py

# The README's images, from the demo and two motions that its avatar plays.
gallery: setup
	$(BIN)/python benchmarks/gallery.py prepare
	$(BIN)/snakemake --cores $(CORES) demo results/demo/driven/own_track.mp4 results/demo/driven/performance.mp4 \
	--config subjects=work/gallery/subjects.tsv
	$(BIN)/python benchmarks/gallery.py draw

clean:
	rm -rf work results scratch logs .snakemake
