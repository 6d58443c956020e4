# shellcheck shell=sh
# Sourced in a pod before its job; HEADSPLAT_VOLUME is the checkout on the volume. Snakemake unpacks the sources into the pod's own
# folder and copies each job's inputs there. Folders that scripts open directly, or that must outlive the pod, are on the volume.
export PATH="$HEADSPLAT_VOLUME/.venv/bin:$PATH"
export HEADSPLAT_EXT_DIR="$HEADSPLAT_VOLUME/work/cuda_ext"
for folder in assets videos scratch; do
    mkdir -p "$HEADSPLAT_VOLUME/$folder"
    ln -sfn "$HEADSPLAT_VOLUME/$folder" "$folder"
done
