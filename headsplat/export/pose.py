"""Export of an avatar in one pose: `.ply`, `.spz`, or `.glb` with Gaussians."""

from pathlib import Path

import numpy as np
import torch

from headsplat.avatar_files import load_avatar
from headsplat.export.options import VIEWER, ExportOptions
from headsplat.formats.gaussian_glb import write_gaussian_glb
from headsplat.formats.ply import write_ply
from headsplat.formats.splats import Splats, posed
from headsplat.formats.spz import write_spz
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.options import check_ranges
from headsplat.runtime.errors import UserError, shown
from headsplat.track import Track, read_track

PLY, SPZ, GLB = ".ply", ".spz", ".glb"
SUFFIXES = (PLY, SPZ, GLB)
# Half a turn about z, which splat viewers undo: their files have y down.
_VIEWER = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))


def export_pose(
    model: Path,
    head_path: Path,
    track_path: Path,
    frame: int | None,
    out: Path,
    options: ExportOptions,
) -> None:
    """Publish one file; its suffix is one of `SUFFIXES`.

    Args:
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        frame: an id of the track, or None for the neutral face.
        out: the file to write.
        options: axes, degree and version of the formats.

    Raises:
        UserError: an input is broken, the track lacks the frame, the format is unknown, or an
            option is out of its range.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{out}: name a file that ends in {', '.join(SUFFIXES)}")
    check_ranges(options)
    head = HeadModel.load(head_path)
    avatar = load_avatar(model, head, "cpu")
    track = read_track(track_path, head)
    if frame is None:
        # A frontal view at the clip's distance, because colors may be view-dependent.
        condition = FrameCode.neutral(head).vector[None]
        rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
        translation = torch.tensor([[0.0, 0.0, float(track.poses()[1][:, 2].median())]])
        trunk = None
    else:
        some = track[_row(track, frame, track_path)].frames()
        condition, rotation, translation, trunk = (
            some.code.vector, some.rotation, some.translation, some.trunk
        )  # fmt: skip
    (splats,) = posed(avatar, condition, rotation, translation, trunk)
    if suffix == PLY:
        write_ply(out, for_ply(splats, options), options.ply_degree)
    elif suffix == SPZ:
        write_spz(out, splats, options.spz_version)
    else:
        write_gaussian_glb(out, splats, "avatar")


def _row(track: Track, frame: int, path: Path) -> np.ndarray:
    """(1,) the row of a frame."""
    rows = np.flatnonzero(track.ids == frame)
    if len(rows) == 0:
        first, last = (track.ids.min(), track.ids.max()) if len(track) else ("none", "none")
        raise UserError(
            f"{path}: has no frame {shown(str(frame), 40)}; take one of {first} to {last}"
        )
    return rows[:1]


def for_ply(splats: Splats, options: ExportOptions) -> Splats:
    """The Gaussians in the axes of PLY files."""
    return splats.moved(_VIEWER, torch.zeros(3)) if options.ply_axes == VIEWER else splats
