#!/bin/sh
# Prints the path of a Python that the pins are made for: the one named as argument, else the system's own, else one by its version.
# Where there is none, it prints one line on standard error with the command that brings one, and fails.
suits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
# uv makes environments without ensurepip, which Debian keeps in a package of its own.
command -v uv >/dev/null || suits="import ensurepip, venv; $suits"

fits() { "$1" -c "$suits" >/dev/null 2>&1; }

# The command that brings a Python to this machine.
bring() {
    command -v uv >/dev/null && echo "uv python install 3.13" && return
    for name in python3.13 python3.12 python3.11 python3.14; do
        apt-cache show "$name-venv" >/dev/null 2>&1 && echo "apt-get install $name-venv" && return
    done
    echo "pipx run uv python install 3.13"
}

if [ -n "${1:-}" ]; then
    path=$(command -v "$1") || { echo "error: $1 is not installed; set PYTHON= to Python 3.11 to 3.14, or: $(bring)" >&2; exit 1; }
    fits "$path" && echo "$path" && exit
    version=$("$path" -c 'import sys; print("Python %d.%d" % sys.version_info[:2])' 2>/dev/null) || version="no Python that runs"
    case $version in
    "Python 3.1"[1-4]) echo "error: $1 lacks its module venv; bring it with: apt-get install python${version#Python }-venv" >&2 ;;
    *) echo "error: $1 is $version; the pins need 3.11 to 3.14: set PYTHON= to one, or: $(bring)" >&2 ;;
    esac
    exit 1
fi
for name in python3 python3.13 python3.12 python3.11 python3.14; do
    path=$(command -v "$name") && fits "$path" && echo "$path" && exit
done
# Pythons that uv brought need not be on the PATH.
path=$(uv python find --no-python-downloads '>=3.11,<3.15' 2>/dev/null) && fits "$path" && echo "$path" && exit
echo "error: no Python 3.11 to 3.14 with its module venv is installed; bring one with: $(bring)" >&2
exit 1
