#!/usr/bin/env bash
# Set up a checkout on a pod's network volume, then run Snakemake with the given arguments. Needs Debian or Ubuntu with
# Python 3.11 to 3.14, and root. Existing parts are kept, so this can be a pod's start command, and resumes the run of an
# earlier pod:
#   bash /workspace/headsplat/profiles/runpod/bootstrap.sh --profile runpod -j 4
set -euo pipefail
# shellcheck source=profiles/runpod/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$HEADSPLAT_ROOT"

fail() {
    echo "error: $1" >&2
    exit 1
}

# System packages that are missing.
declare -A needs=([g++]=g++ [make]=make [git]=git)
packages=()
for program in "${!needs[@]}"; do
    command -v "$program" >/dev/null || packages+=("${needs[$program]}")
done
find_python=workflow_scripts/headsplat_workflow/find_python.sh
# For Python 3.14 one package is compiled (set_up.py), which needs Python's headers.
has_headers='import pathlib, sys, sysconfig
sys.exit(sys.version_info >= (3, 14) and not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())'
if python=$(sh "$find_python" 2>/dev/null); then
    "$python" -c "$has_headers" || packages+=(python3-dev)
else
    packages+=(python3 python3-venv python3-dev)
fi

# The NVIDIA driver limits the CUDA version of PyTorch.
cuda=
if driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) && [[ -n $driver ]]; then
    if ((${driver%%.*} >= 580)); then
        cuda=13-0
    elif ((${driver%%.*} >= 525)); then
        cuda=12-6
        [[ ${PIP_EXTRA_INDEX_URL-} ]] ||
            fail "driver $driver needs PyTorch for CUDA 12: set PIP_EXTRA_INDEX_URL to PyTorch's index of cu126 wheels"
        export PIP_CONSTRAINT="$HEADSPLAT_ROOT/requirements-cuda12.txt"
    else
        fail "the NVIDIA driver $driver is too old; choose a pod with driver 525 or newer"
    fi
    nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
    if [[ -z $nvcc ]] || [[ $("$nvcc" --version) != *"release ${cuda%%-*}."* ]]; then
        packages+=("cuda-nvcc-$cuda" "cuda-cudart-dev-$cuda")
    fi
else
    echo "no GPU: PyTorch will compute on the CPU"
fi

if ((${#packages[@]})); then
    ((EUID == 0)) || fail "these packages are missing, and installing them needs root: ${packages[*]}"
    command -v apt-get >/dev/null || fail "these packages are missing: ${packages[*]}"
    apt-get update -q
    for package in "${packages[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 ||
            fail "this image has no package $package; choose one with Python 3.11 to 3.14 and, for a GPU, CUDA's compiler (\"devel\")"
    done
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi
if [[ $cuda ]]; then
    [[ -d /usr/local/cuda-${cuda/-/.} ]] && export CUDA_HOME=/usr/local/cuda-${cuda/-/.}
fi

make setup
if (($#)); then
    exec snakemake "$@"
fi
snakemake --cores 1 --quiet all -- doctor
