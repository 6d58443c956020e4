"""Training clips for benchmarks: synthetic with known ground truth, or a workflow's subject."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.synthetic_tracks import SIZE, head_inputs, make_ground_truth
from headsplat.avatar import Avatar
from headsplat.camera import project
from headsplat.formats.importing.clip import make_track
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.metrics import frame_metrics
from headsplat.rotations import matrix_to_6d
from headsplat.track import Track, read_track
from headsplat.train.dataset import PLANES, ImageReader

FRAMES = 300


@dataclass(frozen=True)
class Clip:
    """Images with a track.

    Attributes:
        name: for the table.
        head: the head model of the track.
        track: codes and cameras of all frames.
        planes: (N, H, W, 5) uint8, see `headsplat.train.dataset`, one row per frame of the track.
        training: (T,) training rows; guard frames are in neither set.
        held_out: (E,) rows to evaluate.
    """

    name: str
    head: HeadModel
    track: Track
    planes: Tensor
    training: Tensor
    held_out: Tensor

    def ids(self) -> list[int]:
        """Frame ids of the training rows."""
        return [int(self.track.ids[row]) for row in self.training]

    def images(self) -> "ClipImages":
        """The training images, as the trainer requests them."""
        return ClipImages(self.planes.index_select(0, self.training.to(self.planes.device)))

    def ground_truth(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Held-out images on black (n, H, W, 3) and their head masks (n, H, W)."""
        planes = self.planes.index_select(0, rows.to(self.planes.device)).float() / 255
        matte = planes[..., 3]
        return planes[..., :3] * matte[..., None], (matte > 0.5).float()


class ClipImages:
    """Images resident on the device, by training row."""

    def __init__(self, planes: Tensor) -> None:
        self.planes = planes

    def prepare(self, step: int) -> None:
        """No-op: all images are resident."""

    def places(self, rows: Tensor) -> Tensor:
        """(B,) row indices into `planes`."""
        return rows

    def rows(self, rows: list[int]) -> Tensor:
        """(n, H, W, 5) of some training rows."""
        return self.planes[rows]

    def close(self) -> None:
        """No-op: no files are open."""


def synthetic_clip(head: HeadModel, size: int, device: torch.device, frames: int = FRAMES) -> Clip:
    """The procedural head with its own albedo and one light, under known smooth motion.

    One second in six is held out.
    """
    ground_truth = make_ground_truth(head, frames, focal=1100.0)
    inputs = {key: value.float() for key, value in head_inputs(ground_truth).items()}
    rotation = torch.as_tensor(ground_truth.rotation).float()
    translation = torch.as_tensor(ground_truth.translation).float()
    focal = ground_truth.focal * size / SIZE
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2])
    geometry = HeadGeometry(head)
    faces = geometry.faces
    paint = torch.as_tensor(head.albedo)
    mouth = torch.zeros(len(head.template))
    for region in ("lips", "teeth", "mouth_interior"):
        mouth[torch.as_tensor(head.regions[region]).long()] = 1
    lamp = torch.nn.functional.normalize(torch.tensor([0.4, -0.5, -0.8]), dim=0)
    planes = []
    for rows in torch.arange(frames).split(10):
        codes = {key: value[rows] for key, value in inputs.items() if key != "shape"}
        vertices = geometry.vertices(inputs["shape"], **codes)
        points = project(vertices, rotation[rows], translation[rows], intrinsics)
        face, weights = rasterize_triangles(points, faces, size, size)
        corners = [vertices[:, faces[:, k]] for k in range(3)]
        normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
        smooth = torch.zeros_like(vertices)
        for k in range(3):
            smooth.index_add_(1, faces[:, k], normal)
        smooth = torch.nn.functional.normalize(smooth, dim=-1) @ rotation[rows].transpose(1, 2)
        shade = 0.4 + 0.7 * (smooth @ lamp).clamp_min(0)
        color = (paint * shade[..., None]).clamp(0, 1)
        ones = torch.ones_like(color[..., :1])
        marks = torch.cat([color, ones, mouth.expand(len(rows), -1)[..., None]], -1)
        planes.append((interpolate(face, weights, faces, marks) * 255).round().to(torch.uint8))
    eyes = matrix_to_6d(inputs["eyes"]).flatten(1)
    codes = [inputs["exp"], matrix_to_6d(inputs["jaw"]), eyes, inputs["eyelids"]]
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    arrays = (value.numpy() for value in (inputs["shape"], *codes, rotation, translation, K))
    track = make_track(head, np.arange(1, frames + 1), *arrays, (size, size))
    order = torch.arange(frames)
    held_out = order[(order // 25) % 6 == 3]
    guard = (order[:, None] - held_out).abs().amin(1) <= 2
    return Clip(f"synthetic, {size} px", head, track, torch.cat(planes).to(device),
                order[~guard], held_out)  # fmt: skip


def prepared_clip(
    work: Path, head_path: Path, device: torch.device, track_name: str = "track"
) -> Clip:
    """Load a subject's folder under work/, as the workflow writes it before training.

    `track_name` may be `landmark_track`, the track before photometric refinement.
    """
    head = HeadModel.load(head_path)
    track = read_track(work / "track" / f"{track_name}.npz", head)
    split = json.loads((work / "split.json").read_text())
    zips = [sorted((work / name).glob("*.zip")) for name in ("frames", "alpha", "parsing")]
    reader = ImageReader(*zips, track.width, track.height)
    shape = (len(track.ids), track.height, track.width, PLANES)
    planes = torch.zeros(shape, dtype=torch.uint8)
    for row in track.rows(split["train"] + split["test"]).tolist():
        planes[row] = torch.from_numpy(reader.read(int(track.ids[row])))
    reader.close()
    rows = (torch.from_numpy(track.rows(split[part])) for part in ("train", "test"))
    return Clip(f"{work.name}, {track.width} px", head, track, planes.to(device), *rows)


def held_out_psnr(avatar: Avatar, clip: Clip) -> float:
    """Mean `psnr_head` of the held-out frames, dB."""
    track, values = clip.track, []
    for rows in clip.held_out.split(8):
        color = avatar.render(track[rows.numpy()], (0, 0, 0))
        values.append(
            frame_metrics(clip.ground_truth(rows)[0], color, clip.ground_truth(rows)[1])[
                "psnr_head"
            ]
        )
    return torch.cat(values).mean().item()
