# shellcheck shell=bash
# Put caches on the network volume, beside the checkout's results: source profiles/runpod/env.sh
HEADSPLAT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export XDG_CACHE_HOME="$HEADSPLAT_ROOT/.cache"
export PIP_CACHE_DIR="$XDG_CACHE_HOME/pip"
export TORCH_HOME="$XDG_CACHE_HOME/torch"
export CONDA_PKGS_DIRS="$XDG_CACHE_HOME/conda"
export HEADSPLAT_EXT_DIR="$HEADSPLAT_ROOT/work/cuda_ext"
export TMPDIR="$HEADSPLAT_ROOT/scratch/tmp"
export PATH="$HEADSPLAT_ROOT/.venv/bin:$PATH"
mkdir -p "$TMPDIR" "$PIP_CACHE_DIR"
