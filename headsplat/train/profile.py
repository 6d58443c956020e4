"""Profile training steps by part with PyTorch's profiler.

On a GPU, parts are identified by kernel names, which also works for a replayed CUDA graph. On a
CPU, by operator names, with the self time of each operator.
"""

import gzip
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from headsplat.runtime.files import publish
from headsplat.runtime.logs import log

# Part -> regular expression of kernel and operator names; the first match wins.
PARTS = (
    (
        "rasterizer, backward",
        r"undraw_strips|finish_gaussians|add_cameras|rasterize_gaussians_backward",
    ),
    (
        "rasterizer, forward",
        r"project_gaussians|scan_tiles|fill_tiles|sort_small|sort_large|draw_tiles"
        r"|rasterize_gaussians",
    ),
    (
        "deformation",
        r"place_anchors|blendshape_g|flashavatar_g|harmonic_|mask_gradient|add_masked|relu_g",
    ),
    ("image loss", r"charge_runs|add_parts|slope_runs|image_loss"),
    ("LPIPS, less its convolutions", r"charge_quads|add_charges|slope_quads|lpips_block"),
    ("optimizer", r"multi_tensor_apply|fusedadam|_fused_adam_"),
    (
        "matrix products and convolutions",
        r"gemm|gemv|cublas|cutlass|cudnn|nvjet|xmma|splitk|implicit|winograd"
        r"|aten::(mm|addmm|bmm|baddbmm)$|aten::\w*convolution",
    ),
    ("copies and fills", r"^mem(cpy|set)|aten::(copy|fill|zero)_$"),
)
REST = "elementwise and gathers"
# Time without a kernel or operator: the GPU idles, or Python runs between operators.
IDLE = {"cuda": "idle", "cpu": "between operators"}
WALL = "wall"

# Limit of recorded steps, which bounds the profiler's memory: thousands of events of about 1 kB.
MOST_STEPS = 50
_WINDOW = "headsplat: profiled steps"
_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


def profile_steps(
    step: Callable[[], None], count: int, device: torch.device, trace: Path
) -> dict[str, float]:
    """Run `count` steps, record the last ones, and return the time of each part.

    All but the last `MOST_STEPS` steps, and always the first, are warm-up. A failure of the
    profiler is a warning and loses only the profile. Errors of the steps are raised.

    Args:
        step: runs one step; on a GPU it may return before the GPU is done.
        count: number of calls, at least one.
        device: device of the steps.
        trace: Chrome trace to publish, a `.json.gz`.

    Returns:
        Microseconds per recorded step by part, largest first, including the unattributed rest. The
        last key "wall" is the wall-clock time, with the recording overhead of the host. Only "wall"
        if there is no record. Overlapping kernels each count in full.
    """
    recorded = min(count - 1, MOST_STEPS) or 1
    warming = count - recorded
    for _ in range(warming - 1):
        step()
    _wait(device)
    profiler = _started(device)
    try:
        for _ in range(min(warming, 1)):
            step()
        _wait(device)
        start = time.perf_counter()
        with torch.profiler.record_function(_WINDOW):
            for _ in range(recorded):
                step()
            _wait(device)
        wall = 1e6 * (time.perf_counter() - start) / recorded
    finally:
        stopped = profiler is not None and _survived(profiler.stop)
    parts: dict[str, float] = {}
    if profiler is not None and stopped:
        _survived(lambda: parts.update(_publish(profiler, trace, device, recorded, wall)))
    return parts | {WALL: wall}


def parts_of(
    events: Iterable[dict[str, Any]], device: str, steps: int, wall: float
) -> dict[str, float]:
    """Sum the events of a trace by part.

    Args:
        events: events of a Chrome trace, in microseconds. If an event `_WINDOW` exists, only events
            that start within it count.
        device: device type whose events count, "cuda" or "cpu".
        steps: number of steps in the trace.
        wall: microseconds a step took.

    Returns:
        Microseconds per step by part, largest first; empty if the device has no event.
    """
    complete = [event for event in events if event.get("ph") == "X"]
    window = [e for e in complete if e["name"] == _WINDOW and e.get("cat") == "user_annotation"]
    first, last = _span(window[0]) if window else (float("-inf"), float("inf"))
    wanted = _DEVICE if device == "cuda" else {"cpu_op"}
    found = [e for e in complete if e.get("cat") in wanted and first <= e["ts"] < last]
    if not found:
        return {}
    times: dict[str, float] = {}
    for event, own in zip(found, _own_times(found, nested=device != "cuda"), strict=True):
        part = part_of(event["name"])
        times[part] = times.get(part, 0.0) + own / steps
    times[IDLE[device]] = max(wall - _covered(found) / steps, 0.0)
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def part_of(name: str) -> str:
    """The part that a kernel or operator belongs to."""
    return next((part for part, shows in PARTS if re.search(shows, name, re.IGNORECASE)), REST)


def _span(event: dict[str, Any]) -> tuple[float, float]:
    return event["ts"], event["ts"] + event["dur"]


def _own_times(events: list[dict[str, Any]], nested: bool) -> list[float]:
    """Self times: each event's duration minus that of its direct children on its thread."""
    own = [float(event["dur"]) for event in events]
    if not nested:
        return own
    order = sorted(range(len(events)), key=lambda i: (events[i]["ts"], -events[i]["dur"]))
    open_events: dict[Any, list[int]] = {}
    for i in order:
        stack = open_events.setdefault(events[i]["tid"], [])
        while stack and _span(events[stack[-1]])[1] <= events[i]["ts"]:
            stack.pop()
        if stack:
            own[stack[-1]] -= events[i]["dur"]
        stack.append(i)
    return own


def _covered(events: list[dict[str, Any]]) -> float:
    """Length of the union of all events."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(map(_span, events)):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _started(device: torch.device) -> torch.profiler.profile | None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        # Unloading CUPTI after use breaks the later replays of CUDA graphs.
        os.environ.setdefault("TEARDOWN_CUPTI", "0")
    begun: list[torch.profiler.profile] = []

    def begin() -> None:
        profiler = torch.profiler.profile(activities=activities)
        profiler.start()
        begun.append(profiler)

    return begun[0] if _survived(begin) else None


def _survived(action: Callable[[], None]) -> bool:
    try:
        action()
    except Exception as error:  # the profiler raises many types
        line = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("profile: no record of the steps (%s)", line)
        return False
    return True


def _publish(
    profiler: torch.profiler.profile, trace: Path, device: torch.device, steps: int, wall: float
) -> dict[str, float]:
    with publish(trace) as temporary:
        profiler.export_chrome_trace(str(temporary))
    with gzip.open(trace, "rt", encoding="utf-8", errors="replace") as handle:
        events = json.load(handle)["traceEvents"]
    parts = parts_of(events, device.type, steps, wall)
    if not parts:
        log.warning("profile: the trace holds no work of the device; does CUPTI work here?")
    return parts
