"""The stage `export_web`: an avatar as one HTML file that needs no server and no network."""

from collections.abc import Sequence
from pathlib import Path

from headsplat.avatar_files import load_avatar
from headsplat.export.licence import require_copies
from headsplat.heads.model import HeadModel
from headsplat.options import check_ranges
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.track import read_track
from headsplat.web.container import write_payload
from headsplat.web.motions import PlayedMotion, motion_arrays
from headsplat.web.options import WebOptions
from headsplat.web.page_file import html_file
from headsplat.web.payload import avatar_payload
from headsplat.web.webcam import webcam_files


def export_web(
    name: str,
    model: Path,
    head_path: Path,
    track_path: Path,
    sound: Path | None,
    motions: Sequence[PlayedMotion],
    options: WebOptions,
    pass_on_head: str,
    out: Path,
) -> None:
    """Publish the page of an avatar.

    Args:
        name: of the subject, for the page's title; printable.
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        sound: the clip's video, or None for no sound of the track.
        motions: those to play besides the track.
        options: of the page.
        pass_on_head: see `require_copies`.
        out: the HTML file to write.

    Raises:
        UserError: an input is broken, the head model's licence forbids copies, an option is out of
            its range, or the avatar has no form for browsers.
    """
    if not name.isprintable():
        raise UserError(f"--name '{shown(name)}': give printable text")
    check_ranges(options)
    # First, because it is quick and the rest is not.
    files = webcam_files(Path(options.webcam)) if options.webcam else {}
    head = HeadModel.load(head_path)
    require_copies(head, pass_on_head)
    track = read_track(track_path, head)
    if len(track) == 0:
        raise UserError(f"{track_path}: has no frames; track the clip again")
    avatar = load_avatar(model, head, "cpu")
    meta, arrays = avatar_payload(name, avatar, track, options.precision, options.bases)
    entries, moving = motion_arrays(avatar, track, sound, motions, options.seconds)
    packed = write_payload({**meta, "motions": entries}, arrays | moving)
    page = html_file(name, packed, {"files": list(files)}, files).encode()
    log.info(
        "%d Gaussians, %d motions: %.2f MB, of which the avatar's file is %.2f MB before base64",
        avatar.count, len(entries), len(page) / 1e6, len(packed) / 1e6,
    )  # fmt: skip
    with publish(out) as temporary:
        temporary.write_bytes(page)
