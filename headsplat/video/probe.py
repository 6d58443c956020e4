"""Reading a video once from end to end, so that later stages know exactly what is in it."""

import logging
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from headsplat.runtime.errors import UserError
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.process import available_threads
from headsplat.video.color import UNSPECIFIED, Colors, RgbConverter
from headsplat.video.container import BARE, MAX_PIXELS, count_videos
from headsplat.video.decode import open_video
from headsplat.video.info import VideoInfo
from headsplat.video.scan import Scan, Times, scan_video
from headsplat.video.shown import Shape
from headsplat.video.sound import sound_tracks
from headsplat.video.timeline import PAUSE, lay_timeline

log = logging.getLogger(__name__)
SHORTEST = 2  # seconds; less cannot show a head from enough sides
SPARSEST = Fraction(1, 2)  # seconds between images; a face cannot be followed over more
WHOLE_FILE = 0.7  # share of a file behind whose images only sound or an index should follow
SMALLEST = 64  # pixels of the shorter side; no face is seen in less
DOLBY_VISION = ("dvh1", "dvhe", "dvav", "dva1", "dav1")
IPT = 15  # AVColorSpace of Dolby Vision without a base that others can show
# AVColorSpace of YCgCo, YDzDx, derived chroma and ICtCp, which would be read as something else.
NOT_READ = (8, 11, 12, 13, 14, 16, 17)


def probe_video(path: Path | str, out: Path | str) -> VideoInfo:
    """Decode the whole video once and publish what was found as `video.json`.

    Images that are in the file but do not decode are listed; undecodable images at the
    end (a file cut off by a crash or an incomplete download) only shorten the clip.

    Raises:
        UserError: no such file, not a video, no video stream, no times, less than two seconds
            that decode, images that cannot be shown, or the file changed meanwhile.
    """
    before = _stamp(path)
    # One damaged image can take its neighbors with it when several threads decode.
    for threads in (available_threads(), 1):
        with open_video(path, threads, strict=True) as (container, stream):
            scan = scan_video(container, stream)
            declared, aspect = stream.frames, stream.sample_aspect_ratio
            tag = stream.codec_context.codec_tag
            sound = _sound(container, path)
            if container.format.name in BARE:
                scan.log.forget_times()
            times, time_base = _times(path, scan, stream)
            # Other containers keep images, sound and index in parts of the file of their own.
            one_by_one = not container.format.name.startswith("mov")
        if times and not times.damaged:
            break
    if times is None:
        raise UserError(
            f"{path}: no image of the video can be decoded: it is damaged, or its images are too "
            "large; give another file"
        )
    step = times.pieces.step * time_base
    if step > SPARSEST:
        raise UserError(
            f"{path}: an image every {float(step):.1f} s; at least {1 / SPARSEST} images a second "
            "are needed; give another video"
        )
    last = times.last_duration(scan.final_duration, PAUSE / time_base)
    timeline = lay_timeline(times.ticks, times.damaged, last, time_base)
    count = len(scan.images)
    total = max(declared - len(scan.log.hidden), count + len(times.damaged))
    if timeline.duration < SHORTEST:
        raise UserError(
            f"{path}: {float(timeline.duration):.2f} s of video can be decoded "
            f"({count} of {total} images), at least {SHORTEST} s are needed; "
            "give a longer or an undamaged file"
        )
    _check_colors(path, scan, tag)
    lost = total - count
    if lost:
        log.warning("%s: %d of %d images do not decode", path, lost, total)
    main = max(scan.shapes, key=scan.shapes.__getitem__)
    width, height = _size(path, main, aspect)
    _tell(path, scan, times, main)
    _check_whole(path, scan, one_by_one)
    info = VideoInfo(
        path=str(path),
        bytes=Path(path).stat().st_size,
        sha256=file_digest(path),
        width=width,
        height=height,
        rotation=main.orientation.rotation,
        source_fps=Fraction(count) / timeline.duration,
        n_source=count,
        n_undecodable=lost,
        n_frames=len(timeline.images),
        duration=float(timeline.duration),
        pts=[times.stamps[image][1] for image in timeline.images],
        keyframes=scan.keyframes,
        undecodable=timeline.undecodable,
        time_base=time_base,
        audio=sound,
        hdr=scan.colors.hdr,
        images=timeline.images,
        packets=scan.images,
        fields=scan.fields,
    )
    if _stamp(path) != before:
        raise UserError(f"{path}: changed while it was read; let it be whole, and run again")
    info.save(Path(out))
    return info


