"""Train several subjects in parallel on one machine's GPUs, one GPU each.

    python benchmarks/gpus.py --clip work/anna --head work/heads/ict.npz [--subjects 4]

Runs the stage's script as the workflow does: once alone, then once per subject in parallel, without
assigning GPUs. The logs show which GPU each process claimed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.runtime.files import write_json  # noqa: E402
from headsplat.runtime.gpu import gpu_count  # noqa: E402

# Required fraction of a single GPU's rate, per GPU in use.
EFFICIENCY = 0.875


def command(clip: Path, head: Path, steps: int, folder: Path) -> list[str]:
    """Command line of the training stage, as in `rules/avatar.smk`."""
    words = [sys.executable, str(ROOT / "workflow_scripts/train_avatar.py"), "--head", str(head)]
    words += ["--track", str(clip / "track/track.npz"), "--split", str(clip / "split.json")]
    for part in ("frames", "alpha", "parsing"):
        words += [f"--{part}", *map(str, sorted((clip / part).glob("*.zip")))]
    words += ["--steps", str(steps), "--lpips-weight", "0"]
    return [*words, "--scratch", str(folder / "scratch"), "--out", str(folder / "model")]


def together(subjects: int, arguments: argparse.Namespace) -> tuple[float, list[str]]:
    """Seconds until all have trained, and the GPU that each claimed."""
    with tempfile.TemporaryDirectory() as folder:
        jobs, start = [], time.monotonic()
        for number in range(subjects):
            own = Path(folder, str(number))
            own.mkdir()
            with open(own / "log", "w") as log:
                words = command(arguments.clip, arguments.head, arguments.steps, own)
                threads = str(max(1, len(os.sched_getaffinity(0)) // subjects))
                environment = os.environ | {"OMP_NUM_THREADS": threads}
                jobs.append((subprocess.Popen(words, stdout=log, stderr=log, env=environment), own))
        for job, own in jobs:
            if job.wait():
                sys.exit((own / "log").read_text()[-2000:])
        seconds = time.monotonic() - start
        gpus = [re.search(r"GPU: (.*)", (own / "log").read_text()) for _, own in jobs]
        return seconds, [found[1] if found else "none" for found in gpus]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True, help="a subject's folder under work/")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--subjects", type=int, help="one for each GPU without it")
    arguments = parser.parse_args()
    gpus = gpu_count()
    if not gpus:
        sys.exit("error: no GPU that PyTorch can use; this compares GPUs")
    subjects = arguments.subjects or gpus
    together(1, argparse.Namespace(**vars(arguments) | {"steps": 50}))  # compiles the operators
    alone, _ = together(1, arguments)
    seconds, claimed = together(subjects, arguments)
    for number, gpu in enumerate(claimed):
        print(f"subject {number}: {gpu}")
    rate = subjects * alone / seconds
    target = EFFICIENCY * min(gpus, subjects)
    print(f"one: {alone:.1f} s; {subjects} on {gpus} GPUs: {seconds:.1f} s, {rate:.2f}x one GPU")
    row = {
        "what": f"{subjects} subjects train side by side on {gpus} GPUs",
        "value": round(rate, 2), "unit": "x one GPU's rate", "target": target,
        "gpus": len(set(claimed)), "machine": machine(),
    }  # fmt: skip
    write_json(ROOT / "benchmarks/results/gpus.json", [row])


if __name__ == "__main__":
    main()
