"""Seconds that Snakemake takes to plan 1, 100 and 1,000 subjects of which nothing is made yet.

Planning is all that comes before the first job: `snakemake -n --quiet rules progress`. The CPU
seconds are of that process alone, and what a busy machine leaves unchanged.

    python -m benchmarks.planning [--subjects 1 100 1000] [--preset standard] [--batches 10]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    "Snakefile", "rules", "envs", "headsplat", "workflow_scripts", "cuda_ext", "config", "profiles",
    "docs",
)  # fmt: skip


def folder_of(target: Path, subjects: int, preset: str) -> None:
    """Copy the workflow, and list subjects that share one file as their video."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(source, target / part, ignore=ignore)
        else:
            shutil.copy(source, target / part)
    (target / "clip.mp4").write_bytes(b"planning looks at its date only")
    rows = (f"subject{i:04d}\tclip.mp4\tprocedural\t{preset}" for i in range(subjects))
    table = "\n".join(["subject\tvideo\thead\tpreset", *rows])
    (target / "config/subjects.tsv").write_text(table + "\n")


def plan(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Seconds on the clock, seconds of CPU, and what Snakemake said."""
    before, start = os.times(), time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system, result.stdout + result.stderr


def jobs_of_one(preset: str) -> int:
    """Number of jobs of one subject, what all subjects share left out."""
    counts = []
    for subjects in (1, 2):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "headsplat"
            folder.mkdir()
            folder_of(folder, subjects, preset)
            text = plan(folder, "--quiet", "rules")[2]
        counts.append(int(re.findall(r"^total\s+(\d+)", text, flags=re.M)[-1]))
    return counts[1] - counts[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--preset", nargs="+", default=["preview", "standard"])
    parser.add_argument("--batches", type=int, default=10, help="also one part of so many")
    args = parser.parse_args()
    for preset in args.preset:
        print(f"{preset}: {jobs_of_one(preset)} jobs a subject")
        for subjects in args.subjects:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "headsplat"
                folder.mkdir()
                folder_of(folder, subjects, preset)
                plan(folder, "--quiet", "--until", "probe_video")  # the sources are read once
                wall, cpu, _ = plan(folder, "--quiet", "rules", "progress")
                print(f"  {subjects} subjects: {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)
                if subjects >= 10 * args.batches:
                    batch = ("--batch", f"all=1/{args.batches}")
                    wall, cpu, _ = plan(folder, "--quiet", "rules", "progress", *batch)
                    print(f"    {' '.join(batch)}: {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
