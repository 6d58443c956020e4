"""Write the HTML report of one subject from the outputs of all stages."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.evaluate.report import charts, page
from headsplat.evaluate.report.charts import Series
from headsplat.evaluate.report.headline import tiles
from headsplat.evaluate.report.stage_health import outside_share, stage_health
from headsplat.evaluate.report.tracking import (
    compare,
    ground_truth_errors,
    refinement,
    residual_groups,
)
from headsplat.evaluate.report.training import stage_costs, step_time, training_curves, voice_scores
from headsplat.frames.table import FrameRow, read_frames
from headsplat.heads.model import HeadModel
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.files import publish, read_json, read_npz
from headsplat.video.timeline import FPS

EXPRESSIONS_SHOWN = 14


@dataclass(frozen=True)
class Sources:
    """Input files of the report.

    `ground_truth` is that of the built-in clip, or None; `refinement` is None for imported tracks.
    """

    metrics: Path
    evaluation: Path
    avatar: Path
    track: Path
    head: Path
    split: Path
    frames_table: Path
    info: Path
    logs: Path
    ground_truth: Path | None
    refinement: Path | None
    voice: Path


def write_report(sources: Sources, subject: str, out: Path) -> None:
    """Write the page.

    Raises:
        UserError: a source is missing or lacks a key, with its name.
    """
    metrics, split = read_json(sources.metrics), read_json(sources.split)
    track, evaluation = read_npz(sources.track), read_npz(sources.evaluation)
    again = f"delete {sources.avatar}, and the same command makes it again"
    training, info = read_json(sources.avatar / "training.json", again), read_json(sources.info)
    rows = read_frames(sources.frames_table)
    names = HeadModel.load(sources.head).expression_names
    parts = [
        _head(subject, info, track, training, split),
        _verdict(metrics, track, split, rows),
        tiles(metrics, training),
        page.section(
            "Held-out frames",
            _examples(evaluation),
            "Worst, median and best by psnr_head: ground truth, render, 4 x their difference.",
        ),
        _sheet(evaluation),
        _over_time(evaluation, track, rows),
        _coverage(track, split, names),
        refinement(sources.refinement),
        voice_scores(sources.voice),
        page.pair(training_curves(training, metrics), f"<div>{_frames(rows, split)}</div>"),
        step_time(training),
        stage_costs(sources.logs, sources.logs.parent / "assets"),
    ]
    if sources.ground_truth is not None:
        parts.append(ground_truth_errors(compare(track, read_npz(sources.ground_truth))))
    text = page.document(f"headsplat: {subject}", "".join(parts))
    with publish(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _head(subject: str, info: Any, track: Any, training: Any, split: Any) -> str:
    facts = (
        f"{info['n_frames']} frames at {info['fps']} fps from {info['width']} x {info['height']} "
        f"pixels · head model {track['head_name']} {track['head_version']} "
        f"({track['head_licence']}) · {training['gaussians']} Gaussians{_torso(training)}, "
        f"{training['model']} · held out: {split['mode']}"
    )
    return f'<h1>{html.escape(subject)}</h1><p class="soft">{html.escape(facts)}</p>'


def _torso(training: Any) -> str:
    torso = training.get("torso")
    return f" and {torso['gaussians']} of the torso" if torso else ""


def _has_residual(track: Any) -> bool:
    """Whether the track has landmark residuals; imported tracks have none."""
    return bool(np.isfinite(track["residual_iod"]).any())


def _verdict(metrics: Any, track: Any, split: Any, rows: list[FrameRow]) -> str:
    train, test = (np.isin(track["ids"], split[part]) for part in ("train", "test"))
    codes = np.concatenate([track["exp"], track["eyelids"], _angles(track)], 1)
    health = stage_health(
        sum(row.usable for row in rows) / len(rows),
        float(np.nanmedian(track["residual_iod"])) if _has_residual(track) else None,
        metrics["psnr_head_train"],
        metrics["psnr_head"],
        outside_share(codes, train, test),
    )
    worst = health[0]
    others = "".join(f"<li>{html.escape(h.stage)}: {html.escape(h.measure)}</li>" for h in health)
    word = "Weakest stage" if worst.strain > 1 else "Every stage meets its goal; closest to it is"
    return (
        f'<div class="verdict"><b>{word}: {html.escape(worst.stage)}.</b> '
        f"{html.escape(worst.measure)}; {html.escape(worst.advice)}."
        f"<details><summary>all stages</summary><ul>{others}</ul></details></div>"
    )


def _examples(evaluation: Any) -> str:
    figures = [
        _trio(
            evaluation["example_ground_truth"][i],
            evaluation["example_render"][i],
            f"{name}: frame {evaluation['example_ids'][i]}, {evaluation['example_psnr'][i]:.1f} dB",
        )
        for i, name in enumerate(evaluation["example_names"])
    ]
    video = (
        '<p class="soft"><a href="test.mp4">test.mp4</a> beside this page shows the whole clip, '
        "with the held-out stretches marked.</p>"
    )
    return f'{video}<div class="examples">{"".join(figures)}</div>'


def _sheet(evaluation: Any) -> str:
    """Contact sheet of held-out frames over the whole clip, in order."""
    figures = [
        _trio(ground_truth, render, f"{(frame - 1) / FPS:.1f} s, frame {frame}, {psnr:.1f} dB")
        for frame, psnr, ground_truth, render in zip(
            *(evaluation[f"sheet_{part}"] for part in ("ids", "psnr", "ground_truth", "render")),
            strict=True,
        )
    ]
    count, shown = len(evaluation["ids"]), len(figures)
    which = "all held-out frames" if shown == count else f"{shown} of {count} held-out frames"
    return page.section(
        "Held-out frames over the clip",
        f'<div class="sheet">{"".join(figures)}</div>',
        f"Ground truth, render and four times their difference of {which}, evenly spread.",
    )


def _trio(ground_truth: np.ndarray, render: np.ndarray, caption: str) -> str:
    difference = (np.abs(ground_truth.astype(int) - render.astype(int)) * 4).clip(0, 255)
    images = {
        "ground truth": ground_truth,
        "render": render,
        "difference": difference.astype(np.uint8),
    }
    trio = "".join(page.image_tag(image, f"{caption}: {what}") for what, image in images.items())
    return (
        f'<figure><div class="trio">{trio}</div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _over_time(evaluation: Any, track: Any, rows: list[FrameRow]) -> str:
    ids, psnr = evaluation["ids"], evaluation["psnr_head"].astype(float)
    axis = np.arange(ids[0], ids[-1] + 1)
    values = np.full(len(axis), np.nan)
    values[ids - ids[0]] = psnr
    time = [row.time for row in rows]
    error = page.section(
        "Error over time",
        charts.lines(
            [Series("psnr_head", ((axis - 1) / FPS).tolist(), values.tolist())],
            "seconds",
            "psnr_head, dB",
            "PSNR of held-out frames over time",
        ),
    )
    if not _has_residual(track):
        return error
    return page.pair(
        error,
        page.section(
            "Landmark residual over time",
            charts.lines(
                [Series("residual", time, (100 * track["residual_iod"].astype(float)).tolist())],
                "seconds",
                "% of inter-ocular distance",
                "median landmark residual of each frame",
            ),
            "After the constant shift on the head that the track solves for each landmark.",
        ),
    )


def _angles(track: Any) -> np.ndarray:
    """(N, 3) pitch, yaw and roll of the head relative to frontal, degrees."""
    frontal = np.diag([1.0, -1.0, -1.0])
    turn = torch.from_numpy(frontal @ track["R"].astype(float))
    return axis_angle_from_matrix(turn).rad2deg().numpy()


def _coverage(track: Any, split: Any, names: tuple[str, ...]) -> str:
    angles, ids = _angles(track), track["ids"]
    parts = {part: np.isin(ids, split[part]) for part in ("train", "test")}
    clouds = [
        Series(label, angles[mask, 1].tolist(), angles[mask, 0].tolist())
        for label, mask in (("training", parts["train"]), ("held out", parts["test"]))
    ]
    jaw = axis_angle_from_matrix(matrix_from_6d(torch.from_numpy(track["jaw"]))).rad2deg().numpy()
    lids = [(f"{side} lid", track["eyelids"][:, i]) for i, side in enumerate(("left", "right"))]
    labels = list(names) or [f"expression {i}" for i in range(track["exp"].shape[1])]
    columns = [(label, track["exp"][:, i]) for i, label in enumerate(labels)]
    columns.sort(key=lambda item: -float(np.ptp(item[1][parts["train"]])))

    def row(label: str, values: np.ndarray) -> tuple[str, float, float, float, float]:
        spans = (np.percentile(values[parts[p]], (1, 99)) for p in ("train", "test"))
        return (label, *(float(v) for span in spans for v in span))

    poses = page.section(
        "Head poses",
        charts.scatter(clouds, "yaw, degrees", "pitch, degrees", "yaw and pitch of all frames"),
        "A pose far from every training frame is a guess.",
    )
    jaw_and_lids = page.section(
        "Jaw and lids",
        charts.ranges([row("jaw opening, degrees", jaw[:, 0])], "range of the jaw")
        + charts.ranges([row(*item) for item in lids], "range of the lids"),
        "1st to 99th percentile; the inner bar is the held-out part.",
    )
    expressions = page.section(
        "Expressions",
        charts.ranges([row(*item) for item in columns[:EXPRESSIONS_SHOWN]], "expressions"),
        f"The {min(EXPRESSIONS_SHOWN, len(columns))} codes that moved most.",
    )
    groups = residual_groups(track) if _has_residual(track) else ""
    left = f"<div>{groups}{jaw_and_lids}</div>"
    return page.pair(poses, left) + expressions


def _frames(rows: list[FrameRow], split: Any) -> str:
    status: dict[str, int] = {}
    for frame in rows:
        status[frame.status] = status.get(frame.status, 0) + 1
    use = {part: len(split[part]) for part in ("train", "test", "guard", "unusable")}
    return page.section(
        "Frames by status",
        charts.bars([(k, v, str(v)) for k, v in status.items()], "frames by status"),
    ) + page.section(
        "Frames by use", charts.bars([(k, v, str(v)) for k, v in use.items()], "frames by use")
    )
