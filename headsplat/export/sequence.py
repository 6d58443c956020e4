"""A motion as numbered PLY files in one zip, which SuperSplat and other splat tools play."""

import zipfile
from pathlib import Path

from headsplat.export.frames import MotionFile, read_played
from headsplat.export.options import ExportOptions
from headsplat.export.pose import for_ply
from headsplat.formats.ply import ply_bytes
from headsplat.formats.splats import posed
from headsplat.options import check_ranges
from headsplat.runtime.files import publish
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log

_BATCH = 8
_LEVEL = 1  # of deflate: zeros shrink, the rest is noise


def export_sequence(
    model: Path,
    head_path: Path,
    track_path: Path,
    motion: MotionFile | None,
    out: Path,
    options: ExportOptions,
) -> None:
    """Publish `frame0001.ply` and so on in a zip, at the frame rate of the clip.

    The head moves as it does before the camera, around the origin. Frames are written as they are
    computed, so memory does not grow with their number.

    Args:
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        motion: what is played; None for the track.
        out: the zip to write.
        options: axes and degree of the files.

    Raises:
        UserError: as `read_played`, or an option is out of its range.
    """
    check_ranges(options)
    played = read_played(model, head_path, track_path, motion)
    rotations, translations = played.world()
    count = len(played)
    digits = max(4, len(str(count)))
    with (
        publish(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        for start in range(0, count, _BATCH):
            rows = slice(start, start + _BATCH)
            for k, splats in enumerate(posed(played.avatar, *played.frames.moves(rows)), start):
                there = splats.moved(rotations[k], translations[k])
                # A fixed date, so that equal frames give equal bytes.
                info = zipfile.ZipInfo(f"frame{k + 1:0{digits}d}.ply")
                info.compress_type = zipfile.ZIP_DEFLATED
                content = ply_bytes(for_ply(there, options), options.ply_degree)
                archive.writestr(info, content, compresslevel=_LEVEL)
            beat(f"frames of {out.name}", min(start + _BATCH, count), count)
    log.info("%d frames of %d Gaussians, %g a second", count, played.avatar.count, played.track.fps)