def _times(path: Path | str, scan: Scan, stream: VideoStream) -> tuple[Times | None, Fraction]:
    """Times of a scan and their unit; the stream's own rate where the file has no stamps."""
    if not scan.images:
        return None, stream.time_base
    stamps = {scan.log.stamps[number] for number in scan.images}
    if None not in stamps and (len(stamps) > 1 or len(scan.images) == 1):
        return Times(scan, stream.time_base), stream.time_base
    rate = _declared_rate(stream)
    if rate is None:
        raise UserError(
            f"{path}: its images have no time stamps, and the stream does not say its rate; wrap "
            "it with the rate of the recording: ffmpeg -framerate RATE -i FILE -c copy clip.mp4"
        )
    log.warning(
        "%s: its images have no time stamps; taken as %.2f images a second, as the stream says",
        path,
        float(rate),
    )
    scan.log.count_times(scan.images)
    return Times(scan, 1 / rate), 1 / rate


def _declared_rate(stream: VideoStream) -> Fraction | None:
    """Images a second that the coded stream declares of itself."""
    rate = stream.codec_context.framerate
    return rate if rate and 1 <= rate <= 1000 else None


def _sound(container: InputContainer, path: Path | str) -> dict[str, int] | None:
    tracks = sound_tracks(container, path)
    return {"sample_rate": tracks[0].rate, "channels": tracks[0].channels} if tracks else None


def _check_whole(path: Path | str, scan: Scan, one_by_one: bool) -> None:
    if not one_by_one:
        videos = count_videos(path)
        if videos > 1:
            raise UserError(
                f"{path}: {videos} videos one behind the other, of which only the first would be "
                "read; join them with ffmpeg's concat"
            )
        return
    share = scan.end / Path(path).stat().st_size
    if share < WHOLE_FILE:
        log.warning(
            "%s: its images end at %d %% of the file; if it was joined of several files, join them "
            "with ffmpeg's concat instead",
            path,
            100 * share,
        )


def _check_colors(path: Path | str, scan: Scan, tag: str) -> None:
    colors = scan.colors
    enhanced = tag in DOLBY_VISION or scan.sample.side_data.get("DOVI_METADATA") is not None
    if colors.matrix == IPT or (enhanced and colors.transfer == UNSPECIFIED):
        raise UserError(
            f"{path}: Dolby Vision without a fallback (profile 5), which is not read; record as "
            "HLG, HDR10 or SDR, or convert it"
        )
    if colors.matrix in NOT_READ:
        raise UserError(
            f"{path}: its colors are coded by a rare matrix (number {int(colors.matrix)} of "
            "ITU-T H.273), which is not read; convert the video to H.264"
        )
    try:
        RgbConverter(False, Colors())(scan.sample, 16, 16)
    except (ValueError, av.error.FFmpegError) as error:
        raise UserError(
            f"{path}: images of the format {scan.sample.format.name} cannot be read; convert the "
            "video to H.264"
        ) from error


def _size(path: Path | str, shape: Shape, aspect: Fraction | None) -> tuple[int, int]:
    width, height = shape.shown(aspect)
    if min(width, height) < SMALLEST or width * height > MAX_PIXELS:
        raise UserError(
            f"{path}: images of {width} x {height} pixels; at least {SMALLEST} x {SMALLEST} and at "
            f"most {MAX_PIXELS >> 20} megapixels can be used"
        )
    return width, height


def _tell(path: Path | str, scan: Scan, times: Times, main: Shape) -> None:
    """Log what is done to a video that is not plain."""
    conversion = scan.colors.conversion()
    if conversion:
        log.info("%s: %s", path, conversion)
    if scan.fields:
        log.info("%s: interlaced (%s), deinterlaced by bwdif", path, scan.fields)
    pauses = times.pieces.pauses()
    if pauses:
        log.warning(
            "%s: %d stretches of more than %d s without an image are cut out, %.0f s in all, the "
            "first at %.2f s",
            path,
            len(pauses),
            PAUSE,
            sum(length for _, length in pauses),
            pauses[0][0],
        )
    if times.pieces.recordings() > 1:
        log.warning(
            "%s: %d recordings that follow each other, taken as one",
            path,
            times.pieces.recordings(),
        )
    if len(scan.turns) > 1:
        number, shape = scan.turns[1]
        log.warning(
            "%s: the images change their size or turn %d times, first at %.2f s to %d x %d; all "
            "are fitted into %d x %d",
            path,
            len(scan.turns) - 1,
            float((times.ticks[number] - times.ticks[0]) * times.pieces.time_base),
            shape.width,
            shape.height,
            main.width,
            main.height,
        )


def _stamp(path: Path | str) -> tuple[int, int, int] | None:
    """What tells that a file was written to or replaced; None if there is none."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino
