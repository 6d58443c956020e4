"""What each stage cost, from the benchmark files that Snakemake writes beside the logs."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """One stage: number of jobs, seconds summed over them, and the largest resident memory."""

    stage: str
    jobs: int
    seconds: float
    peak_mib: float


def read_costs(logs: Path) -> list[Cost]:
    """Costs of all stages under `logs` (one `.tsv` per job), in order of their first finish."""
    found: dict[str, list[tuple[float, float]]] = {}
    finished: dict[str, float] = {}
    for path in logs.rglob("*.tsv"):
        stage = path.stem if path.parent == logs else path.relative_to(logs).parts[0]
        with open(path, newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                found.setdefault(stage, []).append((_number(row["s"]), _number(row["max_rss"])))
        time = path.stat().st_mtime
        finished[stage] = min(finished.get(stage, time), time)
    return [
        Cost(stage, len(runs), sum(s for s, _ in runs), max(m for _, m in runs))
        for stage, runs in sorted(found.items(), key=lambda item: finished[item[0]])
    ]


def _number(text: str) -> float:
    # Snakemake writes NA or - for a job that ended before its first sample.
    try:
        return float(text)
    except ValueError:
        return 0.0
