"""Reader of FlashAvatar datasets: imgs/, alpha/, parsing/, and `.frame` files."""

from pathlib import Path

from headsplat.formats.frame_folder import (
    CAMERA_DRIFT,
    SHAPE_DRIFT,
    check_head_of_frames,
    match_images,
    read_frame_folder,
    track_of_frames,
)
from headsplat.formats.frame_offset import OffsetFit, measure_offset, resolve_offset
from headsplat.formats.importing.clip import ImageSource, ImportedClip, ImportOptions, refuse_images
from headsplat.formats.importing.numbered import numbered_images
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log

TOOL = "flashavatar"
FRAME_DELTA = 1  # its loader adds one to the number of the `.frame`


def read_flashavatar(folder: Path, options: ImportOptions) -> ImportedClip:
    """Read `dataset/<id>` as the original's loader does.

    The `.frame` files lie in `checkpoint/`, or where the original looks for them,
    `../../metrical-tracker/output/<id>/checkpoint`. Image id is frame number + 1; the images
    are `imgs/<number>.jpg` with number = frame number + 1 unless `frame_delta` says otherwise.
    The layout's offset is used even if landmarks fit another one; a note reports that.
    """
    refuse_images(options, TOOL)
    head_note = check_head_of_frames(options, TOOL)
    frames = read_frame_folder(_checkpoint(folder), options.head)
    drifts = tuple(
        f"'{key}' changes by up to {frames.drift(name)[0]:.3g} {unit}; that of "
        f"{frames.files[0].name} is taken for all frames, as FlashAvatar does."
        for name, key, unit, limit in (
            ("shape", "flame.shape", "codes", SHAPE_DRIFT),
            ("K", "opencv.K", "px", CAMERA_DRIFT),
        )
        if frames.drift(name)[0] > limit
    )
    where = folder / "imgs"
    numbered = numbered_images(where)
    stated = options.frame_delta
    center = FRAME_DELTA if stated is None else stated
    measured = measure_offset(options.head, frames, numbered, center, options.detect)
    if stated is None and measured is not None and FRAME_DELTA in measured.worse:
        offset, note = FRAME_DELTA, _lag(measured)
        log.warning(note)
    else:
        offset, note = resolve_offset(measured, stated, FRAME_DELTA, where)
    rows, dropped = match_images(frames, numbered, offset, where)
    parts = {}
    for name, subfolder, role in (
        ("alpha", "alpha", ""),
        ("head_mask", "parsing", "_neckhead"),
        ("mouth_mask", "parsing", "_mouth"),
    ):
        files = numbered_images(folder / subfolder, role)
        for row in rows:
            if int(row) + offset not in files:
                raise UserError(
                    f"{folder / subfolder}: the image {row + offset:05d}{role} is missing; "
                    "make the masks of this dataset again"
                )
        parts[name] = {int(row) + 1: ImageSource(files[int(row) + offset]) for row in rows}
    images = {int(row) + 1: ImageSource(numbered[int(row) + offset]) for row in rows}
    track = track_of_frames(frames, rows, options)
    return ImportedClip(track, images, **parts, notes=(*head_note, *drifts, note, *dropped))


def _checkpoint(folder: Path) -> Path:
    candidates = (
        folder / "checkpoint",
        folder.parent.parent / "metrical-tracker" / "output" / folder.name / "checkpoint",
    )
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise UserError(
        f"{candidates[0]}: is not there, nor is {candidates[1]}; put the .frame files into "
        "the first"
    )


def _lag(measured: OffsetFit) -> str:
    return (
        f"The images fit frame_delta {measured.describe(measured.best)} better than "
        f"{measured.describe(FRAME_DELTA)}, which this layout means: the dataset lags; write "
        f"{measured.best} into the column 'frame_delta' to fix it."
    )
