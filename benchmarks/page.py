"""Generate docs/benchmarks.md, and the README's table of headline numbers, from the results.

    python benchmarks/page.py            # write both
    python benchmarks/page.py --check    # exit status 1 if one is out of date

Every benchmark writes `benchmarks/results/<name>.json`: a list of rows with `what`, `value`,
`unit`, `target`, `machine`, and if there is a peer, `peer`, `peer_value` and `ratio`.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.body_table import body_rows  # noqa: E402
from benchmarks.page_sections import HEADLINES, SECTIONS, Section  # noqa: E402
from benchmarks.quality_table import quality_rows, quality_table  # noqa: E402

RESULTS, PAGE, README = "benchmarks/results", "docs/benchmarks.md", "README.md"
BEGIN, END = "<!-- headline numbers: python benchmarks/page.py -->", "<!-- end -->"
Row = dict[str, Any]


def number(value: Any) -> str:
    """A measured value as text: four digits at most, thousands grouped."""
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    return text.removesuffix(".0")


def frames_rows(content: Row) -> list[Row]:
    """Rows of frames.json."""
    names = {
        "write_track": "packed track, written", "read_track": "packed track, read",
        "write_frames": "`.frame` files, written", "read_frames": "`.frame` files, read",
    }  # fmt: skip
    goals = {"write_frames": 10, "read_frames": 10, "write_track": 1, "read_track": 1}
    return [
        {
            "what": f"{content['frames']:,} frames: {names[key]}", "value": seconds, "unit": "s",
            "target": goals[key], "machine": content["machine"],
        }
        for key, seconds in content["seconds"].items()
    ]  # fmt: skip


def photometric_rows(content: Row) -> list[Row]:
    """Rows of photometric.json: the refined track against the landmark track."""
    names = {
        "turn_degrees": ("head rotation, error", "degrees", 0.2),
        "turn_spread_degrees": ("the same less its mean", "degrees", None),
        "vertices_mm": ("face vertices, error", "mm", 0.8),
        "vertices_aligned_mm": ("the same after scale and rigid motion", "mm", None),
        "jaw_degrees": ("jaw, error", "degrees", None),
        "lids_correlation": ("lids, correlation", "", None),
    }
    results = content["results"]
    rows = []
    for key, (what, unit, target) in names.items():
        before, after = (
            statistics.median(r[when][key] for r in results) for when in ("before", "after")
        )
        rows.append(
            {
                "what": what, "value": after, "unit": unit, "target": target,
                "peer": "landmarks alone", "peer_value": before, "machine": content["machine"],
            }
        )  # fmt: skip
    time = statistics.median(r["ms_a_frame"] for r in results)
    more = {"value": time, "unit": "ms", "target": 50, "machine": content["machine"]}
    return [*rows, {"what": "time of a frame, decoding included", **more}]


def refined_quality_rows(content: Row) -> list[Row]:
    """The row of refined_quality.json."""
    psnr = {name: statistics.mean(values) for name, values in content["psnr_head"].items()}
    return [
        {
            "what": "held-out psnr_head, refined track", "value": psnr["track"], "unit": "dB",
            "peer": "landmarks alone", "peer_value": psnr["landmark_track"],
            "machine": content["machine"],
        }
    ]  # fmt: skip


CONVERTED = {
    "body": body_rows,
    "frames": frames_rows,
    "photometric": photometric_rows,
    "quality": quality_rows,
    "refined_quality": refined_quality_rows,
}


def read_rows(root: Path, name: str) -> list[Row]:
    """Rows of one results file, without those that contain lists (each kill of a run)."""
    content = json.loads((root / RESULTS / f"{name}.json").read_text())
    rows = CONVERTED[name](content) if name in CONVERTED else content
    return [row for row in rows if not isinstance(row["value"], list)]


def value_of(row: Row) -> str:
    """The measured value with its unit."""
    return f"{number(row['value'])} {row.get('unit') or ''}".strip()


def goal_of(row: Row) -> str:
    """The target, and whether it was missed."""
    target, value = row.get("target"), row["value"]
    if target is None:
        return ""
    if isinstance(target, str) or isinstance(value, str):
        return str(target)
    missed = value < target if more_is_better(row) else value > target
    return f"{number(target)}{': **missed**' if missed else ''}"


def more_is_better(row: Row) -> bool:
    """Whether a larger value is the better one; of times, errors and memory it is not."""
    high = ("images/s", "frames/s", "dB", "of them", "x")
    high_unit = row.get("unit") in high or "correlation" in row["what"]
    return high_unit or row.get("best") == "high"


def table(rows: list[Row], with_command: bool) -> list[str]:
    """The rows as a table, without columns that no row fills."""
    columns = {
        "what": [row["what"] for row in rows],
        "value": [value_of(row) for row in rows],
        "goal": [goal_of(row) for row in rows],
        "compared with": [row.get("peer") or "" for row in rows],
        "its value": [
            value_of({**row, "value": row["peer_value"]}) if row.get("peer") else "" for row in rows
        ],
        "machine": [row.get("machine") or "" for row in rows],
        "command": [f"`{row['command']}`" if row.get("command") else "" for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    if not with_command:
        kept.pop("command", None)
    lines = [f"| {' | '.join(kept)} |", "|" + "---|" * len(kept)]
    return lines + [f"| {' | '.join(cells)} |" for cells in zip(*kept.values(), strict=True)]


INTRODUCTION = """# Benchmarks

