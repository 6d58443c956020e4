"""Run time and memory of each stage, from Snakemake's benchmark files."""

import csv
import math
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
        try:
            with open(path, newline="", errors="replace") as handle:
                rows = list(csv.DictReader(handle, delimiter="\t"))
            time = path.stat().st_mtime
        except (OSError, csv.Error):  # damaged or deleted meanwhile; skip it
            continue
        if not rows:
            continue
        for row in rows:
            cost = _number(row.get("s")), _number(row.get("max_rss"))
            found.setdefault(stage, []).append(cost)
        finished[stage] = min(finished.get(stage, time), time)
    return [
        Cost(stage, len(runs), sum(s for s, _ in runs), max(m for _, m in runs))
        for stage, runs in sorted(found.items(), key=lambda item: finished[item[0]])
    ]


def _number(text: str | None) -> float:
    # Snakemake writes NA or - for a job that ended before its first sample.
    try:
        number = float(text or "")
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0
