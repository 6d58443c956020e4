"""Time Snakemake's planning of 1, 200 and 1,000 subjects without any outputs.

Planning is everything before the first job: `snakemake -n --quiet rules progress`. CPU seconds are
those of that process alone, and do not depend on the machine's load.

    python -m benchmarks.planning [--subjects 1 200 1000] [--chunks 4 16] [--batches 10]
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


def folder_of(target: Path, subjects: int, chunks: int) -> None:
    """Copy the workflow, and write a table of subjects that share one video file."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(source, target / part, ignore=ignore)
        else:
            shutil.copy(source, target / part)
    (target / "clip.mp4").write_bytes(b"planning reads its first and last bytes only")
    settings = target / "config/config.yaml"
    settings.write_text(re.sub("(?m)^chunks: auto", f"chunks: {chunks}", settings.read_text()))
    rows = (f"subject{i:04d}\tclip.mp4\tprocedural\tstandard" for i in range(subjects))
    table = "\n".join(["subject\tvideo\thead\tpreset", *rows])
    (target / "config/subjects.tsv").write_text(table + "\n")


def plan(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds, and Snakemake's output."""
    before, start = os.times(), time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system, result.stdout + result.stderr


def jobs_of_one(chunks: int) -> int:
    """Number of jobs of one subject, without those that all subjects share."""
    counts = []
    for subjects in (1, 2):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "headsplat"
            folder.mkdir()
            folder_of(folder, subjects, chunks)
            text = plan(folder, "--quiet", "rules")[2]
        counts.append(int(re.findall(r"^total\s+(\d+)", text, flags=re.M)[-1]))
    return counts[1] - counts[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 200, 1000])
    parser.add_argument("--chunks", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--batches", type=int, default=10, help="also one part of so many")
    args = parser.parse_args()
    for chunks in args.chunks:
        print(f"{chunks} chunks: {jobs_of_one(chunks)} jobs a subject")
        for subjects in args.subjects:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "headsplat"
                folder.mkdir()
                folder_of(folder, subjects, chunks)
                plan(
                    folder, "--quiet", "--until", "probe_video"
                )  # fills the cache of source hashes
                wall, cpu, _ = plan(folder, "--quiet", "rules", "progress")
                each = f"{1000 * wall / subjects:.0f} ms a subject"
                print(
                    f"  {subjects} subjects: {wall:.1f} s, {cpu:.1f} s of CPU, {each}", flush=True
                )
                if subjects >= 100 * args.batches:
                    batch = ("--batch", f"all=1/{args.batches}")
                    wall, cpu, _ = plan(folder, "--quiet", "rules", "progress", *batch)
                    print(f"    {' '.join(batch)}: {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
