"""Where a training step's time went, if the training was profiled."""

from typing import Any

from headsplat.evaluate.report import charts, page

TITLE = "Where a training step's time goes"


def step_time(training: Any) -> str:
    """The section, or nothing without a profile.

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
        return page.section(TITLE, "", f"{note} The profiler told no parts; see the log.")
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
