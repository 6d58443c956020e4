"""A subject's folder under work/ with one or two sets of masks, for `benchmarks/body.py`."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.clips import Clip, ClipImages
from headsplat.avatar import Avatar, moving_parts
from headsplat.heads.model import HeadModel
from headsplat.render import FrameRenderer
from headsplat.runtime.process import available_threads
from headsplat.track import Track, read_track
from headsplat.train.dataset import PLANES, ImageReader

BATCH = 8
NEW, OLD = "new", "old"


@dataclass(frozen=True)
class Masks:
    """Images of a clip under one set of mattes and head masks.

    Attributes:
        alpha: folder of mattes.
        parsing: folder of head masks.
        reader: of the images.
        planes: (N, H, W, 6) uint8, one row per frame of the track: those of
            `ImageReader.read_person`.
    """

    alpha: Path
    parsing: Path
    reader: ImageReader
    planes: Tensor

    def head(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Heads on black (n, H, W, 3) in 0..1 and their masks (n, H, W)."""
        return _on_black(self._some(rows), 3)

    def person(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Persons on black (n, H, W, 3) in 0..1 and their mattes (n, H, W)."""
        planes = self._some(rows)
        return _on_black(planes, 5)[0], planes[..., 5].float() / 255

    def person_images(self, rows: Tensor) -> ClipImages:
        """Images as of `headsplat.train.dataset.PersonReader`."""
        planes = self._some(rows)
        outside = planes[..., 5:] - planes[..., 3:4]
        return ClipImages(torch.cat([planes[..., :3], planes[..., 5:], outside], -1))

    def _some(self, rows: Tensor) -> Tensor:
        return self.planes.index_select(0, rows.to(self.planes.device))


@dataclass(frozen=True)
class BodyClip:
    """A clip with its masks.

    Attributes:
        folder: of the subject, under work/.
        head: its head model.
        track: with the trunk's poses.
        masks: by name, `NEW` and, where they are given, `OLD`.
        training: (T,) training rows of the track.
        held_out: (E,) rows to evaluate.
    """

    folder: Path
    head: HeadModel
    track: Track
    masks: dict[str, Masks]
    training: Tensor
    held_out: Tensor

    def moves(self, trunk: bool) -> Track:
        """The track, with the trunk's poses or with a stiff neck."""
        return self.track if trunk else replace(self.track, trunk_R=None, trunk_t=None, neck=None)

    def clip(self, masks: str, trunk: bool) -> Clip:
        """Head images for training."""
        planes = self.masks[masks].planes[..., :PLANES]
        track = self.moves(trunk)
        return Clip(self.folder.name, self.head, track, planes, self.training, self.held_out)

    def draw(
        self, avatar: Avatar, trunk: bool, rows: Tensor, head_only: bool
    ) -> tuple[Tensor, Tensor]:
        """Images (n, H, W, 3) on black and alphas (n, H, W) of some rows."""
        track = self.moves(trunk)
        camera = track.width, track.height, track.intrinsics(), torch.zeros(3)
        renderer = FrameRenderer(avatar, BATCH, *camera, head_only)
        drawn = renderer.frames(*moving_parts(track[rows.numpy()].frames()))
        parts = [(color.clone(), alpha.clone()) for color, alpha in drawn]
        colors, alphas = zip(*parts, strict=True)
        return torch.cat(colors), torch.cat(alphas)


def load_clip(
    folder: Path, head_path: Path, device: torch.device, old_masks: Path | None
) -> BodyClip:
    """Load a subject's folder.

    Args:
        folder: with frames, alpha, parsing, split.json and track/track.npz.
        head_path: head model `.npz`.
        device: of the images.
        old_masks: folder with alpha and parsing of the same frames, or None.
    """
    head = HeadModel.load(head_path)
    track = read_track(folder / "track" / "track.npz", head)
    split = json.loads((folder / "split.json").read_text())
    training, held_out = (track.rows(split[part]) for part in ("train", "test"))
    rows = np.concatenate([training, held_out])
    folders = {NEW: folder} | ({} if old_masks is None else {OLD: old_masks})
    masks = {
        name: _read_masks(folder / "frames", where, track, rows, device)
        for name, where in folders.items()
    }
    parts = torch.from_numpy(training), torch.from_numpy(held_out)
    return BodyClip(folder, head, track, masks, *parts)


def _read_masks(
    frames: Path, where: Path, track: Track, rows: np.ndarray, device: torch.device
) -> Masks:
    folders = frames, where / "alpha", where / "parsing"
    zips = (sorted(part.glob("*.zip")) for part in folders)
    reader = ImageReader(*zips, track.width, track.height)
    planes = torch.zeros((len(track), track.height, track.width, PLANES + 1), dtype=torch.uint8)

    def read(row: int) -> None:
        planes[row] = torch.from_numpy(reader.read_person(int(track.ids[row])))

    with ThreadPoolExecutor(available_threads()) as pool:
        list(pool.map(read, rows.tolist()))
    return Masks(*folders[1:], reader, planes.to(device))


def _on_black(planes: Tensor, matte: int) -> tuple[Tensor, Tensor]:
    share = planes[..., matte].float() / 255
    return planes[..., :3].float() / 255 * share[..., None], (share > 0.5).float()


def write_sheets(shown: Sequence[tuple[Tensor, Tensor]], name: str, folder: Path) -> None:
    """Write `NAME_white.png` and `NAME_black.png`: one column per entry, one row per frame.

    Args:
        shown: images (n, H, W, 3) on black and their alphas (n, H, W).
        name: of the files.
        folder: where they go.
    """
    for ground, value in (("white", 1.0), ("black", 0.0)):
        columns = [
            (color.cpu() + (1 - alpha.cpu()[..., None]) * value).flatten(0, 1)
            for color, alpha in shown
        ]
        sheet = (torch.cat(columns, 1).clamp(0, 1) * 255).round().byte().numpy()
        Image.fromarray(sheet).save(folder / f"{name}_{ground}.png")
