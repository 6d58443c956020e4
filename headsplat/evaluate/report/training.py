"""Report sections on training, cost and voice: loss curves, step time, time per stage, scores."""

import html
import math
from pathlib import Path
from typing import Any

from headsplat.evaluate.report import charts, page
from headsplat.evaluate.report.charts import Series
from headsplat.evaluate.report.costs import read_costs
from headsplat.runtime.files import read_json

TITLE = "Where a training step's time goes"


def training_curves(training: Any, metrics: Any) -> str:
    """Loss curves; `training` and `metrics` as their JSON files hold them."""
    series = [
        Series(name, [step for step, _ in curve], [value for _, value in curve])
        for name, curve in training["losses"].items()
        if curve
    ]
    note = (
        f"{training['steps']} steps, {training['images']} images in {training['seconds']:.0f} s "
        f"({training['images_per_second']:.0f} images/s) "
        f"on {training['device']}; {metrics['psnr_head_train']:.2f} dB on training frames, "
        f"{metrics['psnr_head']:.2f} dB held out."
    )
    chart = charts.lines(series, "step", "loss", "loss curves", log_y=True) if series else ""
    return page.section("Training", chart, note)


def step_time(training: Any) -> str:
    """Time of a training step by part; empty without a profile.

    Args:
        training: as `training.json` holds it; `profile` is {steps, wall_us, parts_us, trace}.
    """
    profile = training.get("profile")
    if profile is None:
        return ""
    wall, parts = profile["wall_us"], profile["parts_us"]
    rate = 1e6 * training["batch"] / wall
    note = (
        f"{profile['steps']} steps under the profiler took {_duration(wall)} each, "
        f"{rate:.0f} images/s; the whole training ran at "
        f"{training['images_per_second']:.0f} images/s."
    )
    if not parts:
        return page.section(TITLE, "", f"{note} The profiler recorded no parts; see the log.")
    rows = [
        (name, time, f"{_duration(time)}, {100 * time / wall:.1f} %")
        for name, time in parts.items()
    ]
    if profile.get("trace"):
        note += f" Every event is in model/{profile['trace']}, for a viewer of Chrome traces."
    return page.section(TITLE, charts.bars(rows, "microseconds of a training step by part"), note)


def _duration(microseconds: float) -> str:
    if microseconds >= 1e4:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds:.0f} µs"


def stage_costs(*folders: Path) -> str:
    """Seconds and memory of every stage, from the benchmark files in some folders of logs."""
    costs = [cost for folder in reversed(folders) for cost in read_costs(folder)]
    if not costs:
        return ""
    rows = [(c.stage, str(c.jobs), f"{c.seconds:.1f}", f"{c.peak_mib:.0f}") for c in costs]
    total = sum(c.seconds for c in costs)
    body = page.pair(
        charts.bars([(c.stage, c.seconds, f"{c.seconds:.1f} s") for c in costs], "seconds"),
        page.table(("stage", "jobs", "seconds", "peak MiB"), rows),
    )
    note = f"{total:.0f} s summed over all jobs; jobs that ran side by side count twice."
    return page.section("What each stage cost", body, note)


def voice_scores(path: Path) -> str:
    """Scores of the learned voice on held-out parts of the clip, beside two baselines."""
    voice = read_json(path)
    title = "Voice"
    if "reason" in voice:
        return page.section(title, f"<p>{html.escape(str(voice['reason']))}</p>")
    columns = [voice[name] for name in ("final", "energy", "mean")]
    rows = [
        (what, *(_score(column.get(key), form) for column in columns))
        for what, key, form in (
            ("mouth opening, correlation", "corr_opening", "{:.2f}"),
            ("jaw, correlation", "corr_jaw", "{:.2f}"),
            ("lip vertex error", "lve_mm", "{:.2f} mm"),
            ("range of the opening, over the clip's", "std_ratio", "{:.2f}"),
            ("speed of the lips, over the clip's", "speed_ratio", "{:.2f}"),
        )
    ]
    if voice["closure"] is not None:
        found = f"{voice['closure']:.2f} (track {voice['closure_track']:.2f})"
        rows.append(("lips closed at p, b and m", found, "", ""))
    note = f"Learned from {voice['seconds']:.0f} s of speech; scored on parts left out of learning."
    if voice["closure"] is None:
        note += " Without PocketSphinx, lips are not closed at p, b and m."
    if columns[0]["lve_mm"] >= columns[1]["lve_mm"]:
        note += " Loudness alone is closer to the clip's lips: try the voice phones."
    header = ("what", "voice", "loudness alone", "mean face")
    return page.section(title, page.table(header, rows), note)


def _score(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else form.format(value)
