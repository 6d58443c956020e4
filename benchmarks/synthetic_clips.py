"""Synthetic clips of a talking head with known ground truth, noise, occluders and motion blur.

Images are rendered on demand, a few frames at a time, and deterministically.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize
from torch.nn.functional import interpolate as resize

from benchmarks.synthetic_tracks import (
    SIZE,
    GroundTruth,
    detect,
    head_inputs,
    make_ground_truth,
    write_inputs,
)
from headsplat.camera import project
from headsplat.frames.crop import Crop
from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle

# Meters between samples of the skin texture, and number of samples along an axis.
GRAIN, SAMPLES = 0.003, 96
SKIN = (0.72, 0.53, 0.44)
BATCH = 8
# Supersampling: samples per pixel side.
SHARP = 2


@dataclass(frozen=True)
class Footage:
    """Recording conditions of a clip.

    Attributes:
        size: pixels per side of the square image.
        landmark_noise: standard deviation, pixels of a 512 px image, white.
        image_noise: standard deviation, of 255.
        mottling: standard deviation of the skin texture, as a fraction of its albedo.
        flicker: slow change of the exposure, standard deviation as a fraction.
        occluder: None, "hand" (moving skin-colored fingers) or "microphone".
        shutter: fraction of the frame time with an open shutter, 0 for sharp images.
        missing: frames (from 0) in which no face is detected.
        dropped: frames (from 0) before which one frame of the motion is missing.
    """

    size: int = SIZE
    landmark_noise: float = 1.0
    image_noise: float = 2.0
    mottling: float = 0.04
    flicker: float = 0.03
    occluder: str | None = None
    shutter: float = 0.0
    missing: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()


class SyntheticClip:
    """One clip.

    Args:
        head: any head model; one without an albedo is painted in one color.
        frames: number of frames.
        footage: recording conditions.
        seed: of motion, person and noise.
        motion: scale of the head's motion.
        focal: focal length, pixels of a 512 px image.
        device: where images are rendered.

    Attributes:
        ground_truth: parameters, focal length in pixels of a 512 px image.
        landmarks: (N, 478, 3) as detected in the 512 px source.
        crop: from the 512 px source to the images.
    """

    def __init__(
        self,
        head: HeadModel,
        frames: int,
        footage: Footage | None = None,
        seed: int = 0,
        motion: float = 1.0,
        focal: float = 1400.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.head, self.footage, self.seed = head, footage or Footage(), seed
        lost = self.footage.dropped
        self.ground_truth = _drop(
            make_ground_truth(head, frames + len(lost), seed, motion, focal), lost
        )
        self._device = torch.device(device)
        rng = np.random.default_rng(seed + 100)
        self._occluder = _Occluder(self.footage.occluder, rng, frames)
        footage = self.footage
        self.landmarks, _ = detect(
            head, self.ground_truth, footage.landmark_noise, missing=footage.missing, seed=seed + 1
        )
        self._misguide(rng)
        self.crop = Crop(0.0, 0.0, float(SIZE), footage.size, SIZE, SIZE)
        self._geometry = HeadGeometry(head, device)
        self._inputs = {key: value.float() for key, value in head_inputs(self.ground_truth).items()}
        self._albedo = _albedo(head, rng).to(self._device)
        self._pattern = _pattern(seed).to(self._device)
        self._light = _light(rng).to(self._device)
        curve = np.sin(np.arange(frames) / 25 * rng.uniform(0.4, 1.2) + rng.uniform(0, 6))
        self._exposure = torch.as_tensor(1 + footage.flicker * curve, dtype=torch.float32)

    def _misguide(self, rng: np.random.Generator) -> None:
        """Displace landmarks behind the occluder by several pixels, as a detector does."""
        points = self.landmarks[..., :2]
        for frame in range(len(points)):
            hidden = self._occluder.covers(frame, points[frame] / SIZE) > 0.5
            off = rng.normal(size=2) * 4 + rng.normal(size=(int(hidden.sum()), 2)) * 3
            points[frame][hidden] += off

    def images(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Render some frames.

        Args:
            rows: (n,) long.

        Returns:
            (n, H, W, 3) images and (n, H, W) mattes, uint8.
        """
        parts = [self._draw(part) for part in rows.split(BATCH)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _draw(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        footage, size = self.footage, self.footage.size
        steps = 5 if footage.shutter else 1
        times = (torch.arange(steps) - (steps - 1) / 2) / steps * footage.shutter
        shown = torch.stack([self._render(rows, float(time)) for time in times]).mean(0)
        color, matte = shown[..., :3], shown[..., 3:]
        grid = (torch.arange(size, device=shown.device) + 0.5) / size
        wall = 0.35 + 0.15 * torch.sin(9 * grid)[:, None] * torch.cos(7 * grid)[None]
        image = color + (1 - matte) * wall[None, ..., None]
        for k, row in enumerate(rows.tolist()):
            cover, paint = self._occluder.draw(row, size)
            if cover is not None:
                cover, paint = cover.to(shown), paint.to(shown)
                image[k] += cover[..., None] * (paint - image[k])
                # Matting networks count a held object as part of the person.
                matte[k, ..., 0] = torch.maximum(matte[k, ..., 0], cover)
            generator = torch.Generator().manual_seed(self.seed * 100003 + row)
            grain = torch.randn(image[k].shape, generator=generator).to(shown)
            image[k] += grain * (footage.image_noise / 255)
        return _byte(image), _byte(matte[..., 0])

    def _render(self, rows: Tensor, time: float) -> Tensor:
        """(n, H, W, 4) color on black and coverage, `time` frames after each frame's middle."""
        codes, rotation, translation = self._moment(rows, time)
        size, faces, head = SHARP * self.footage.size, self._geometry.faces, self.head
        vertices = self._geometry.vertices(self._inputs["shape"].to(self._device), **codes)
        focal = self.ground_truth.focal * size / SIZE
        camera = torch.tensor([focal, focal, size / 2, size / 2], device=self._device)
        points = project(vertices, rotation, translation, camera)
        face, weights = rasterize_triangles(points, faces, size, size)
        rest = torch.as_tensor(head.template, device=self._device)
        table = torch.cat([self._albedo, rest], 1).expand(len(rows), -1, -1)
        marks = torch.cat([vertex_normals(vertices, faces) @ rotation.mT, table], -1)
        drawn = interpolate(face, weights, faces, marks)
        normal, albedo, place = normalize(drawn[..., :3], dim=-1), drawn[..., 3:6], drawn[..., 6:]
        where = (place / (GRAIN * SAMPLES / 2)).flip(-1)[:, None]
        pattern = self._pattern.expand(len(rows), -1, -1, -1, -1)
        mottled = grid_sample(pattern, where.flip(-1), align_corners=False)[:, 0, 0]
        shade = (harmonics(normal) @ self._light).clamp_min(0.02)
        exposure = self._exposure[rows].to(shade)[:, None, None, None]
        mottled = 1 + self.footage.mottling * mottled[..., None]
        covered = (face >= 0)[..., None].float()
        shown = (albedo * mottled * shade * exposure).clamp(0, 1) * covered
        drawn = torch.cat([shown, covered], -1).movedim(-1, 1)
        return avg_pool2d(drawn, SHARP).movedim(1, -1)

    def _moment(self, rows: Tensor, time: float) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Parameters interpolated between a frame and its neighbor on the side of `time`."""
        other = (rows + (1 if time > 0 else -1)).clamp(0, len(self._exposure) - 1)
        share = abs(time)

        def between(values: Tensor) -> Tensor:
            return (values[rows] * (1 - share) + values[other] * share).to(self._device)

        def turned(values: Tensor) -> Tensor:
            step = axis_angle_from_matrix(values[other] @ values[rows].mT) * share
            return (matrix_from_axis_angle(step) @ values[rows]).to(self._device)

        inputs = self._inputs
        codes = {key: between(inputs[key]) for key in ("exp", "eyelids")}
        codes |= {key: turned(inputs[key]) for key in ("jaw", "eyes")}
        rotation = turned(torch.as_tensor(self.ground_truth.rotation).float())
        return codes, rotation, between(torch.as_tensor(self.ground_truth.translation).float())

    def write(self, folder: Path, chunk: int = 50) -> None:
        """Write the workflow's files up to the mattes: landmarks, crop, frames and alpha."""
        write_inputs(folder, self.landmarks, self.crop)
        for name in ("frames", "alpha"):
            (folder / name).mkdir(exist_ok=True)
        for number, rows in enumerate(torch.arange(len(self._exposure)).split(chunk)):
            with (
                FrameZipWriter(folder / f"frames/{number:03d}.zip", ".jpg") as frames,
                FrameZipWriter(folder / f"alpha/{number:03d}.zip", ".png") as alpha,
            ):
                for part in rows.split(BATCH):
                    images, mattes = (array.cpu().numpy() for array in self.images(part))
                    for row, image, matte in zip(part.tolist(), images, mattes, strict=True):
                        frames.add(row + 1, encode_jpeg(image))
                        alpha.add(row + 1, encode_png(matte))


def harmonics(normal: Tensor) -> Tensor:
    """(..., 3) unit normals -> (..., 9) spherical harmonics up to order 2, unscaled."""
    x, y, z = normal.unbind(-1)
    ones = torch.ones_like(x)
    return torch.stack([ones, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)


def _light(rng: np.random.Generator) -> Tensor:
    """(9, 3) harmonics: a key light in front, above and to one side, and a fill light opposite."""
    key = np.array([rng.uniform(-0.6, 0.6), -0.5, -0.8])
    fill = np.array([-key[0], 0.1, -0.6])
    light = np.zeros((9, 3))
    light[0] = 0.62
    for direction, strength in ((key, (0.36, 0.34, 0.30)), (fill, (0.10, 0.11, 0.14))):
        direction = direction / np.linalg.norm(direction)
        weights = harmonics(torch.as_tensor(direction)).numpy()
        light[1:4] += np.outer(weights[1:4], strength)
        light[4:] += 0.25 * np.outer(weights[4:], strength)
    return torch.as_tensor(light, dtype=torch.float32)


def _albedo(head: HeadModel, rng: np.random.Generator) -> Tensor:
    """(V, 3): the model's albedo in this person's skin tone."""
    if head.albedo is not None:
        paint = head.albedo.astype(np.float64)
    else:
        paint = np.tile(SKIN, (len(head.template), 1))
        for name, factor in (("lips", (0.80, 0.55, 0.55)), ("brows", (0.4, 0.35, 0.3))):
            paint[head.regions.get(name, [])] *= factor
    return torch.as_tensor(paint * rng.uniform(0.85, 1.1, size=3), dtype=torch.float32)


def _pattern(seed: int) -> Tensor:
    """(1, 1, D, H, W) noise of unit variance: four octaves in the space of the rest pose."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 1, SAMPLES, SAMPLES, SAMPLES)
    for step in (1, 2, 4, 8):
        count = SAMPLES // step
        noise = torch.randn(1, 1, count, count, count, generator=generator)
        noise = resize(noise, size=(SAMPLES,) * 3, mode="trilinear", align_corners=False)
        total += noise / noise.std()
    return total / total.std()


def _drop(ground_truth: GroundTruth, frames: tuple[int, ...]) -> GroundTruth:
    """The ground truth without the frames that are missing before each of `frames`."""
    lost = [frame + k for k, frame in enumerate(sorted(frames))]
    names = ("exp", "jaw", "eyes", "lids", "rotation", "translation")
    return replace(
        ground_truth, **{n: np.delete(getattr(ground_truth, n), lost, axis=0) for n in names}
    )


def _byte(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


class _Occluder:
    """A shape in front of the face, in units of the image side: moving or static capsules."""

    def __init__(self, kind: str | None, rng: np.random.Generator, frames: int) -> None:
        self._kind, self._frames = kind, frames
        self._phase = rng.uniform(0, 2 * np.pi)

    def _capsules(self, frame: int) -> list[tuple[tuple[float, float], tuple[float, float], float]]:
        """End points and radius of each capsule."""
        if self._kind == "microphone":
            x = 0.46 + 0.01 * np.sin(frame / 9 + self._phase)
            return [((x, 0.72), (x, 0.73), 0.075), ((x, 0.75), (x + 0.08, 1.1), 0.025)]
        # The hand covers the face during the middle half of every two seconds.
        turn = (frame / 50 + self._phase / (2 * np.pi)) % 1
        reach = np.clip(1.6 * np.sin(np.pi * turn) - 0.6, 0, 1)
        x, y = 0.95 - 0.40 * reach, 0.95 - 0.30 * reach
        fingers = [((x + 0.05 * k, y), (x + 0.05 * k - 0.06, y - 0.17), 0.023) for k in range(4)]
        return [*fingers, ((x + 0.08, y + 0.05), (x + 0.12, y + 0.3), 0.11)]

    def covers(self, frame: int, points: np.ndarray, soft: float = 1e-6) -> np.ndarray:
        """(...) coverage of points (..., 2) in units of the side; `soft` is the edge width."""
        cover = np.zeros(points.shape[:-1])
        if self._kind is None:
            return cover
        for start, end, radius in self._capsules(frame):
            a, d = np.array(start), np.array(end) - np.array(start)
            share = np.clip(((points - a) @ d) / (d @ d), 0, 1)
            away = np.linalg.norm(points - a - share[..., None] * d, axis=-1)
            cover = np.maximum(cover, np.clip((radius - away) / soft + 0.5, 0, 1))
        return np.nan_to_num(cover)

    def draw(self, frame: int, size: int) -> tuple[Tensor | None, Tensor | None]:
        """Coverage (H, W) and color (H, W, 3), or None."""
        if self._kind is None:
            return None, None
        line = (np.arange(size) + 0.5) / size
        points = np.stack(np.meshgrid(line, line), -1)
        cover = self.covers(frame, points, soft=1.5 / size)
        tone = np.array(SKIN if self._kind == "hand" else (0.08, 0.08, 0.09))
        ripple = 1 + 0.12 * np.sin(60 * points[..., :1]) * np.cos(45 * points[..., 1:])
        return torch.as_tensor(cover).float(), torch.as_tensor(tone * ripple).float()
