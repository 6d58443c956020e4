"""Clips for the measurement of mattes: with known alpha and colors, and excerpts of videos.

The known subject is the built-in one with loose hair, composited in display colors over several
backgrounds. Its alpha has fractions at the silhouette and in strands thinner than a pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.camera import project
from headsplat.detect.chunk import detect_chunk
from headsplat.detect.solve import solve_crop_box
from headsplat.frames.images import encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.masks.decoding import decode_rgb
from headsplat.runtime.files import publish, read_npz
from headsplat.synthetic import clip as builtin
from headsplat.synthetic.parameters import ClipParameters, animate, sample_identity
from headsplat.synthetic.performance import perform
from headsplat.synthetic.room import paint_room
from headsplat.synthetic.scene import GAMMA, Scene, neck_end
from headsplat.synthetic.speech import compose_speech
from headsplat.video.crop import crop_chunk
from headsplat.video.info import VideoInfo
from headsplat.video.probe import probe_video

SIZE, FPS = 512, 25
FIRST = 30  # of the built-in clip's frames: the head turns
STRANDS, SEGMENTS = 320, 10
FINE = 4  # strands are drawn at this multiple of the size
LENS = 0.7  # blur of the lens, pixels
HAIR = np.array([78.0, 50.0, 36.0])
NOISE = 1.5
BACKGROUNDS = ("room", "white wall", "busy", "handheld")


@dataclass(frozen=True)
class MatteClip:
    """Images of one subject, with the known matte where there is one.

    Attributes:
        name: of the clip.
        frames: zip of its images.
        alpha: (N, H, W) uint8 known mattes, or None.
        colors: (N, H, W, 3) uint8 known foreground colors where alpha is not 0, or None.
    """

    name: str
    frames: Path
    alpha: np.ndarray | None = None
    colors: np.ndarray | None = None

    def images(self) -> list[np.ndarray]:
        """All images, (H, W, 3) uint8 RGB each."""
        with FrameStore([self.frames]) as store:
            return [decode_rgb(store.read(frame_id)) for frame_id in store.ids]


def known_clips(head: Path, folder: Path, count: int) -> Iterator[MatteClip]:
    """The built-in subject with loose hair in front of each of `BACKGROUNDS`.

    Args:
        head: file of the procedural head.
        folder: where the zips are written.
        count: frames of a clip.
    """
    alpha, colors = _subject(HeadModel.load(head), count)
    rng = np.random.default_rng(5)
    for name in BACKGROUNDS:
        path = folder / name.replace(" ", "_") / "000.zip"
        scene = _background(name)
        with publish(path) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
            for k in range(count):
                share = alpha[k][..., None]
                image = share * colors[k] + (1 - share) * _window(scene, k)
                image = image + rng.normal(0, NOISE, image.shape)
                pack.add(k + 1, encode_jpeg(np.clip(np.rint(image), 0, 255).astype(np.uint8), 92))
        mattes = np.rint(255 * alpha).astype(np.uint8)
        yield MatteClip(name, path, mattes, np.rint(colors).astype(np.uint8))


def video_clip(video: Path, folder: Path, count: int) -> MatteClip:
    """Crops of about `count` frames from the middle of a video."""
    name = video.stem.split("_")[0]
    folder = folder / name
    info_path, faces, box = (folder / n for n in ("video.json", "faces.npz", "crop.json"))
    probe_video(video, info_path)
    info = VideoInfo.load(info_path)
    chunks = max(1, info.n_frames // count)
    detect_chunk(video, info_path, chunks // 2, chunks, faces)
    points = read_npz(faces)["faces"]
    solve_crop_box(points, (info.width, info.height), SIZE).save(box)
    crop_chunk(video, info_path, box, chunks // 2, chunks, folder / "000.zip")
    return MatteClip(name, folder / "000.zip")


def _background(name: str) -> np.ndarray:
    """(side, side, 3) float32 scene, larger than the image where the camera moves."""
    if name == "room":
        return paint_room(SIZE).astype(np.float32)
    rng = np.random.default_rng(11)
    side = SIZE if name != "handheld" else SIZE + 64
    if name == "white wall":
        light = np.linspace(205, 242, side, dtype=np.float32)[None, :, None]
        return np.broadcast_to(light * np.array([1.0, 0.99, 0.96], np.float32), (side, side, 3))
    scene = np.full((side, side, 3), 120, np.uint8)
    for _ in range(260):
        center = rng.integers(0, side, 2)
        color = rng.integers(40, 200, 3).tolist()
        corner = center + rng.integers(8, 70, 2)
        cv2.rectangle(scene, center.tolist(), corner.tolist(), color, -1)
    return cv2.GaussianBlur(scene.astype(np.float32), (0, 0), 2.5)


def _window(scene: np.ndarray, frame: int) -> np.ndarray:
    """The part of a scene that a frame shows: a hand-held camera sways."""
    slack = (len(scene) - SIZE) / 2
    x = slack * (1 + 0.9 * np.sin(0.13 * frame))
    y = slack * (1 + 0.6 * np.sin(0.21 * frame + 1))
    move = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
    return cv2.warpAffine(scene, move, (SIZE, SIZE), flags=cv2.INTER_LINEAR) if slack else scene


def _subject(model: HeadModel, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W) alpha in 0..1 and (N, H, W, 3) colors in 0..255 of the subject, both float32."""
    shape = sample_identity(model)
    vertices = HeadGeometry(model).shaped(torch.as_tensor(shape)).numpy()
    pivot, _ = neck_end(model, vertices)
    camera_t = np.array([0.0, pivot[1] + builtin.LOOK_ABOVE_NECK, builtin.DISTANCE - pivot[2]])
    performance = perform(compose_speech((FIRST + count) / FPS + 1), FPS)
    parameters = animate(performance, model, pivot, camera_t)
    torso = builtin._torso_motion(performance, pivot, camera_t)
    focal, middle = builtin.FOCAL_PER_SIDE * SIZE, SIZE / 2
    intrinsics = np.array([focal, focal, middle, middle])
    shown = []
    for level in (0.0, 1.0):
        scene = Scene(model, shape, SIZE, intrinsics)
        scene._noise = torch.zeros_like(scene._noise)
        scene._painter._background = torch.full((SIZE, SIZE, 3), level)
        shown.append(_drawn(scene, parameters, torso, count))
    strands, roots = _strands(model, vertices, pivot)
    alphas, colors = [], []
    for k in range(count):
        dark, bright = ((image[k].astype(np.float32) / 255) ** GAMMA for image in shown)
        alpha = np.clip(1 - (bright - dark).mean(-1), 0, 1)
        alpha[alpha < 0.02], alpha[alpha > 0.98] = 0, 1
        own = np.clip(dark / np.maximum(alpha, 0.2)[..., None], 0, 1) ** (1 / GAMMA) * 255
        hair, hair_color = _drawn_strands(strands, roots, parameters, FIRST + k, intrinsics)
        layer = (1 - alpha) * hair
        whole = alpha + layer
        mixed = alpha[..., None] * own + layer[..., None] * hair_color
        whole, mixed = (cv2.GaussianBlur(part, (0, 0), LENS) for part in (whole, mixed))
        whole[whole < 0.003] = 0
        alphas.append(np.clip(whole, 0, 1))
        colors.append(np.clip(mixed / np.maximum(whole, 0.003)[..., None], 0, 255))
    return np.stack(alphas), np.stack(colors)


