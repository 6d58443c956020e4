"""Where a training step's time goes: steps under PyTorch's profiler, summed by part.

On a GPU the parts are told by the names of its kernels, so that a step may be the replay of one
CUDA graph; on the CPU by the operators, each with the time it spends outside of other operators.
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

# Part -> pattern of the names of its kernels and operators; the first that matches takes a name.
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
# What no kernel or operator fills: the GPU waits, or Python runs between operators.
IDLE = {"cuda": "idle", "cpu": "between operators"}
WALL = "wall"

# Steps recorded at most: it bounds the profiler's memory, some thousand events of a kilobyte each.
MOST_STEPS = 50
_WINDOW = "headsplat: profiled steps"
_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


def profile_steps(
    step: Callable[[], None], count: int, device: torch.device, trace: Path
) -> dict[str, float]:
    """Run `count` steps, the last of them recorded, and say how long their parts take.

    The first step and all but the last `MOST_STEPS` only warm up. What goes wrong in the profiler
    costs the parts and the trace, with a warning, never the steps; their own errors pass through.

    Args:
        step: does one step; on a GPU it may return before the GPU is done.
        count: how often to call it, at least once.
        device: where it works.
        trace: Chrome trace to publish, a `.json.gz`.

    Returns:
        Microseconds per recorded step by part, largest first, what is left of the wall clock's time
        among them; last, under "wall", that time, which includes what recording costs the host.
        Only "wall" when there is no record. Kernels that overlap each count in full.
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
    """Sum a trace's events by part.

    Args:
        events: of a Chrome trace, times in microseconds; only those that start while the event
            `_WINDOW` lasts count, if there is one.
        device: type of the device whose time is told, "cuda" or "cpu".
        steps: steps in the trace.
        wall: microseconds a step took.

    Returns:
        Microseconds per step by part, largest first; empty without an event of the device.
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
    """The part a kernel or operator belongs to."""
    return next((part for part, shows in PARTS if re.search(shows, name, re.IGNORECASE)), REST)


def _span(event: dict[str, Any]) -> tuple[float, float]:
    return event["ts"], event["ts"] + event["dur"]


def _own_times(events: list[dict[str, Any]], nested: bool) -> list[float]:
    """Each event's duration, less that of the events it directly encloses on its thread."""
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
    """Time during which at least one event lasts."""
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
    except Exception as error:  # the profiler reports its troubles as it likes
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
