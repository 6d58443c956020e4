"""Key facts of a file or folder: avatar, track, head model, `.frame` or video."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError, shown

Rows = list[tuple[str, str]]
_KINDS = "an avatar's folder, a track or head model (.npz), a .frame or a video"


def describe(path: Path) -> Rows:
    """(name, value) rows of key facts; the first row is the kind of file.

    Raises:
        UserError: it does not exist, is damaged, or is of an unknown kind.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check its path")
    read = _folder if path.is_dir() else _OF_SUFFIX.get(path.suffix.lower(), _video)
    return [(name, shown(value, 200)) for name, value in read(path)]


def _folder(path: Path) -> Rows:
    frames = sorted(path.glob("*.frame"))
    if frames:
        _, *rest = _frame(frames[0])
        return [("what", f"{len(frames)} .frame files; of the first, {frames[0].name}:"), *rest]
    from headsplat.avatar_files import model_folder  # loads PyTorch

    return _avatar(model_folder(path))


def _avatar(folder: Path) -> Rows:
    from headsplat.avatar_files import read_metadata

    facts = read_metadata(folder)
    head = f"{facts['head_name']} {facts['head_version']} ({facts['head_licence']})"
    try:
        rows = [
            ("what", f"avatar in {folder}"),
            ("model", f"{facts['model']}, {facts['gaussians']} Gaussians"),
            *([("torso", f"{facts['torso']} Gaussians")] if facts["torso"] else []),
            ("head", f"{head}, codes of {facts['condition_size']} numbers"),
            *_training(facts["training"]),
        ]
    except (KeyError, TypeError, ValueError) as error:
        what = f"{folder}/avatar.json: a fact is missing or broken ({shown(str(error))})"
        raise UserError(f"{what}; train the avatar again") from error
    files = sorted(file.name for file in folder.iterdir() if file.is_file())
    rows.append(("files", ", ".join(files)))
    return rows + _measured(folder.parent / "metrics.json")


def _training(facts: Mapping[str, Any]) -> Rows:
    """Training summary; empty for an imported avatar."""
    if "steps" not in facts:
        return []
    height, width = facts["size"]
    said = f"{facts['steps']} steps on {facts['frames']} frames of {width} x {height} pixels"
    return [("training", f"{said}, {facts['seconds']:.0f} s on {facts['device_name']}")]


def _measured(path: Path) -> Rows:
    """Metrics of held-out frames, if `metrics.json` is beside the avatar."""
    try:
        metrics: dict[str, Any] = json.loads(path.read_text())
        return [
            ("held-out frames",
             f"PSNR {metrics['psnr_head']:.1f} dB, SSIM {metrics['ssim_head']:.3f} of the head"),
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _arrays(path: Path) -> Rows:
    from headsplat.runtime.npz import Npz
    from headsplat.runtime.storage import unreadable
    from headsplat.runtime.zips import BROKEN

    try:
        with Npz(path) as archive:
            names = set(archive.names)
    except BROKEN as error:
        what = "not an .npz that can be read"
        raise unreadable(error, path, what, "copy it again or remake it") from error
    if "head_R" in names:
        return _track(path)
    if "template" in names:
        return _head(path)
    raise UserError(f"{path}: an .npz of neither a track nor a head model; give {_KINDS}")


def _track(path: Path) -> Rows:
    from headsplat.track import read_track

    track = read_track(path)
    count, (height, width) = len(track.ids), track.img_size.tolist()
    status = ", ".join(f"{n} {name}" for name, n in Counter(track.status.tolist()).most_common())
    span = f", ids {track.ids.min()} to {track.ids.max()}" if count else ""
    rows = [
        ("what", "track"),
        ("head", f"{track.head_name} {track.head_version} ({track.head_licence})"),
        ("frames", f"{count}{span}, {count / track.fps:.1f} s at {track.fps:g} frames/s"),
        ("status", status),
        ("images", f"{width} x {height} pixels, focal length {track.K[0, 0]:.0f}"),
        ("codes", f"{track.shape.size} identity, {track.exp.shape[1]} expression, jaw, eyes, lids"
                  + ("" if track.neck is None else ", neck")
                  + ("" if track.trunk_R is None else ", trunk")),
    ]  # fmt: skip
    seen = track.residual_iod[np.isfinite(track.residual_iod)]
    if seen.size:
        residual = f"{100 * np.median(seen):.2f} % of the inter-ocular distance (median)"
        rows.append(("landmark residual", residual))
    return rows


def _head(path: Path) -> Rows:
    from headsplat.heads.model import HeadModel

    head = HeadModel.load(path)
    extent = 100 * np.ptp(head.template, axis=0)
    return [
        ("what", "head model"),
        ("head", f"{head.name} {head.version} ({head.licence})"),
        ("mesh", f"{len(head.template)} vertices, {len(head.faces)} triangles, "
                 + " x ".join(f"{side:.0f}" for side in extent) + " cm"),
        ("codes", f"{len(head.shape_std)} identity, {len(head.expression_std)} expression"),
        ("also", ", ".join(
            [f"{len(head.regions)} regions"]
            + [what for what, value in (("pose correctives", head.pose_basis),
                                        ("albedo", head.albedo)) if value is not None])),
    ]  # fmt: skip


def _frame(path: Path) -> Rows:
    from headsplat.formats.frame import read_frame

    frame = read_frame(path)
    height, width = (int(side) for side in frame["img_size"])
    flame = frame["flame"]
    used = [f"{np.count_nonzero(flame[name])} of {flame[name].size} {what}"
            for name, what in (("shape", "identity"), ("exp", "expression"))]  # fmt: skip
    distance = float(np.linalg.norm(frame["opencv"]["t"]))
    return [
        ("what", ".frame of metrical-tracker's layout"),
        ("image", f"{width} x {height} pixels, focal length {frame['opencv']['K'][0, 0, 0]:.0f}"),
        ("codes", f"nonzero: {', '.join(used)}"),
        ("camera", f"{distance:.2f} m from the head"),
    ]


def _video(path: Path) -> Rows:
    from headsplat.video.container import main_video, open_media

    with open_media(path) as media:
        video = main_video(media, path)
        context, rate = video.codec_context, video.average_rate
        seconds = (media.duration or 0) / 1e6
        rows = [
            ("what", f"video ({media.format.long_name})"),
            ("images", f"{context.width} x {context.height} pixels, {context.codec.name}"
                       + (f", {float(rate):.2f} a second" if rate else "")),
            ("length", f"{seconds:.1f} s" if seconds else "not said by the file"),
        ]  # fmt: skip
        sounds = [f"{sound.codec_context.name}, {sound.codec_context.sample_rate} Hz"
                  for sound in media.streams.audio if sound.codec_context is not None]  # fmt: skip
    return [*rows, ("sound", "; ".join(sounds) or "none")]


_OF_SUFFIX: dict[str, Callable[[Path], Rows]] = {".npz": _arrays, ".frame": _frame}
