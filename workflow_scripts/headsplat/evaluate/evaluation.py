"""Render the frames an avatar never saw, measure them, and show them beside the truth.

Without a card that takes minutes for a long clip, so it is done in parts, each a film and its
frames' measures, which stay in keyed scratch until the whole is joined.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.cli import log
from headsplat.evaluate.metrics import frame_metrics, psnr_head, temporal_error
from headsplat.evaluate.pairs import Batch, rendered
from headsplat.files import read_npz, write_npz
from headsplat.render import FrameRenderer
from headsplat.train.dataset import PictureReader
from headsplat.train.lpips import Lpips
from headsplat.train.track import Track
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_films
from headsplat.video.parts import FilmParts

FPS = 25
BATCH = 8
TRAINING_SAMPLE = 24  # training frames rendered to tell overfitting from underfitting
# Frames timed one by one, and batches timed in a row.
TIMED_FRAMES, TIMED_BATCHES = 10, 5


def evaluate(
    avatar: Avatar,
    track: Track,
    reader: PictureReader,
    split: dict[str, Any],
    sound: tuple[np.ndarray, int] | None,
    video: Path,
    lpips: Lpips | None,
    scratch: Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure an avatar and write the side-by-side video of the held-out frames.

    Args:
        avatar: the trained avatar.
        track: codes and cameras of the clip.
        reader: its pictures and masks.
        split: as split.json holds it.
        sound: the clip's samples from the first picture on, and their rate, or None.
        video: mp4 to write, truth left and render right, with the sound of the frames shown.
        lpips: the perceptual distance, or None where its weights are not at hand.
        scratch: folder of the parts that are complete.

    Returns:
        The flat dictionary of metrics.json, and the arrays of evaluation.npz.
    """
    ids = list(split["test"])
    renderer = _renderer(avatar, track, BATCH)

    def measure(part: slice, film: Path, measures: Path) -> None:
        values: dict[str, list[float]] = {}
        previous: Batch | None = None
        if part.start and ids[part.start] == ids[part.start - 1] + 1:
            # The flicker of the part's first frame is against the last of the part before.
            before = ids[part.start - 1 : part.start]
            previous = next(rendered(renderer, track, reader, before))
        with VideoWriter(film, 2 * track.width, track.height, FPS) as out:
            for batch in rendered(renderer, track, reader, ids[part]):
                for name, value in _measures(previous, batch, lpips).items():
                    values.setdefault(name, []).extend(value)
                both = torch.cat([batch.truth, batch.render], 2)
                for picture in (both * 255).round().byte().cpu().numpy():
                    out.write(picture)
                previous = batch
        write_npz(measures, **{name: np.array(v, np.float32) for name, v in values.items()})

    films, measures = FilmParts(scratch, ".npz").complete(len(ids), measure)
    join_films(films, video, FPS, slices(sound, ids))
    parts = [read_npz(path) for path in measures]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sample = split["train"][:: max(1, len(split["train"]) // TRAINING_SAMPLE)]
    training = [
        value
        for batch in rendered(renderer, track, reader, sample)
        for value in psnr_head(batch.truth, batch.render, batch.mask).tolist()
    ]
    temporal = arrays.pop("temporal_error")
    metrics = {name: float(value.astype(np.float64).mean()) for name, value in arrays.items()}
    metrics["temporal_error"] = (
        float(np.nanmean(temporal.astype(np.float64))) if np.isfinite(temporal).any() else 0.0
    )
    metrics["psnr_head_train"] = float(np.mean(training))
    metrics |= _speed(renderer, track, ids)
    facts = {"frames": len(ids), "split": split["mode"], "size": track.width}
    arrays |= {"ids": np.array(ids, np.int32), "temporal_error": temporal}
    arrays |= _examples(renderer, track, reader, ids, arrays["psnr_head"])
    log.info("psnr_head %.2f dB on %d held-out frames", metrics["psnr_head"], len(ids))
    return metrics | facts, arrays


def slices(
    sound: tuple[np.ndarray, int] | None, ids: Sequence[int]
) -> tuple[np.ndarray, int] | None:
    """The sound of just these frames, in their order: frame k lasts from (k-1)/25 to k/25 s."""
    if sound is None or not ids:
        return None
    samples, rate = sound
    samples = samples.reshape(len(samples), -1)
    last = round(max(ids) * rate / FPS)
    if last > len(samples):
        samples = np.concatenate(
            [samples, np.zeros((last - len(samples), samples.shape[1]), samples.dtype)]
        )
    cut = [samples[round((i - 1) * rate / FPS) : round(i * rate / FPS)] for i in ids]
    return np.concatenate(cut), rate


def _measures(previous: Batch | None, batch: Batch, lpips: Lpips | None) -> dict[str, list[float]]:
    """Metrics of a batch, one value per frame; `previous` ends with the frame before it."""
    metrics = frame_metrics(batch.truth, batch.render, batch.mask)
    values = {name: value.tolist() for name, value in metrics.items()}
    if lpips is not None:
        values["lpips_head"] = _lpips_head(lpips, batch)
    return values | {"temporal_error": _temporal(previous, batch)}


@torch.no_grad()
def _lpips_head(lpips: Lpips, batch: Batch) -> list[float]:
    """One distance per frame, on black outside the head; frame by frame, because VGG is large."""
    mask = batch.mask[..., None]
    pairs = zip((batch.render * mask).split(1), (batch.truth * mask).split(1), strict=True)
    return [lpips(render, truth).item() for render, truth in pairs]


def _temporal(previous: Batch | None, batch: Batch) -> list[float]:
    """One value per frame of the batch; NaN where the frame before it is not held out."""
    truth, render, ids = batch.truth, batch.render, batch.ids
    if previous is not None:
        truth = torch.cat([previous.truth[-1:], truth])
        render = torch.cat([previous.render[-1:], render])
        ids = [previous.ids[-1], *ids]
    first = [] if previous is not None else [float("nan")]
    if len(ids) < 2:
        return first
    mask = batch.mask if previous is not None else batch.mask[1:]
    error = temporal_error(truth[1:], truth[:-1], render[1:], render[:-1], mask).tolist()
    consecutive = [b == a + 1 for a, b in zip(ids, ids[1:], strict=False)]
    return first + [e if c else float("nan") for e, c in zip(error, consecutive, strict=True)]


def _renderer(avatar: Avatar, track: Track, batch: int) -> FrameRenderer:
    size = track.width, track.height
    return FrameRenderer(avatar, batch, *size, track.intrinsics, torch.zeros(3))


def _speed(renderer: FrameRenderer, track: Track, ids: Sequence[int]) -> dict[str, float]:
    """Frames per second from codes to pictures, in batches and one by one; warm."""
    device = renderer.avatar.device
    rows = track.rows([ids[i % len(ids)] for i in range(TIMED_BATCHES * renderer.batch)])
    inputs = [v[rows].to(device) for v in (track.condition, track.rotation, track.translation)]
    single = _renderer(renderer.avatar, track, 1)
    elapsed = []
    for frame in range(TIMED_FRAMES + 1):
        start = time.perf_counter()
        single.render(*(v[frame % len(rows)][None] for v in inputs))
        elapsed.append(time.perf_counter() - start)
    for _ in renderer.frames(*(v[: 2 * renderer.batch] for v in inputs)):
        pass  # the first pictures of each buffer take long
    start = time.perf_counter()
    for _ in renderer.frames(*inputs):
        pass
    batched = time.perf_counter() - start
    return {
        "fps_batched": len(rows) / batched,
        "fps_single": 1 / float(np.median(elapsed[1:])),
    }


def _examples(
    renderer: FrameRenderer,
    track: Track,
    reader: PictureReader,
    ids: Sequence[int],
    psnr: np.ndarray,
) -> dict[str, np.ndarray]:
    """The worst, the median and the best held-out frame, as pictures for the report."""
    order = np.argsort(psnr)
    chosen = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
    truth, render = [], []
    for position in chosen.values():
        batch = next(rendered(renderer, track, reader, [ids[position]]))
        truth.append((batch.truth[0] * 255).round().byte().cpu().numpy())
        render.append((batch.render[0] * 255).round().byte().cpu().numpy())
    positions = list(chosen.values())
    return {
        "example_names": np.array(list(chosen)),
        "example_ids": np.array([ids[p] for p in positions], np.int32),
        "example_psnr": psnr[positions],
        "example_truth": np.stack(truth),
        "example_render": np.stack(render),
    }
