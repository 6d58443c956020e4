"""The whole pipeline in one process: track, train, evaluate and drive, without Snakemake.

Stages and their order equal those of the workflow. Folders have the layouts of `work/<subject>` and
`results/<subject>/avatar`, so outputs of the workflow can be used here.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import TRACK_FILE, load_avatar, model_folder, read_metadata
from headsplat.avatar_video import require_no_folder
from headsplat.clip_folder import ClipFolder, look_files, make_missing, required_file
from headsplat.detect.chunk import detect_chunk
from headsplat.detect.solve import solve_crop
from headsplat.drive import run as drive
from headsplat.drive.face_options import frame_numbers
from headsplat.drive.kinds import (
    AMPLITUDES,
    AUTO,
    DRIVER,
    FACES,
    HEAD_MOTIONS,
    KINDS,
    RELATIVE,
    MotionOptions,
)
from headsplat.drive.look import Look
from headsplat.evaluate import run as evaluate
from headsplat.evaluate.split import split_frames
from headsplat.frames.table import read_frames
from headsplat.heads.packed import packed_head
from headsplat.masks.matte import matte_chunk
from headsplat.masks.matting_models import MatteOptions
from headsplat.masks.parse import parse_chunk
from headsplat.masks.steady_cut import decide_cut
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.fingerprint import file_digest, fingerprint
from headsplat.runtime.release import installed_version
from headsplat.speech.personal import voice_beside
from headsplat.speech.voices import PERSONAL
from headsplat.track import Track, read_track
from headsplat.tracking.photometric.publish import NEVER
from headsplat.tracking.photometric.run import refine_track
from headsplat.tracking.run import track_head
from headsplat.train import run as train
from headsplat.train.options import train_options
from headsplat.video.crop import crop_chunk
from headsplat.video.info import VideoInfo
from headsplat.video.probe import probe_video

# Frames per chunk, the unit of resuming.
CHUNK = 1500
CACHE_MIB, GPU_PERCENT = 1500, 50
MATTE = MatteOptions()


def track_video(
    video: Path | str,
    head: Path | str,
    out: Path | str,
    size: int = 512,
    photometric: str = "auto",
    device: str = "auto",
) -> Track:
    """Track the head in a video, and prepare its images and masks for training.

    Probe, detect, crop, matte, track, refine, parse, split. Existing files are kept, so a repeated
    call resumes.

    Args:
        video: video of one talking person, at least two seconds.
        head: head model `.npz`.
        out: the clip's folder to write.
        size: side of the square crops in pixels.
        photometric: photometric refinement of the track: "auto" if it lowers the error on held-out
            skin, "always" or "never".
        device: device of the refinement, "auto", "cpu" or "cuda".

    Returns:
        The track: N frames at 25 a second.

    Raises:
        UserError: the video cannot be used, or the folder holds another clip.
    """
    video, head, clip = Path(video), Path(head), ClipFolder(Path(out))
    if photometric not in ("auto", "always", NEVER):
        raise UserError(f"photometric '{shown(photometric)}': use auto, always or never")
    clip.claim({
        "video": fingerprint(required_file(video)), "head": file_digest(required_file(head)),
        "size": size, "photometric": photometric,
    })  # fmt: skip
    with _threads_restored():
        make_missing("probe", [clip.info], probe_video, video, clip.info)
        count = max(1, VideoInfo.load(clip.info).n_frames // CHUNK)
        faces = clip.chunks("landmarks", count, ".npz")
        frames, alpha, parsing = (clip.chunks(n, count) for n in ("frames", "alpha", "parsing"))
        for k in range(count):
            make_missing("detect", [faces[k]], detect_chunk, video, clip.info, k, count, faces[k])
        solved = [clip.crop, clip.table, clip.landmarks]
        make_missing("crop", solved, solve_crop, clip.info, faces, *solved, size)
        for k in range(count):
            cut = (video, clip.info, clip.crop, k, count, frames[k])
            make_missing("crop images", [frames[k]], crop_chunk, *cut)
        for k in range(count):
            near = frames[max(0, k - 1) : k + 1]
            matte = (near, f"{k:03d}", alpha[k], "auto", MATTE.edge_radius, MATTE.temporal_window)
            make_missing("matte", [alpha[k]], matte_chunk, *matte, None, frames)
        seen = (clip.landmarks, clip.crop, clip.table)
        first = [clip.landmark_track, clip.landmark_identity]
        make_missing("track", first, track_head, head, *seen, *first)
        last = [clip.track, clip.identity, clip.verdict]
        images = (frames, alpha)
        refine = (head, first[0], *seen, *images, *last, None, photometric, None, device)
        make_missing("refine", last, refine_track, *refine)
        cut = (head, clip.track, frames, alpha, clip.cut)
        make_missing("decide the cut", [clip.cut], decide_cut, *cut)
        for k in range(count):
            images = (frames[k], alpha[k], clip.landmarks, clip.crop, clip.cut)
            parse = (head, clip.track, *images, parsing[k])
            make_missing("parse", [parsing[k]], parse_chunk, *parse)
        make_missing("split", [clip.split], _split, clip)
    return read_track(clip.track)


def train_avatar(
    clip: Path | str,
    head: Path | str,
    out: Path | str,
    assets: Path | str = "assets",
    device: str = "auto",
    **options: Any,
) -> Avatar:
    """Train an avatar on a clip; a repeated call resumes.

    Args:
        clip: folder written by `track_video` or the workflow, `work/<subject>`.
        head: the head model `.npz` that the clip was tracked with.
        out: the avatar's folder; the model is written to `model` in it.
        assets: folder where the weights of LPIPS may lie.
        device: "auto", "cpu" or "cuda".
        options: options of training, and of the deformation model, such as `steps=1000`.

    Raises:
        UserError: an option is unknown or out of its range, or the inputs cannot be used.
    """
    files, model = ClipFolder(Path(clip)), Path(out, "model")
    scratch = files.scratch("train_avatar")
    chosen = train_options(**options)
    chosen.check()
    images = [files.zips(stage) for stage in ("frames", "alpha", "parsing")]
    with _threads_restored():
        train.train_avatar(
            Path(head), files.track, files.split, *images, scratch, model, chosen, Path(assets),
            device, CACHE_MIB, GPU_PERCENT, installed_version(),
        )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)
    return load_avatar(model, device=device)


def evaluate_avatar(
    avatar: Path | str, clip: Path | str, assets: Path | str = "assets"
) -> dict[str, Any]:
    """Evaluate an avatar on the held-out frames of its clip.

    Writes `metrics.json` and `test.mp4` (ground truth beside render) beside the avatar's model, and
    `evaluation.npz` into the clip's folder.

    Args:
        avatar: folder that `train_avatar` wrote.
        clip: folder of its clip.
        assets: folder where the weights of LPIPS may lie.

    Returns:
        Content of `metrics.json`: `psnr_head` in dB, `ssim_head`, `fps_batched` and others.

    Raises:
        UserError: the inputs cannot be used or do not belong together.
    """
    files, model = ClipFolder(Path(clip)), model_folder(avatar)
    scratch = files.scratch("evaluate_avatar")
    video = Path(VideoInfo.load(files.info).path)
    images = [files.zips(stage) for stage in ("frames", "alpha", "parsing")]
    metrics = model.parent / "metrics.json"
    with _threads_restored():
        evaluate.evaluate_avatar(
            model, packed_head(model, read_metadata(model)), files.track, files.split, *images,
            video if video.is_file() else None, Path(assets), scratch, metrics, files.evaluation,
            model.parent / "test.mp4", installed_version(),
        )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)
    return read_json(metrics)


def drive_avatar(
    avatar: Path | str,
    motion: Path | str,
    out: Path | str,
    kind: str,
    head_motion: str = RELATIVE,
    blinks: bool = True,
    audio: Path | str | None = None,
    face: str = RELATIVE,
    amplitude: str = DRIVER,
    neutral: Sequence[int] = (),
    subject_neutral: Sequence[int] = (),
    voice: str = AUTO,
    voice_file: Path | str | None = None,
    transcript: Path | str | None = None,
    background: str = AUTO,
    body: str = AUTO,
    still_frame: int = 0,
    clip: Path | str | None = None,
) -> None:
    """Render a video of an avatar driven by a motion; a repeated call resumes.

    Args:
        avatar: folder of the trained avatar.
        motion: file of the motion.
        out: video to write: `.mp4`, or with an alpha channel `.mov`, `.webm` or `.png.zip`.
        kind: format of the motion: "track" (`track.npz` of another clip), "arkit" (table of Live
            Link Face), "diffposetalk" (`.npz`) or "speech" (any sound).
        head_motion: "relative" applies head turns relative to the mean poses, "absolute" as
            recorded, "still" none.
        blinks: add procedural blinks to a DiffPoseTalk motion.
        audio: file with sound that starts with the motion; for "speech" the motion itself by
            default.
        face: of "track" and "arkit": "relative" adds the driver's differences from their neutral
            face to the avatar's neutral face, "absolute" takes the driver's codes. This and the
            following are of "relative" only.
        amplitude: of the expressions, the "driver" one's, or scaled to those that the avatar's clip
            shows ("subject").
        neutral: numbers of the motion's neutral frames; by default they are found.
        subject_neutral: the same of the avatar's clip.
        voice: of "speech": a key of `headsplat.speech.voices.VOICES`, or "auto": the learned voice,
            else phones. This and the following are of "speech" only.
        voice_file: the voice's file or folder; by default the `voice.npz` that the workflow wrote
            beside the avatar.
        transcript: text file with the words of the sound.
        background: "white", "#rrggbb", "own" (the clip's without the person), "transparent" or an
            image file; "auto" is white in an mp4 and transparent in other formats.
        body: "head", "torso" (the avatar's own) or "paste" (the head is laid over the clip's
            images); "auto" is the torso where the avatar has one.
        still_frame: of "paste": id of the one image of the clip that the head is laid over; 0 plays
            the clip.
        clip: folder of the avatar's clip, for the background "own" and for "paste".

    Raises:
        UserError: files cannot be read or do not belong together, an option does not apply, or the
            audio has no sound.
    """
    for what, value, allowed in (
        ("kind", kind, KINDS), ("head_motion", head_motion, HEAD_MOTIONS), ("face", face, FACES),
        ("amplitude", amplitude, AMPLITUDES),
    ):  # fmt: skip
        if value not in allowed:
            raise UserError(f"{what} '{shown(str(value))}': use one of {', '.join(allowed)}")
    model, out = model_folder(avatar), Path(out)
    if KINDS[kind].speech:
        audio = audio or motion
        if voice in (AUTO, PERSONAL):
            voice_file = voice_file or voice_beside(model)
    elif voice != AUTO or voice_file or transcript:
        raise UserError(f"{kind} motions have no voice; leave voice and transcript out")
    require_no_folder(out)
    scratch = out.with_name(f".{out.stem}.parts")
    look = Look(str(background), body, still_frame)
    files = look_files(look.resolved(out), clip)
    head = packed_head(model, read_metadata(model))
    options = MotionOptions(
        head_motion, blinks, face, amplitude,
        *(frame_numbers(",".join(map(str, frames))) for frames in (neutral, subject_neutral)),
        voice, *(None if file is None else Path(file) for file in (voice_file, transcript)),
    )  # fmt: skip
    drive.drive_avatar(
        model, head, model / TRACK_FILE, required_file(Path(motion)), kind, options,
        None if audio is None else Path(audio), scratch, out, installed_version(), look, files,
    )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)


def _split(clip: ClipFolder) -> None:
    write_json(clip.split, split_frames(read_frames(clip.table)))


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Restore PyTorch's number of threads, which stages change."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
