"""Measure mattes: time, error, halo, flicker and spikes; writes benchmarks/results/mattes.json.

Two kinds of clips. The built-in subject with loose hair in front of four backgrounds has a known
matte and known colors. Videos of a folder have none; there only what needs no ground truth is
measured. The peer is the network's mask without refinement. Columns:

    ms       CPU time of a frame on all threads, with decoding, writing and the networks' start
    error    mean alpha error in the edge band, of 255 (known mattes only)
    halo     color error on white and on black, per soft pixel, of 255 (known mattes only)
    rim      background color left in soft pixels, weighted by opacity, of 255 (videos)
    flicker  mean change of the matte's edge band after the motion is removed, of 255; of its
             error for known mattes
    spikes   pixels of thin parts that only one frame has, per frame; for known mattes those that
             are not near the subject's own hair
    low      spikes in the lower third, where the shoulders are

    python benchmarks/mattes.py --head work/heads/procedural.npz [--videos FOLDER] [--frames 60]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.matte_clips import MatteClip, known_clips, video_clip  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.frames.images import decode_image  # noqa: E402
from headsplat.frames.packs import FrameStore  # noqa: E402
from headsplat.masks.foreground import foreground_colors  # noqa: E402
from headsplat.masks.matte import matte_chunk  # noqa: E402
from headsplat.masks.matting_models import MatteOptions  # noqa: E402
from headsplat.runtime.errors import UserError  # noqa: E402
from headsplat.runtime.files import write_json  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402

Array = np.ndarray
PLAIN = MatteOptions(edge_radius=0.0, temporal_window=0)  # the network's mask, only stretched
SAVED = ("ms", "halo", "rim", "flicker")  # columns in the results file
BAND = 8  # px on both sides of an outline
SOFT = (5, 250)  # of 255
THIN = 4  # px: structures narrower than twice this are thin
SHOULDERS = 2 / 3  # of the height
UNITS = {
    "ms": "ms", "error": "of 255", "halo": "of 255", "rim": "of 255", "flicker": "of 255",
    "spikes": "px", "low": "px",
}  # fmt: skip


def measure(clip: MatteClip, folder: Path, options: MatteOptions) -> dict[str, float]:
    """The columns of one clip."""
    settings = ("mediapipe", options.edge_radius, options.temporal_window)
    out = folder / f"{clip.name} alpha.zip"
    start = time.process_time()
    matte_chunk([clip.frames], clip.frames.stem, out, *settings, clip=[clip.frames])
    spent = time.process_time() - start
    images = clip.images()
    with FrameStore([out]) as store:
        mattes = [decode_image(store.read(frame_id)) for frame_id in store.ids]
    found = {"ms": 1000 * spent / len(mattes)}
    colors = [foreground_colors(*pair) for pair in zip(images, mattes, strict=True)]
    if clip.alpha is not None and clip.colors is not None:
        found["error"] = float(np.mean([
            np.abs(m.astype(float) - a)[_band(a)].mean()
            for m, a in zip(mattes, clip.alpha, strict=True)
        ]))  # fmt: skip
        rows = zip(colors, mattes, clip.colors, clip.alpha, strict=True)
        found["halo"] = float(np.mean([_halo(*row) for row in rows]))
    else:
        rows = zip(images, colors, mattes, strict=True)
        found["rim"] = float(np.nanmean([_rim(*row) for row in list(rows)[::4]]))
    return found | _over_time(images, mattes, clip.alpha)


def _band(matte: Array) -> Array:
    """Pixels near the outline or soft, bool (H, W)."""
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    solid = (matte > 127).astype(np.uint8)
    near = cv2.dilate(solid, kernel) != cv2.erode(solid, kernel)
    return near | ((matte > SOFT[0]) & (matte < SOFT[1]))


def _soft(matte: Array) -> Array:
    return (matte > SOFT[0]) & (matte < SOFT[1])


def _halo(color: Array, matte: Array, true_color: Array, true_matte: Array) -> float:
    """Absolute color error on white and on black, per pixel that is soft in the known matte.

    The sum is over all pixels that are soft in either matte, or differ. The number of known soft
    pixels divides it, so that a haze cannot dilute the error.
    """
    apart = np.abs(matte.astype(int) - true_matte) > SOFT[0]
    at = _soft(matte) | _soft(true_matte) | apart
    pairs = ((color, matte), (true_color, true_matte))
    errors = []
    for ground in (0, 255):
        ours, theirs = (
            c[at] * (a[at, None] / 255.0) + ground * (1 - a[at, None] / 255.0) for c, a in pairs
        )
        errors.append(np.abs(ours - theirs).mean(1).sum() / _soft(true_matte).sum())
    return float(np.mean(errors))


def _rim(image: Array, color: Array, matte: Array) -> float:
    """Background color that soft pixels keep, weighted by their opacity.

    It is the part of a pixel's color, from the most similar subject color within 20 px, that points
    to the most similar background color.
    """
    kernel = np.ones((9, 9), np.uint8)
    inside = cv2.erode((matte == 255).astype(np.uint8), kernel) > 0
    outside = cv2.erode((matte == 0).astype(np.uint8), kernel) > 0
    edge = (matte > SOFT[0]) & (cv2.dilate(outside.astype(np.uint8), np.ones((19, 19))) > 0)
    rows, columns = np.nonzero(edge)
    if not len(rows):
        return float("nan")
    window, left = 20, []
    padded = [
        np.pad(np.where(where[..., None], image, -1000).astype(np.float32),
               ((window, window), (window, window), (0, 0)), constant_values=-1000)
        for where in (inside, outside)
    ]  # fmt: skip
    chosen = np.random.default_rng(0).permutation(len(rows))[:400]
    for r, c in zip(rows[chosen], columns[chosen], strict=True):
        own = color[r, c].astype(np.float32)
        near = [p[r : r + 2 * window + 1 : 2, c : c + 2 * window + 1 : 2] for p in padded]
        pair = []
        for pixels in near:
            distance = np.abs(pixels - own).sum(-1)
            least = np.unravel_index(distance.argmin(), distance.shape)
            pair.append(pixels[least] if distance[least] < 765 else np.full(3, np.nan))
        across = pair[1] - pair[0]
        left.append(max((own - pair[0]) @ across, 0) / max(np.linalg.norm(across), 1))
    share = matte[rows[chosen], columns[chosen]].astype(float)
    valid = ~np.isnan(left)
    return float((share * left)[valid].sum() / share[valid].sum())


def _over_time(images: list[Array], mattes: list[Array], known: Array | None) -> dict[str, float]:
    """Flicker and spikes, by dense optical flow between neighboring images."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    changes, spikes, low = [], [], []
    for k in range(1, len(images) - 1):
        before, after = (
            _warped(mattes[n], images[n], images[k], estimator.calc(gray[k], gray[n], None))
            for n in (k - 1, k + 1)
        )
        if known is None:
            there, valid = before
            change = np.abs(mattes[k].astype(float) - there)[_band(mattes[k]) & valid]
        else:
            errors = [mattes[n].astype(float) - known[n] for n in (k - 1, k)]
            change = np.abs(errors[1] - errors[0])[_band(known[k])]
        changes.append(change.mean())
        single = _single(mattes[k], before[0], after[0])
        if known is not None:
            single &= cv2.dilate(known[k], np.ones((5, 5), np.uint8)) < 64
        spikes.append(single.sum())
        low.append(single[int(SHOULDERS * len(single)) :].sum())
    means = {"flicker": changes, "spikes": spikes, "low": low}
    return {name: float(np.mean(values)) for name, values in means.items()}


