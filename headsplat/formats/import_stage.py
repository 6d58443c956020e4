"""The import stage: outputs of detection, crop and tracking from another tool's folder."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from headsplat.formats.importing.clip import ImportedClip, ImportOptions
from headsplat.formats.importing.record import ImportRecord
from headsplat.formats.importing.window import square_window
from headsplat.formats.registry import ALPHA, FORMATS, PARSING
from headsplat.frames.crop import Crop
from headsplat.frames.table import FrameRow, write_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_npy, write_npz
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.track import Track, write_track
from headsplat.tracking.observations import POINTS
from headsplat.video.info import VideoInfo
from headsplat.video.timeline import FPS


@dataclass(frozen=True)
class Outputs:
    """Output files of one subject, in place of detection, crop and tracking."""

    record: Path
    track: Path
    identity: Path
    crop: Path
    frames: Path
    info: Path
    landmarks: Path


def import_track(
    kind: str, folder: Path, options: ImportOptions, size: int, outputs: Outputs
) -> None:
    """Read a folder of another tool and publish all outputs but the packed images.

    Landmarks are written as NaN; later stages then use the mesh.

    Args:
        kind: a key of `headsplat.formats.registry.FORMATS`.
        folder: path given by the user.
        options: of the import.
        size: side of the square images that later stages see.
        outputs: files to write.

    Raises:
        UserError: the folder is invalid; one line.
    """
    torch.set_num_threads(available_threads())
    clip = FORMATS[kind].load()(folder, options)
    _check(clip, kind, folder)
    for note in clip.notes:
        log.info("note: %s", note)
    window = square_window(options.head, clip.track, size)
    track = replace(
        clip.track,
        K=window.intrinsics(np.asarray(clip.track.K, np.float64)),
        img_size=np.array([size, size]),
    )
    ids = [int(i) for i in track.ids]
    log.info(
        "%s: %d frames, ids %d to %d, window %d px at (%d, %d) of %d x %d -> %d px",
        kind, len(ids), ids[0], ids[-1], window.side, window.x0, window.y0,
        window.source_width, window.source_height, size,
    )  # fmt: skip
    window.save(outputs.crop)
    write_frames(outputs.frames, _table(track))
    _info(folder, window, ids).save(outputs.info)
    write_npz(
        outputs.landmarks,
        ids=np.array(ids, np.int32),
        points=np.full((len(ids), POINTS, 3), np.nan, np.float32),
        status=np.asarray(track.status),
        confidence=np.zeros(len(ids), np.float32),
        time=(np.array(ids) - 1) / FPS,
    )
    write_npy(outputs.identity, np.asarray(track.shape, dtype=np.float32))
    write_track(outputs.track, track)
    ImportRecord.from_clip(kind, folder, clip).save(outputs.record)


def _check(clip: ImportedClip, kind: str, folder: Path) -> None:
    """Check the result of a reader."""
    ids = np.asarray(clip.track.ids)
    if not len(ids):
        raise UserError(f"{folder}: no frames; give the folder of a tracked clip")
    if ids[0] < 1 or (np.diff(ids) <= 0).any():
        raise ValueError(f"{kind}: ids are not ascending from 1: {ids[:5]}")
    brought = FORMATS[kind].brings(folder)
    behind = np.asarray(clip.track.t)[:, 2] <= 0
    if behind.any():
        raise UserError(
            f"{folder}: the head lies behind the camera in {behind.sum()} frames, first in frame "
            f"{ids[behind.argmax()]}; give a clip whose cameras see the head"
        )
    wanted = {
        "images": True, "alpha": ALPHA in brought, "head_mask": PARSING in brought,
        "mouth_mask": PARSING in brought,
    }  # fmt: skip
    for part, there in wanted.items():
        have = set(getattr(clip, part))
        if have != (set(ids.tolist()) if there else set()):
            raise ValueError(f"{kind}: {part} for {len(have)} frames, the track has {len(ids)}")


def _table(track: Track) -> list[FrameRow]:
    columns = zip(track.ids, track.status, track.confidence, strict=True)
    return [FrameRow(int(i), (int(i) - 1) / FPS, str(s), float(c), 1) for i, s, c in columns]


def _info(folder: Path, window: Crop, ids: list[int]) -> VideoInfo:
    """`VideoInfo` for a clip without a video."""
    return VideoInfo(
        path=str(folder),
        bytes=0,
        sha256="",
        width=window.source_width,
        height=window.source_height,
        rotation=0,
        source_fps=Fraction(FPS),
        n_source=len(ids),
        n_undecodable=0,
        n_frames=len(ids),
        duration=len(ids) / FPS,
        pts=[i - 1 for i in ids],
        keyframes=[],
        undecodable=[],
        time_base=Fraction(1, FPS),
        audio=None,
        hdr=False,
    )


class FaceDetector:
    """Finds the face of an image; images are independent of one another."""

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB -> (478, 3) MediaPipe points in its pixels, or None."""
        from headsplat.detect.tracker import find_face

        return find_face(self._models, image)

    @cached_property
    def _models(self):
        # Loaded lazily, because only some imports need it.
        from headsplat.detect.mediapipe_models import FaceModels

        return FaceModels()
