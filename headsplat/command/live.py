"""`headsplat live`: an avatar driven while somebody performs or speaks."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from headsplat.avatar import Avatar
from headsplat.avatar_files import TRACK_FILE, load_avatar, model_folder, read_metadata
from headsplat.drive.arkit_motion import require_arkit_head
from headsplat.drive.look import Look
from headsplat.drive.subject import DrivenSubject
from headsplat.heads.model import HeadModel
from headsplat.heads.packed import packed_head
from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import LiveDriver, resting
from headsplat.live.options import MESSAGES, SPEAKER, InputOptions, OutputOptions
from headsplat.live.outputs import OUTPUTS, Output
from headsplat.live.performer import Performer
from headsplat.live.protocols import PROTOCOLS
from headsplat.live.session import Session
from headsplat.live.sources import MotionSource, PhoneSource, SpeakerSource
from headsplat.options import check_ranges
from headsplat.runtime.errors import UserError, shown
from headsplat.track import read_track


def live(
    folder: Path,
    source: str,
    output: str,
    given: InputOptions,
    wanted: OutputOptions,
    sound: str | None,
    motion: tuple[Path | None, str | None],
    arguments: Sequence[str],
) -> None:
    """Drive an avatar live until it is stopped or the input ends.

    Args:
        folder: of the avatar.
        source: one of `INPUTS`.
        output: a key of `OUTPUTS`.
        given: options of the input.
        wanted: options of the output.
        sound: file for the input `speaker`; "-" is standard input.
        motion: file and kind for the input `motion`.
        arguments: of the output itself.

    Raises:
        UserError: files that cannot be used, options that do not go together, or an address that
            cannot be listened on.
    """
    check_ranges(given)
    check_ranges(wanted)
    if arguments and not OUTPUTS[output].arguments:
        raise UserError(f"--out {output}: nothing can follow --to; leave it away")
    if output == "websocket" and wanted.send == MESSAGES and source not in PROTOCOLS:
        raise UserError(f"--in {source}: has no coefficients to send; use --send jpeg or raw")
    run = _run(folder, source, output, given, wanted, sound, motion, arguments)
    number = asyncio.run(run)
    if number:  # the command's own handler says that it was stopped
        os.kill(os.getpid(), number)


async def _run(
    folder: Path,
    source: str,
    output: str,
    given: InputOptions,
    wanted: OutputOptions,
    sound: str | None,
    motion: tuple[Path | None, str | None],
    arguments: Sequence[str],
) -> int:
    """Build the parts and run them; within the event loop, because they own sockets."""
    entry = OUTPUTS[output]
    if output == "websocket" and wanted.send == MESSAGES:
        model = model_folder(folder)
        require_arkit_head("", HeadModel.load(packed_head(model, read_metadata(model))))
        made = _phone(source, given, None)
        target = _loaded(entry)(wanted, (0, 0), arguments)
        return await Session(made, target, wanted.fps).run()
    avatar = load_avatar(folder)
    subject = _subject(avatar)
    renderer = LiveRenderer(avatar, subject.track, wanted.height, _color(wanted.background))
    if source in PROTOCOLS:
        made = _phone(source, given, LiveDriver(avatar, subject, given.face, given.still))
    elif source == SPEAKER:
        if sound is None:
            raise UserError("--in speaker: give the sound with --sound, - for standard input")
        made = SpeakerSource(avatar, sound, subject.track.fps)
    else:
        path, kind = motion
        if path is None or kind is None:
            raise UserError("--in motion: give the file with --motion, and what it is with --kind")
        made = MotionSource(path, kind, avatar, subject, given)
    target = _loaded(entry)(wanted, (renderer.width, renderer.height), arguments)
    rest = resting(avatar, subject)
    return await Session(made, target, wanted.fps, entry.steady, renderer, rest).run()


def _loaded(entry: Output) -> type:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise UserError("aiohttp is not installed: pip install 'headsplat[live]'") from error


def _phone(source: str, given: InputOptions, driver: LiveDriver | None) -> PhoneSource:
    protocol = PROTOCOLS[source]
    return PhoneSource(protocol, given, Performer(protocol, given), driver)


def _subject(avatar: Avatar) -> DrivenSubject:
    track = read_track(avatar.folder / TRACK_FILE, avatar.head)
    shape, limit = avatar.shape.detach().cpu(), avatar.deformation.code_limit
    return DrivenSubject.from_track("the track", avatar.head, shape, track, limit)


def _color(text: str) -> tuple[float, float, float]:
    color = Look(text).color
    if color is None:
        raise UserError(f"--background '{shown(text)}': use white or #rrggbb")
    return color
