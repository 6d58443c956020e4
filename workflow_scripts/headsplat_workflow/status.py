"""Format the table that `snakemake status` prints."""

from collections import Counter
from collections.abc import Iterable, Mapping

from headsplat_workflow.state import (  # fmt: skip
    DONE,
    FAILED,
    NEW,
    PARTLY,
    RUNNING,
    StageState,
    SubjectState,
)

REFUSED = "refused"
_ORDER = (FAILED, RUNNING, PARTLY, NEW, DONE)


def status_table(states: Iterable[SubjectState], refused: Mapping[str, str]) -> str:
    """One line per subject, details for unfinished stages, and totals.

    Args:
        states: of the subjects.
        refused: subject whose row cannot be used -> error line.
    """
    states = list(states)
    width = max(map(len, [*refused, *(state.subject for state in states)]), default=0)
    lines = [f"{name:<{width}}  {REFUSED:<11}  {line}" for name, line in refused.items()]
    for state in sorted(states, key=lambda s: _ORDER.index(s.state)):
        lines.append(_line(state, width))
        if state.state not in (DONE, NEW):
            lines += [f"  {text}" for stage in state.stages for text in _details(stage)]
    counts = Counter(state.state for state in states)
    counts[REFUSED] = len(refused)
    totals = ", ".join(f"{counts[name]} {name}" for name in (REFUSED, *_ORDER) if counts[name])
    count = len(states) + len(refused)
    return "\n".join([*lines, f"{count} subject{'s' if count != 1 else ''}: {totals}"])


def _line(state: SubjectState, width: int) -> str:
    finished = sum(stage.done == stage.total for stage in state.stages)
    words = [
        f"{state.subject:<{width}}  {state.state:<11}  {finished:>2}/{len(state.stages)} stages"
    ]
    if state.psnr is not None:
        words.append(f"psnr_head {state.psnr:.1f} dB")
    words += [f"{name} {_size(size)}" for name, size in state.sizes.items() if size]
    return "  ".join(words)


def _details(stage: StageState) -> list[str]:
    count = f"{stage.rule} {stage.done}/{stage.total}"
    if stage.failures:
        log, reason = stage.failures[0]
        more = f" (and {len(stage.failures) - 1} more)" if len(stage.failures) > 1 else ""
        return [f"{count} failed: {reason}  [{log}]{more}"]
    if stage.running:
        return [f"{count} running: {line}" for line in stage.running]
    if stage.left:
        return [f"{count} interrupted at: {stage.left}"]
    return [count] if 0 < stage.done < stage.total else []


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
