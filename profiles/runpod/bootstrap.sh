#!/usr/bin/env bash
# From a bare pod (Debian 12 or Ubuntu with Python 3.11, root) to a working checkout on its network volume. What is there already is
# left alone, so a pod's start command may be
#   bash /workspace/headsplat/profiles/runpod/bootstrap.sh --profile runpod -j 4
# and a pod that was taken away goes on where it stopped: arguments are given to Snakemake once all is set up.
set -euo pipefail
# shellcheck source=profiles/runpod/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$HEADSPLAT_ROOT"

fail() {
    echo "error: $1" >&2
    exit 1
}

# Packages, of those only the missing ones.
declare -A needs=([g++]=g++ [make]=make [git]=git)
packages=()
for program in "${!needs[@]}"; do
    command -v "$program" >/dev/null || packages+=("${needs[$program]}")
done
for library in libGL.so.1:libgl1 libEGL.so.1:libegl1 libglib-2.0.so.0:libglib2.0-0; do
    ldconfig -p | grep -q "${library%%:*}" || packages+=("${library##*:}")
done
python3.11 -c "import ensurepip, venv" 2>/dev/null || packages+=(python3.11 python3.11-venv)
# The compiler needs Python's headers, which a distribution keeps apart.
python3.11 -c 'import pathlib, sysconfig, sys; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' \
    2>/dev/null || packages+=(python3.11-dev)

# NVIDIA's driver decides which CUDA PyTorch may bring.
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
            fail "this image knows no package $package; choose one with Python 3.11 and, for a gpu, CUDA's compiler (\"devel\")"
    done
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi
if [[ $cuda ]]; then
    [[ -d /usr/local/cuda-${cuda/-/.} ]] && export CUDA_HOME=/usr/local/cuda-${cuda/-/.}
fi

make setup PYTHON="$(command -v python3.11)"
if (($#)); then
    exec snakemake "$@"
fi
snakemake --cores 1 --quiet all -- doctor