def _drawn(
    scene: Scene, parameters: ClipParameters, torso: tuple[np.ndarray, np.ndarray], count: int
) -> np.ndarray:
    parts = [slice(k, min(k + 4, FIRST + count)) for k in range(FIRST, FIRST + count, 4)]
    images = [
        scene.draw(parameters.frames(p), torso[0][p], torso[1][p], p.start).numpy() for p in parts
    ]
    return np.concatenate(images)


def _strands(
    model: HeadModel, vertices: np.ndarray, pivot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loose hairs (n, SEGMENTS, 3) in head axes, and (n,) their widths in fine pixels."""
    rng = np.random.default_rng(7)
    scalp = vertices[model.regions["scalp"]]
    root = scalp[rng.integers(0, len(scalp), STRANDS)]
    middle = scalp.mean(0)
    out = root - middle
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    length = rng.uniform(0.006, 0.028, (STRANDS, 1))
    bend = rng.normal(0, 0.5, (STRANDS, 3)) - [0, 0.5, 0]
    along = np.linspace(0, 1, SEGMENTS)[None, :, None]
    curve = along * out[:, None] + along**2 * bend[:, None] * 0.7
    return root[:, None] + length[:, None] * curve, rng.integers(1, 3, STRANDS)


def _drawn_strands(
    strands: np.ndarray, widths: np.ndarray, parameters: ClipParameters, frame: int,
    intrinsics: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Alpha (H, W) and colors (H, W, 3) of the hairs of one frame."""
    pose = (parameters.R[frame : frame + 1], parameters.t[frame : frame + 1])
    R, t = (torch.as_tensor(p, dtype=torch.float32) for p in pose)
    points = torch.as_tensor(strands.reshape(1, -1, 3), dtype=torch.float32)
    pixels = project(points, R, t, torch.as_tensor(intrinsics, dtype=torch.float32))
    places = (pixels[0, :, :2].numpy().reshape(*strands.shape[:2], 2) * FINE * 16).round()
    canvas = np.zeros((SIZE * FINE, SIZE * FINE), np.uint8)
    for line, width in zip(places.astype(np.int32), widths, strict=True):
        cv2.polylines(canvas, [line], False, 255, int(width), cv2.LINE_AA, 4)
    alpha = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return alpha, np.broadcast_to(HAIR.astype(np.float32), (SIZE, SIZE, 3))
