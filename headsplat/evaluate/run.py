"""The stage `evaluate_avatar`: metrics, report arrays and comparison video of an avatar."""

from collections.abc import Sequence
from pathlib import Path

from headsplat.avatar_files import load_avatar
from headsplat.evaluate.evaluation import evaluate
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import read_json, write_json, write_npz
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track
from headsplat.train.dataset import ImageReader
from headsplat.train.lpips import load_lpips
from headsplat.video.sound import read_sound
from headsplat.video.timeline import FPS


def evaluate_avatar(
    avatar: Path,
    head_path: Path,
    track_path: Path,
    split_path: Path,
    frames: Sequence[Path],
    alpha: Sequence[Path],
    parsing: Sequence[Path],
    video: Path | None,
    assets: Path,
    scratch_root: Path,
    metrics_out: Path,
    evaluation_out: Path,
    video_out: Path,
    code: str,
) -> None:
    """Measure an avatar on held-out frames; render the whole clip beside the ground truth.

    Args:
        avatar: folder of the trained avatar.
        head_path: its head model.
        track_path: `track.npz` of the clip.
        split_path: `split.json`.
        frames: packed crops.
        alpha: packed mattes.
        parsing: packed head and mouth masks.
        video: the source, for its sound, or None.
        assets: folder where LPIPS weights may lie.
        scratch_root: folder of resumable state.
        metrics_out: `metrics.json` to write.
        evaluation_out: `evaluation.npz` to write, for the report.
        video_out: mp4 to write.
        code: version of the code, part of the key of the state.

    Raises:
        UserError: an input cannot be used, or they do not belong together.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    device = serving_device("auto")
    trained, lpips = load_avatar(avatar, head, device), load_lpips(assets, device)
    reader = ImageReader(frames, alpha, parsing, track.width, track.height)
    split = read_json(split_path)
    sound = read_sound(video, max(track.ids) / FPS) if video else None
    status = dict(zip(track.ids.tolist(), track.status.tolist(), strict=True))
    unused = {frame: status[frame].replace("_", " ") for frame in split["unusable"]}
    inputs = [*sorted(path for path in avatar.iterdir() if path.is_file()), head_path]
    inputs += [track_path, split_path, *frames, *alpha, *parsing]
    parameters = {"lpips_used": lpips is not None, "device": device.type}
    scratch = Scratch(scratch_root, state_key(inputs, parameters, code))
    metrics, arrays = evaluate(
        trained, track, reader, split, unused, sound, video_out, lpips, scratch.folder
    )
    write_npz(evaluation_out, **arrays)
    write_json(metrics_out, metrics)
    scratch.clear()
