"""Snakemake, its plugins, and libraries that link against what pip cannot install."""

import importlib
from collections.abc import Iterator
from importlib.metadata import distributions, version

from headsplat.doctor.finding import Finding, fails, ok

PLUGIN = "snakemake-"
LIBRARIES = (
    ("cv2", "install libGL.so.1 and libglib (Debian: apt-get install libgl1 libglib2.0-0)"),
    ("mediapipe", "install libGL.so.1 and libEGL.so.1 (Debian: apt-get install libgl1 libegl1)"),
    ("torch", "install requirements.lock again, whose torch wheel works"),
    ("av", "install requirements.lock again, whose av wheel works"),
)


def check_snakemake() -> Iterator[Finding]:
    """Its version and plugins; the rules themselves state the oldest version they run with."""
    plugins = sorted(
        f"{name.removeprefix(PLUGIN)} {found.version}"
        for found in distributions()
        if (name := found.metadata["Name"] or "").startswith(PLUGIN) and "-plugin-" in name
    )
    says = ", ".join(plugins) or "none"
    yield ok("Snakemake", f"{version('snakemake')}; plugins: {says}")


def check_libraries() -> Iterator[Finding]:
    """Import what wheels link against."""
    broken = 0
    for module, cure in LIBRARIES:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            broken += 1
            yield fails(module, f"does not load ({error})", cure)
    if not broken:
        yield ok("libraries", ", ".join(module for module, _ in LIBRARIES) + " load")