def _warped(matte: Array, image: Array, onto: Array, flow: Array) -> tuple[Array, Array]:
    """A matte moved along a flow, (H, W) float32, and where the images then agree."""
    y, x = np.mgrid[: len(flow), : flow.shape[1]].astype(np.float32)
    places = (x + flow[..., 0], y + flow[..., 1])
    moved, there = (
        cv2.remap(a, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for a in (matte.astype(np.float32), image)
    )
    return moved, cv2.blur(cv2.absdiff(there, onto).max(-1), (5, 5)) < 12


def _single(matte: Array, before: Array, after: Array) -> Array:
    """Thin parts of a matte, or thin gaps in it, that neither neighbor has; bool (H, W)."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * THIN + 1, 2 * THIN + 1))
    grow = np.ones((3, 3), np.uint8)
    found = np.zeros(matte.shape, bool)
    for turn in (False, True):
        own, *others = ((255 - m if turn else m) > 127 for m in (matte, before, after))
        own = own.astype(np.uint8)
        thin = (own > 0) & (cv2.morphologyEx(own, cv2.MORPH_OPEN, kernel) == 0)
        either = sum(cv2.dilate(other.astype(np.uint8), grow) for other in others)
        found |= thin & (either == 0)
    return found


def clips(head: Path | None, videos: Path | None, folder: Path, count: int) -> Iterator[MatteClip]:
    """All clips to measure; videos that show no large face are skipped."""
    if head is not None:
        yield from known_clips(head, folder / "known", min(count, 40))
    for video in sorted(videos.glob("*.mp4")) if videos else ():
        try:
            yield video_clip(video, folder, count)
        except UserError as error:
            print(f"{video.name}: {error}", file=sys.stderr)


def row(what: str, value: float, peer: float, unit: str, here: str) -> dict[str, Any]:
    """One line of the results."""
    return {
        "what": what,
        "value": round(value, 2),
        "unit": unit,
        "target": None,
        "peer": "the network's mask alone",
        "peer_value": round(peer, 2),
        "ratio": round(value / peer, 2) if peer else None,
        "machine": here,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", type=Path, help="the procedural head, for known mattes")
    parser.add_argument("--videos", type=Path, help="folder of .mp4 files")
    parser.add_argument("--frames", type=int, default=60)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    here = f"{machine()}, {available_threads()} threads"
    print(f"{'':<22}" + "".join(f"{name:>9}" for name in UNITS))
    with tempfile.TemporaryDirectory() as name:
        for clip in clips(args.head, args.videos, Path(name), args.frames):
            peer = measure(clip, Path(name), PLAIN)
            found = measure(clip, Path(name), MatteOptions())
            for what, values in ((clip.name, found), ("  network alone", peer)):
                numbers = [f"{values[n]:.2f}" if n in values else "" for n in UNITS]
                print(f"{what:<22}" + "".join(f"{n:>9}" for n in numbers), flush=True)
            rows += [
                row(f"{clip.name}: {n}", found[n], peer[n], UNITS[n], here)
                for n in SAVED
                if n in found
            ]
    write_json(ROOT / "benchmarks/results/mattes.json", rows)


if __name__ == "__main__":
    main()
