"""Evaluate an avatar: metrics on held-out frames, and a comparison video of the whole clip.

A long clip takes minutes without a GPU. The work is therefore split into parts, each a video with
the metrics of its frames, kept in scratch until they are joined.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar, moving_parts
from headsplat.evaluate.comparison_video import ClipVideo
from headsplat.evaluate.eyes import eye_boxes, eyes_closed
from headsplat.evaluate.measures import means, measures
from headsplat.evaluate.pairs import Batch, render_pairs
from headsplat.metrics import psnr_head
from headsplat.render import FrameRenderer
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.logs import log
from headsplat.track import Track
from headsplat.train.dataset import ImageReader
from headsplat.train.lpips import Lpips
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.parts import VideoParts
from headsplat.video.timeline import FPS

BATCH = 8
TRAINING_SAMPLE = 24  # number of training frames measured, to detect overfitting
TRAIN = "psnr_head_train"
# Number of frames timed one by one, and of batches timed.
TIMED_FRAMES, TIMED_BATCHES = 10, 5
# Number of frames in the contact sheet, and the longer side of its images in pixels.
SHEET, SHEET_SIZE = 12, 256


def evaluate(
    avatar: Avatar,
    track: Track,
    reader: ImageReader,
    split: dict[str, Any],
    unused: Mapping[int, str],
    sound: tuple[np.ndarray, int] | None,
    video: Path,
    lpips: Lpips | None,
    scratch: Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure an avatar on held-out frames and write the side-by-side video of the whole clip.

    Args:
        avatar: the trained avatar.
        track: codes and cameras of the clip.
        reader: its images and masks.
        split: content of split.json.
        unused: id of an unusable frame -> reason.
        sound: the clip's samples from the first image on, and their rate, or None.
        video: mp4 to write, ground truth left and render right, with the sound.
        lpips: LPIPS, or None without its weights.
        scratch: folder of finished parts.

    Returns:
        The flat dictionary of metrics.json, and the arrays of evaluation.npz.

    Raises:
        UserError: a frame of the split is missing from the track.
    """
    ids, comparison = list(split["test"]), ClipVideo(split["test"], unused)
    clip, tested = sorted(int(i) for i in track.ids), frozenset(split["test"])
    sample = frozenset(split["train"][:: max(1, len(split["train"]) // TRAINING_SAMPLE)])
    track.rows([*ids, *sample])  # raises if a frame is missing
    held_out = track[track.rows(ids)]
    eyes = dict(zip(ids, eye_boxes(avatar.head, held_out), strict=True))
    renderer = _renderer(avatar, track, BATCH, head_only=True)
    whole = None if avatar.torso is None else _renderer(avatar, track, BATCH)

    def draw(part: slice, path: Path, table: Path) -> None:
        values: dict[str, list[float]] = {}
        previous: Batch | None = None
        before = clip[part.start] - 1
        if {before, before + 1} <= tested:
            # Flicker of a part's first frame needs the last frame of the previous part.
            previous = next(render_pairs(renderer, track, reader, [before], whole))
        with VideoWriter(path, 2 * track.width, track.height, FPS, quick=True) as out:
            for batch in render_pairs(renderer, track, reader, clip[part], whole):
                some, train = batch.subset(tested), batch.subset(sample)
                found = {}
                if some.ids:
                    boxes = torch.stack([eyes[frame] for frame in some.ids])
                    found = measures(previous, some, boxes, lpips)
                if train.ids:
                    found[TRAIN] = psnr_head(train.ground_truth, train.render, train.mask).tolist()
                for name, value in found.items():
                    values.setdefault(name, []).extend(value)
                previous = some if some.ids else previous
                for image in comparison.images(batch):
                    out.write(image)
        write_npz(table, **{name: np.array(v, np.float32) for name, v in values.items()})

    videos, tables = VideoParts(scratch, ".npz").complete(len(clip), draw)
    join_videos(videos, video, FPS, sound)
    arrays = _joined([read_npz(path) for path in tables])
    training = arrays.pop(TRAIN)
    metrics = means(arrays, eyes_closed(held_out))
    metrics[TRAIN] = float(training.astype(np.float64).mean())
    metrics |= _speed(whole or renderer, track, ids)
    facts = {"frames": len(ids), "split": split["mode"], "size": track.width}
    arrays["ids"] = np.array(ids, np.int32)
    arrays |= examples(renderer, track, reader, ids, arrays["psnr_head"], whole)
    log.info("psnr_head %.2f dB on %d held-out frames", metrics["psnr_head"], len(ids))
    return metrics | facts, arrays


def _joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate each measure over the parts; parts without held-out frames have none."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([p[name] for p in parts if name in p]) for name in names}


def _renderer(avatar: Avatar, track: Track, batch: int, head_only: bool = False) -> FrameRenderer:
    size = track.width, track.height
    return FrameRenderer(avatar, batch, *size, track.intrinsics(), torch.zeros(3), head_only)


def _speed(renderer: FrameRenderer, track: Track, ids: Sequence[int]) -> dict[str, float]:
    """Frames per second from codes to images, in batches and one by one, after warm-up."""
    device = renderer.avatar.device
    rows = track.rows([ids[i % len(ids)] for i in range(TIMED_BATCHES * renderer.batch)])
    inputs = [value.to(device) for value in moving_parts(track[rows].frames())]
    single = _renderer(renderer.avatar, track, 1)
    elapsed = []
    for frame in range(TIMED_FRAMES + 1):
        start = time.perf_counter()
        single.render(*(v[frame % len(rows)][None] for v in inputs))
        elapsed.append(time.perf_counter() - start)
    for _ in renderer.frames(*(v[: 2 * renderer.batch] for v in inputs)):
        pass  # warm-up: the first call of each buffer is slow
    start = time.perf_counter()
    for _ in renderer.frames(*inputs):
        pass
    batched = time.perf_counter() - start
    return {
        "fps_batched": len(rows) / batched,
        "fps_single": 1 / float(np.median(elapsed[1:])),
    }


def examples(
    renderer: FrameRenderer,
    track: Track,
    reader: ImageReader,
    ids: Sequence[int],
    psnr: np.ndarray,
    whole: FrameRenderer | None = None,
) -> dict[str, np.ndarray]:
    """Images for the report: worst, median and best held-out frame, and a contact sheet.

    Args:
        renderer: see `render_pairs`.
        track: see `render_pairs`.
        reader: see `render_pairs`.
        ids: of the held-out frames.
        psnr: (N,) psnr_head of each, dB.
        whole: see `render_pairs`.

    Returns:
        For `example` and for `sheet`, spread evenly over the held-out frames: `_ids`, `_psnr`,
        `_ground_truth` and `_render` (n, H, W, 3) uint8; and `example_names`.
    """
    order = np.argsort(psnr)
    chosen = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
    count = min(SHEET, len(ids))
    sheet = ((np.arange(count) + 0.5) * len(ids) / count).astype(int)
    arrays = {"example_names": np.array(list(chosen))}
    largest = {"example": max(track.width, track.height), "sheet": SHEET_SIZE}
    for name, rows in (("example", np.array(list(chosen.values()))), ("sheet", sheet)):
        frames = [int(ids[row]) for row in rows]
        images = [
            (_shrunk(_bytes(ground_truth), largest[name]), _shrunk(_bytes(render), largest[name]))
            for batch in render_pairs(renderer, track, reader, frames, whole)
            for ground_truth, render in zip(*batch.shown, strict=True)
        ]
        arrays[f"{name}_ids"] = np.array(frames, np.int32)
        arrays[f"{name}_psnr"] = psnr[rows]
        arrays[f"{name}_ground_truth"] = np.stack([ground_truth for ground_truth, _ in images])
        arrays[f"{name}_render"] = np.stack([render for _, render in images])
    return arrays


def _bytes(image: Tensor) -> np.ndarray:
    return (image * 255).round().byte().cpu().numpy()


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Downscale an image so that its longer side is at most `side`."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(round(scale * n) for n in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
