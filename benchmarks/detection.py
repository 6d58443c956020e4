"""Time face detection and measure its jitter; writes benchmarks/results/detection.json.

    python benchmarks/detection.py [--clip anna.mp4] [--frames 200] [--peer other/bin/python]

The peer is MediaPipe as installed for another Python, on the same images in the same run: its
`solutions` (releases up to 0.10.21), else its Tasks in their video mode. Both sides take turns, and
each counts with its fastest round. Times are those of the CPU in one frame of one face, after
decoding. Jitter is the median length of the third difference of a 2D landmark over time, in
percent of the distance between the outer corners of the eyes. It is scaled so that white noise has
its own size.

Without a clip the built-in one is rendered.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
JITTER_PARTS = {
    "lids": (*range(384, 389), *range(157, 162), *range(373, 375), *range(380, 382), 144, 145, 153),
    "lips": (0, 13, 14, 17, 37, 61, 78, 82, 87, 267, 291, 308, 312, 317),
    "irises": tuple(range(468, 478)),
    "all": tuple(range(478)),
}
Detector = Callable[[np.ndarray], np.ndarray]


def solutions_detector(mediapipe: types.ModuleType) -> Detector:
    """The face mesh of MediaPipe's old wheels, tracking from image to image."""
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
    return lambda image: _pixels(mesh.process(image).multi_face_landmarks[0].landmark, image)


def tasks_detector(mediapipe: types.ModuleType, task: str) -> Detector:
    """MediaPipe's Tasks landmarker in video mode, for as many faces as the detection stage.

    With one face it would smooth the points over time, which lags behind and is no detection.
    """
    vision = mediapipe.tasks.vision
    base = mediapipe.tasks.BaseOptions(model_asset_path=task)
    options = vision.FaceLandmarkerOptions(
        base_options=base,
        running_mode=vision.RunningMode.VIDEO,
        num_faces=3,
        output_face_blendshapes=True,
    )
    landmarker = vision.FaceLandmarker.create_from_options(options)
    times = iter(range(0, 1 << 40, 40))

    def detect(image: np.ndarray) -> np.ndarray:
        wrapped = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        return _pixels(landmarker.detect_for_video(wrapped, next(times)).face_landmarks[0], image)

    return detect


def own_detector() -> Detector:
    """What the detection stage runs on an image."""
    from headsplat.detect.mediapipe_models import FaceModels
    from headsplat.detect.tracker import FaceTracker

    models, ids = FaceModels(), iter(range(1, 1 << 40))
    tracker = FaceTracker(models)

    def detect(image: np.ndarray) -> np.ndarray:
        points = tracker.step(next(ids), image)[0][0]
        models.blendshapes(points)
        return points[:, :2]

    return detect


def _pixels(marks: list, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array([(mark.x * width, mark.y * height) for mark in marks])


def measured(detect: Detector, images: np.ndarray) -> tuple[float, np.ndarray]:
    """Milliseconds of CPU time an image, and points (N, 478, 2)."""
    detect(images[0])
    start = time.process_time()
    points = np.stack([detect(image) for image in images])
    return 1000 * (time.process_time() - start) / len(images), points


def jitter(points: np.ndarray) -> dict[str, float]:
    """Percent of the eye distance, by part of the face."""
    third = np.linalg.norm(np.diff(points, 3, axis=0), axis=-1) / np.sqrt(20)
    eyes = float(np.linalg.norm(points[:, 33] - points[:, 263], axis=-1).mean())
    return {
        part: 100 * float(np.median(third[:, rows])) / eyes for part, rows in JITTER_PARTS.items()
    }


def as_peer(images: Path, out: Path, task: str) -> None:
    """Measure MediaPipe in the Python that runs this; writes a small JSON file."""
    for name in ("matplotlib", "matplotlib.pyplot"):  # its drawing tools import it, nothing else
        sys.modules.setdefault(name, types.ModuleType(name))
    import mediapipe

    old = hasattr(mediapipe, "solutions")
    detect = solutions_detector(mediapipe) if old else tasks_detector(mediapipe, task)
    spent, points = measured(detect, np.load(images))
    name = f"MediaPipe {mediapipe.__version__}, {'solutions' if old else 'Tasks, video mode'}"
    out.write_text(json.dumps({"name": name, "ms": spent, "jitter": jitter(points)}))


def read_clip(path: Path | None, count: int) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB, the first images of the clip."""
    from headsplat.synthetic.clip import render_clip
    from headsplat.synthetic.head.head import procedural_head
    from headsplat.video.decode import read_images
    from headsplat.video.probe import probe_video

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if path is None:
            path = folder / "clip.mp4"
            procedural_head().save(folder / "head.npz")
            render_clip(folder / "head.npz", path, folder / "ground_truth.npz", count / 25, 512)
        info = probe_video(path, folder / "video.json")
        last = min(count, info.n_frames)
        images = read_images(path, info, 1, last + 1, fine=False)
        return np.stack([image for _, image in images])


def measure(clip: Path | None, count: int, peer: Path | None) -> list[dict]:
    """Rows of {what, value, unit, target, peer, peer_value, ratio, machine}."""
    from headsplat.networks.model_files import model_file

    images = read_clip(clip, count)
    theirs: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        frames, out = Path(name) / "images.npy", Path(name) / "peer.json"
        np.save(frames, images)
        rounds = []
        for _ in range(ROUNDS):
            rounds.append(measured(own_detector(), images))
            if peer is not None:
                task = str(model_file("face_landmarker.task"))
                command = [peer, Path(__file__).resolve(), "--as-peer", frames, out, task]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                theirs.append(json.loads(out.read_text()))
    spent, points = min(rounds, key=lambda pair: pair[0])
    other = min(theirs, key=lambda one: one["ms"]) if theirs else None
    clip_name = "built-in clip" if clip is None else clip.stem
    what = f"{clip_name}, {len(images)} frames"
    rows = [row(f"detection of a frame with scores, one core, {what}", spent, "ms", other, "ms")]
    for part, value in jitter(points).items():
        rows.append(row(f"jitter of {part}, {what}", value, "% of eye distance", other, part))
    return rows


def row(what: str, value: float, unit: str, other: dict | None, key: str) -> dict:
    """One line of the table."""
    peer_value = None if other is None else other["ms" if key == "ms" else "jitter"]
    if isinstance(peer_value, dict):
        peer_value = peer_value[key]
    return {
        "what": what, "value": round(value, 3), "unit": unit, "target": None,
        "peer": other and other["name"], "peer_value": peer_value and round(peer_value, 3),
        "ratio": peer_value and round(peer_value / value, 2),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="a video")
    parser.add_argument("--frames", type=int, default=100, help="images of it")
    parser.add_argument("--peer", type=Path, help="a Python that has mediapipe and numpy")
    args = parser.parse_args()
    rows = measure(args.clip, args.frames, args.peer)
    for line in rows:
        print(f"{line['what']:60s} {line['value']:8.3f} {line['unit']:18s} "
              f"peer {line['peer_value']} ({line['peer']}) x{line['ratio']}")  # fmt: skip
    out = ROOT / "benchmarks/results/detection.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        as_peer(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]
        main()
