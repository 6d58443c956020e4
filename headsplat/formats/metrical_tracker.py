"""Reader of metrical-tracker's output folder: `checkpoint/*.frame` and `input/*.png`."""

from pathlib import Path

from headsplat.formats.frame_folder import (
    CAMERA_DRIFT,
    SHAPE_DRIFT,
    check_head_of_frames,
    match_images,
    read_frame_folder,
    track_of_frames,
)
from headsplat.formats.frame_offset import measure_offset, resolve_offset
from headsplat.formats.importing.clip import ImageSource, ImportedClip, ImportOptions
from headsplat.formats.importing.numbered import numbered_images
from headsplat.runtime.errors import UserError

TOOL = "metrical-tracker"


def read_metrical_tracker(folder: Path, options: ImportOptions) -> ImportedClip:
    """Read `output/<actor>`; see `headsplat.formats.importing.clip.ReadClip`.

    `input/<k>.png` is the image that `<k>.frame` was fitted to. The user's own images may have
    other numbers; the offset is then given or measured. Image id is frame number + 1.
    """
    head_note = check_head_of_frames(options, TOOL)
    frames = read_frame_folder(folder / "checkpoint", options.head)
    drift, file = frames.drift("shape")
    if drift > SHAPE_DRIFT:
        raise UserError(
            f"{file}: 'flame.shape' differs from that of {frames.files[0].name} by {drift:.3g}; "
            "frames of two runs are mixed, track the clip again"
        )
    drift, file = frames.drift("K")
    if drift > CAMERA_DRIFT:
        raise UserError(
            f"{file}: 'opencv.K' differs from that of {frames.files[0].name} by {drift:.3g} px; "
            "frames of two runs are mixed, track the clip again"
        )
    where = options.images or folder / "input"
    images = numbered_images(where)
    usual = None if options.images else 0
    stated = options.frame_delta
    center = next((value for value in (stated, usual) if value is not None), 0)
    measured = measure_offset(options.head, frames, images, center, options.detect)
    offset, note = resolve_offset(measured, stated, usual, where)
    rows, dropped = match_images(frames, images, offset, where)
    return ImportedClip(
        track_of_frames(frames, rows, options),
        {int(row) + 1: ImageSource(images[int(row) + offset]) for row in rows},
        notes=(*head_note, note, *dropped),
    )
