"""A clip of a few small images of the sphere head with its track, for training tests."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.files import publish, write_json
from headsplat.track import Track, head_moves, write_track
from tests.unit.sphere_head import sphere_head

IDENTITY = np.array([1, 0, 0, 0, 1, 0], dtype=np.float32)


@dataclass(frozen=True)
class TinyClip:
    """Paths of one clip; `arguments` are those of the script."""

    head: Path
    track: Path
    split: Path
    frames: Path
    alpha: Path
    parsing: Path

    def arguments(self) -> list[str]:
        names = ("head", "track", "split", "frames", "alpha", "parsing")
        return [part for name in names for part in (f"--{name}", str(getattr(self, name)))]


def make_clip(folder: Path, count: int = 12, size: int = 48, body: bool = False) -> TinyClip:
    """A clip in which pixels near a projected vertex have that vertex's color.

    With `body`, the lowest rows show a still striped body, and the track has its pose.
    """
    head = sphere_head(24, 40)
    rng = np.random.default_rng(0)
    phase = np.arange(count) / count * 2 * np.pi
    exp = np.stack([np.sin(phase), np.cos(phase), np.sin(2 * phase)], 1).astype(np.float32) * 0.5
    turn = torch.tensor(np.stack([0 * phase, 0.4 * np.sin(phase), 0 * phase], 1)).float()
    R = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(turn)
    t = torch.tensor([[0.0, 0.0, 0.8]]).expand(count, 3)
    focal = size * 2.6
    K = np.array([[focal, 0, size / 2 + 1], [0, focal, size / 2 - 2], [0, 0, 1]], np.float32)
    jaw, eyes = np.tile(IDENTITY, (count, 1)), np.tile(IDENTITY, (count, 2))
    lids = np.zeros((count, 2), np.float32)
    track = _track(head, exp, jaw, eyes, lids, R.numpy(), t.numpy(), K, size)
    if body:
        still = np.diag([1.0, -1, -1]), t.numpy()
        track = replace(track, trunk_R=np.repeat(still[0][None], count, 0), trunk_t=still[1])
    clip = TinyClip(*(folder / name for name in (
        "head.npz", "track.npz", "split.json", "f.zip", "a.zip", "p.zip")))  # fmt: skip
    head.save(clip.head)
    write_track(clip.track, track)
    held_out = [count // 2, count // 2 + 1]
    train = [i for i in range(1, count + 1) if i not in held_out]
    write_json(
        clip.split,
        {"mode": "spread", "train": train, "test": held_out, "guard": [], "unusable": []},
    )
    condition = torch.from_numpy(np.concatenate([exp, jaw, eyes, lids], 1))
    vertices = posed_vertices(HeadGeometry(head), torch.zeros(2), condition)
    colors = 0.5 + 0.4 * np.sin(head.template * 60 + rng.random(3))
    lips = np.zeros(len(colors), bool)
    lips[head.regions["lips"]] = True
    centers = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    with (
        publish(clip.frames) as f, publish(clip.alpha) as a, publish(clip.parsing) as p,
        FrameZipWriter(f, ".jpg") as frames, FrameZipWriter(a, ".png") as alpha,
        FrameZipWriter(p, ".png") as parsing,
    ):  # fmt: skip
        for i in range(count):
            camera = (vertices[i] @ R[i].T + t[i]).numpy()
            pixels = camera[:, :2] / camera[:, 2:] * focal + K[:2, 2]
            distance = np.linalg.norm(centers[:, :, None] - pixels, axis=-1)
            distance += 1e3 * (camera[:, 2] > 0.8)
            nearest = distance.argmin(-1)
            inside = distance.min(-1) < 2.0
            image = np.where(inside[..., None], colors[nearest] * 255, 40).astype(np.uint8)
            below = centers[..., 1] > (0.85 * size if body else size)
            below &= abs(centers[..., 0] - size / 2) < 0.4 * size
            stripes = np.where(centers[..., :1] % 12 < 6, (200, 60, 60), (60, 60, 200))
            image = np.where(below[..., None], stripes, image).astype(np.uint8)
            frames.add(i + 1, encode_jpeg(image))
            alpha.add(i + 1, encode_png(((inside | below) * 255).astype(np.uint8)))
            parsing.add(i + 1, encode_png((~below * 255).astype(np.uint8)), role="_neckhead")
            mouth = (inside & lips[nearest]) * 255
            parsing.add(i + 1, encode_png(mouth.astype(np.uint8)), role="_mouth")
    return clip


def _track(head: HeadModel, exp, jaw, eyes, lids, R, t, K, size: int) -> Track:
    count = len(exp)
    head_R, head_t, camera_R, camera_t = head_moves(R, t)
    return Track(
        ids=np.arange(1, count + 1, dtype=np.int32),
        status=np.array(["ok"] * count),
        confidence=np.linspace(0.8, 1, count, dtype=np.float32),
        interpolated=np.zeros(count, bool),
        shape=np.zeros(2, np.float32),
        exp=exp,
        jaw=jaw,
        eyes=eyes,
        eyelids=lids,
        R=R,
        t=t,
        K=K,
        img_size=np.array([size, size]),
        head_R=head_R,
        head_t=head_t,
        camera_R=camera_R,
        camera_t=camera_t,
        residual_px=np.zeros(count),
        residual_iod=np.zeros(count),
        residual_group=np.zeros((count, 1)),
        group_names=np.array(["all"]),
        head_name=head.name,
        head_version=head.version,
        head_licence=head.licence,
        fps=25.0,
    )
