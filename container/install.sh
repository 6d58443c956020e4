#!/bin/sh
# The steps of Containerfile and headsplat.def: run in the checkout, as root, on Debian 12 or 13, or Ubuntu 24.04 or newer.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Python's headers are for packages without a wheel for the newest Python, the certificates for the model files.
apt-get install -y -q --no-install-recommends ca-certificates g++ make python3 python3-dev python3-venv
rm -rf /var/lib/apt/lists/*
make setup
