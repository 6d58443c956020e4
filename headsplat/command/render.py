"""`headsplat render` and `headsplat drive`: images and videos of an avatar."""

from pathlib import Path
from typing import Any

import numpy as np

import headsplat
from headsplat.frames.images import encode_png
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, publish_folder
from headsplat.runtime.progress import progress
from headsplat.track import Track
from headsplat.video.formats import suffix_of

_VIDEO, _IMAGE = ".mp4", ".png"


def render(
    folder: Path,
    track_path: Path | None,
    frames: tuple[int, int] | None,
    audio: Path | None,
    out: Path,
) -> None:
    """Render an avatar with the codes and camera of a track.

    Args:
        folder: folder of the avatar.
        track_path: track of the same head model; None for that of the avatar's own clip.
        frames: first and last id, inclusive; None for all.
        audio: file with sound that starts with the first frame, for an mp4.
        out: `.mp4`; `.png` of one frame; or a new folder for `00001.png` and so on, named by frame
            id.

    Raises:
        UserError: files that cannot be used or do not belong together; nothing was written.
    """
    _check_out(out, audio)
    track = _selected(headsplat.load_track(track_path or folder), frames)
    if out.suffix == _IMAGE and len(track) != 1:
        raise UserError(
            f"{out}: one image, but {len(track)} frames are chosen; "
            f"give one, such as --frames {track.ids[0]}, or write an .mp4 or a folder"
        )
    avatar = headsplat.load_avatar(folder)
    if out.suffix == _VIDEO:
        avatar.render_video(track, out, audio=audio)
    elif out.suffix == _IMAGE:
        with publish(out) as path:
            path.write_bytes(_png(avatar.render(track[0])))
    else:
        with publish_folder(out.absolute()) as place:
            for row in progress(range(len(track)), len(track), "frames"):
                image = _png(avatar.render(track[row]))
                (place / f"{track.ids[row]:05d}.png").write_bytes(image)


def drive(folder: Path, motion: Path, kind: str, out: Path, **options: Any) -> None:
    """Drive an avatar with a motion; arguments as in `headsplat.drive_avatar`.

    Raises:
        UserError: files that cannot be used or do not belong together; nothing was written.
    """
    suffix_of(out)  # before PyTorch is loaded
    headsplat.drive_avatar(folder, motion, out, kind, **options)


def _check_out(out: Path, audio: Path | None) -> None:
    if out.suffix not in (_VIDEO, _IMAGE, ""):
        raise UserError(f"{out}: cannot be written; give an {_VIDEO}, a {_IMAGE} or a new folder")
    if audio is not None and out.suffix != _VIDEO:
        raise UserError(f"{out}: images have no sound; leave --audio away, or write an {_VIDEO}")
    if out.suffix == "" and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; give a new or an empty folder")


def _selected(track: Track, frames: tuple[int, int] | None) -> Track:
    if frames is None:
        return track
    first, last = frames
    rows = np.flatnonzero((track.ids >= first) & (track.ids <= last))
    if rows.size == 0:
        ids = f"{track.ids.min()} to {track.ids.max()}" if len(track) else "none"
        raise UserError(f"the track has no frame {first} to {last}; its ids are {ids}")
    return track[rows]


def _png(image) -> bytes:
    """PNG of an image (H, W, 3) in 0..1."""
    return encode_png((image * 255).round().byte().cpu().numpy())
