"""The page's table of quality.json, which `benchmarks/quality.py` writes."""

from collections import defaultdict
from statistics import mean
from typing import Any

Row = dict[str, Any]
USUAL = 48_000  # training images of a run; 0 stands for another tool
# Column -> metric, factor and format.
COLUMNS = {
    "mouth": ("psnr_mouth", 1, "{:.1f}"),
    "eyes": ("psnr_eyes", 1, "{:.1f}"),
    "shut": ("psnr_eyes_closed", 1, "{:.1f}"),
    "edge": ("psnr_edge", 1, "{:.1f}"),
    "SSIM": ("ssim_head", 1, "{:.4f}"),
    "LPIPS": ("lpips_head", 1, "{:.4f}"),
    "flicker": ("temporal_error", 1000, "{:.2f}"),
    "static flicker": ("static_flicker", 1000, "{:.2f}"),
}


def grouped(runs: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """(clip, method) -> its runs, one for each seed; the method says an unusual length."""
    groups = defaultdict(list)
    for run in runs:
        images = run.get("images", USUAL)
        length = "" if images in (0, USUAL) else f", {images:,} images"
        groups[run["clip"], run["method"] + length].append(run)
    return dict(groups)


def average(runs: list[Row], metric: str) -> float | None:
    """Mean over the runs; None if one lacks the metric."""
    values = [run["metrics"].get(metric) for run in runs]
    return None if None in values else mean(values)


def quality_rows(runs: list[Row]) -> list[Row]:
    """A row of the held-out PSNR of the head for each clip and method."""
    return [
        {
            "what": f"{clip}: {method}", "value": average(some, "psnr_head"), "unit": "dB",
            "machine": some[0]["machine"],
        }
        for (clip, method), some in grouped(runs).items()
    ]  # fmt: skip


def quality_table(runs: list[Row]) -> list[str]:
    """All metrics, a line for each clip and method."""
    lines = []
    for (clip, method), some in grouped(runs).items():
        heads = [run["metrics"]["psnr_head"] for run in some]
        spread = f" ± {(max(heads) - min(heads)) / 2:.2f}" if len(heads) > 1 else ""
        train = average(some, "psnr_head_train")
        seconds = [run["seconds"] for run in some if "seconds" in run]
        cells = {
            "clip: method": f"{clip}: {method}",
            "PSNR head": f"{mean(heads):.2f}{spread}",
            "gap": "" if train is None else f"{train - mean(heads):.1f}",
        }
        for name, (metric, factor, form) in COLUMNS.items():
            value = average(some, metric)
            cells[name] = "" if value is None else form.format(factor * value)
        cells["training, s"] = f"{mean(seconds):.1f}" if seconds else ""
        cells["machine"] = some[0]["machine"]
        lines.append(cells)
    kept = [name for name in lines[0] if any(cells[name] for cells in lines)]
    rows = [f"| {' | '.join(cells[name] for name in kept)} |" for cells in lines]
    return [f"| {' | '.join(kept)} |", "|" + "---|" * len(kept), *rows]