<!-- Generated by benchmarks/page.py from benchmarks/results/*.json; do not edit. -->

`make bench` reruns the benchmarks that need no GPU. Each section names the command that writes
its numbers. `CLIP` is a subject's folder under `work/`, `HEAD` its head model under `work/heads/`.
"2 cores" is a virtual machine with two cores of an AMD EPYC. A goal that was not reached is marked.

Known weaknesses: half-closed lids can stay too open on turned heads, and shut too far on tilted
ones. The mouth's inside and
loose strands of hair are soft. Hair that hangs moves with the head, without a lag. On
real clips, held-out frames lose 5 to 6 dB against training frames.
"""


def sections(root: Path) -> list[Section]:
    """The sections above that have results, then one for each remaining results file."""
    files = {path.stem for path in (root / RESULTS).glob("*.json")}
    listed = [section for section in SECTIONS if section.name in files]
    others = sorted(files - {section.name for section in SECTIONS})
    script = "python benchmarks/{}.py"
    return listed + [
        Section(name, name, script.format(name.removesuffix("_gpu").lower())) for name in others
    ]


def page(root: Path) -> str:
    """Text of docs/benchmarks.md."""
    parts = [INTRODUCTION]
    for section in sections(root):
        parts.append(f"## {section.title}\n")
        if section.text:
            parts.append(f"{section.text}\n")
        if section.command:
            parts.append(f"    {section.command}\n")
        if section.name == "quality":
            lines = quality_table(json.loads((root / RESULTS / "quality.json").read_text()))
        else:
            lines = table(read_rows(root, section.name), not section.command)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def headlines(root: Path) -> str:
    """The README's table."""
    commands = {section.name: section.command.split(" --")[0] for section in SECTIONS}
    lines = ["| what | value | command |", "|---|---|---|"]
    for words, name, what in HEADLINES:
        (row,) = (row for row in read_rows(root, name) if row["what"] == what)
        lines.append(f"| {words} | {value_of(row)} | `{commands[name]}` |")
    return "\n".join(lines)


def with_headlines(readme: str, lines: str) -> str:
    """The README with its table of numbers replaced."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END, 1)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    texts = {
        ROOT / PAGE: page(ROOT),
        ROOT / README: with_headlines((ROOT / README).read_text(), headlines(ROOT)),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(texts[path])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
