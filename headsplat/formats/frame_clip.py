"""What the layouts with `.frame` files share: the head, the join with images, the track."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from headsplat.formats.frame_folder import FrameFolder
from headsplat.formats.importing.clip import ImportOptions, make_track, require_flame
from headsplat.runtime.errors import UserError
from headsplat.track import Track

# One shape and one camera serve the whole clip; beyond this, frames disagree.
SHAPE_DRIFT, CAMERA_DRIFT = 1e-3, 1.0  # codes, pixels


def check_head_of_frames(options: ImportOptions, tool: str) -> tuple[str, ...]:
    """A `.frame` holds FLAME 2020's codes, or those of the head whose track headsplat exported."""
    if options.head.name == "flame":
        require_flame(options, "2020", tool)
        return ()
    return (
        f"The codes are taken as those of the head '{options.head.name}', as headsplat exports.",
    )


def join(
    frames: FrameFolder, images: Mapping[int, Path], offset: int, where: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of the frames that have an image, and a note about those at the ends that have none.

    Raises:
        UserError: an image is missing between others, or none joins.
    """
    there = np.array([number + offset in images for number in range(len(frames.files))])
    rows = np.flatnonzero(there)
    if not len(rows):
        raise UserError(
            f"{where}: with frame_delta {offset} no image belongs to any .frame; state another "
            "in the column 'frame_delta'"
        )
    gaps = np.flatnonzero(~there[rows[0] : rows[-1] + 1])
    if len(gaps):
        row = int(rows[0] + gaps[0])
        raise UserError(
            f"{where}: the image {row + offset:05d} of {frames.files[row].name} is missing "
            f"({len(gaps)} in all); put it back or remove the frames from there on"
        )
    left = len(there) - len(rows)
    note = (f"{left} frames at the ends have no image and were left out.",) if left else ()
    return rows, note


def track_of_frames(frames: FrameFolder, rows: np.ndarray, options: ImportOptions) -> Track:
    """The track of some rows; shape and K are those of frame 0, as FlashAvatar takes them."""
    return make_track(
        options.head, rows + 1, frames.shape[0], frames.exp[rows], frames.jaw[rows],
        frames.eyes[rows], frames.eyelids[rows], frames.R[rows], frames.t[rows], frames.K[0],
        frames.img_size,
    )  # fmt: skip
