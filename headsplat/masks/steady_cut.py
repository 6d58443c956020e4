"""Where head and neck end and clothes begin, decided once per clip on the trunk.

A sample of the clip's frames votes: in each, matte, colors and projected mesh separate head, hair
and neck from clothes (`headsplat.masks.neck_cut`). The votes are counted in the view that stays
with the trunk, where clothes do not move. Their majority, smoothed, is the clip's line. Hair that
falls over the clothes is no clothing; where it was seen, each frame decides what it covers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore, require_same_ids
from headsplat.heads.model import HeadModel
from headsplat.masks.nearest import filled_from_nearest
from headsplat.masks.neck_cut import split_person
from headsplat.masks.projected_head import HEAD, HeadProjector
from headsplat.masks.trunk_view import TrunkView
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# Frames that vote.
SAMPLE = 60
# Over the head's size: smoothing of the line and of the votes, and reach of the stored distance.
SMOOTH, VOTE_BLUR, REACH = 0.05, 0.012, 0.4
# Votes below which a place counts as not seen, and the share of clothes above which it is clothes.
LEAST_VOTES, MAJORITY = 1.5, 0.5
# Half width of the masks' soft edge, over the head's size.
FEATHER = 0.012
# Share of a sample in which hair must be seen at a place, so that each frame decides there.
HAIR_SHARE = 0.25
# Dimensions and kinds of type; bounds of a view's side, and of all numbers: pixels or ids.
_ARRAYS = {"distance": (2, "fiu"), "hair": (2, "iu"), "reference": (0, "iu"), "size": (0, "fiu")}
_MOST_SIDE, _LARGEST = 4096, 1e9


@dataclass(frozen=True)
class SteadyCut:
    """The cut of one clip, in the view of the frame `reference`.

    Attributes:
        distance: (S, S) float32 pixels of the view from the line, positive on clothes.
        hair: (S, S) uint8, 255 where hair may cover clothes.
        reference: id of the frame.
        size: of the head in pixels of the view, root of its area.
    """

    distance: np.ndarray
    hair: np.ndarray
    reference: int
    size: float

    def save(self, path: Path) -> None:
        """Write `.npz` atomically."""
        write_npz(
            path, distance=self.distance.astype(np.float32), hair=self.hair.astype(np.uint8),
            reference=np.array(self.reference), size=np.array(self.size),
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "SteadyCut":
        """Read and check.

        Raises:
            UserError: a missing array, or one of another shape or type, or not of finite numbers.
        """
        arrays = read_npz(path, tuple(_ARRAYS))
        distance, hair = arrays["distance"], arrays["hair"]
        good = all(
            arrays[name].ndim == count
            and arrays[name].dtype.kind in kinds
            and arrays[name].size <= _MOST_SIDE**2
            and (np.abs(arrays[name].astype(np.float64)) <= _LARGEST).all()
            for name, (count, kinds) in _ARRAYS.items()
        )
        good = good and distance.shape == hair.shape and distance.shape[0] == distance.shape[1]
        if not (good and arrays["size"] >= 1):
            raise UserError(f"{path}: is not a cut; delete it, and the same command makes it again")
        distance, hair = distance.astype(np.float32), hair.astype(np.uint8)
        return cls(distance, hair, int(arrays["reference"]), float(arrays["size"]))


def decide_cut(
    head: Path, track: Path, frames: Sequence[Path], alpha: Sequence[Path], out: Path
) -> None:
    """Decide where head and neck end in one clip, and write the cut.

    Args:
        head: the head model.
        track: `track.npz`.
        frames: `frames/*.zip`.
        alpha: `alpha/*.zip`.
        out: `.npz` to write, a `SteadyCut`.

    Raises:
        UserError: a track of another head or size, or an unreadable file.
    """
    torch.set_num_threads(available_threads())
    cv2.setNumThreads(available_threads())
    model = HeadModel.load(head)
    projector, view = HeadProjector(model, track), TrunkView(model, track)
    with FrameStore(frames) as images, FrameStore(alpha) as mattes:
        ids = require_same_ids({"frames": images.ids, "alpha": mattes.ids})
        known = np.intersect1d(ids, projector.ids)
        if not len(known):
            raise UserError(f"{track}: has none of the clip's frames; track the clip again")
        chosen = np.unique(np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(int))
        votes, sizes = np.zeros((view.side, view.side, 3), np.float32), []
        sample = known[chosen].tolist()
        meshes = projector.frames(sample, view.scale)
        for frame, mesh in progress(zip(sample, meshes, strict=True), len(sample), "cut"):
            shape = mesh.parts.shape[::-1]
            planes = [decode_image(store.read(frame)) for store in (images, mattes)]
            for plane in planes:
                if plane.shape[:2] != (projector.height, projector.width):
                    raise UserError(
                        f"frame {frame}: image or matte has {plane.shape[1]} x {plane.shape[0]} "
                        f"pixels, the track {projector.width} x {projector.height}; remake the "
                        "chunks"
                    )
            small = [cv2.resize(p, shape, interpolation=cv2.INTER_AREA) for p in planes]
            found = split_person(*small, mesh)
            person = (small[1] > 127) & (mesh.parts != HEAD)
            clothes = person & ~found.hair & (found.score <= 0)
            layers = np.stack([person & ~found.hair, clothes, person & found.hair], -1)
            votes += view.seen(frame, layers)
            sizes.append(np.sqrt((mesh.parts == HEAD).sum()))
    size = max(float(np.median(sizes)), 4.0)
    cut = SteadyCut(*_line(votes, size, len(sample)), view.reference, size)
    cut.save(out)
    log.info("cut decided on %d frames; hair over clothes: %s", len(sample), bool(cut.hair.any()))


def carried_cut(
    cut: SteadyCut, view: TrunkView, frames: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The cut as each frame shows it, at working size.

    Yields the distance from the line in pixels, (H, W) float32, positive on clothes; and (H, W)
    bool, where hair may cover clothes.

    Raises:
        UserError: the cut is of another size than the view.
    """
    if cut.distance.shape != (view.side, view.side):
        raise UserError(
            f"the cut is {cut.distance.shape[0]} pixels wide, the track's view {view.side}; "
            "decide the cut again"
        )
    planes = np.stack([cut.distance, cut.hair.astype(np.float32)], -1)
    for found in view.carried(frames, planes):
        yield found[..., 0], found[..., 1] > 127


def soft_side(distance: np.ndarray, size: float) -> np.ndarray:
    """Share of the head's side, 0..1: a soft edge at the line.

    Args:
        distance: of any shape, positive on clothes.
        size: of the head, in the same pixels.
    """
    return (0.5 - distance / (2 * FEATHER * size)).clip(0, 1)


def _line(votes: np.ndarray, size: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The cut's `distance` and `hair`, each (S, S).

    Args:
        votes: (S, S, 3) number of frames that show a place as no hair, as clothes, and as hair.
        size: of the head in pixels of the view.
        count: frames that voted.
    """
    blurred = cv2.GaussianBlur(votes, (0, 0), max(VOTE_BLUR * size, 0.5))
    seen, clothes, hair = np.moveaxis(blurred, -1, 0)
    known = seen > min(LEAST_VOTES, 0.5 * count)
    share = np.where(known, clothes / np.maximum(seen, 1e-6), 0)
    share = filled_from_nearest(share.astype(np.float32), known)
    inside = _whole(cv2.GaussianBlur(share, (0, 0), SMOOTH * size) > MAJORITY)
    inner, outer = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (
        inside, ~inside))  # fmt: skip
    reach = REACH * size
    distance = cv2.GaussianBlur((inner - outer).clip(-reach, reach), (0, 0), 1.0)
    may = (hair > HAIR_SHARE * np.maximum(seen + hair, LEAST_VOTES)).astype(np.uint8) * 255
    grown = 2 * round(0.04 * size) + 1
    may = cv2.dilate(may, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
    return distance, np.where(distance > -0.05 * size, may, 0).astype(np.uint8)


def _whole(clothes: np.ndarray) -> np.ndarray:
    """Clothes that reach the lower border, without holes that do not reach the upper one."""
    _, label = cv2.connectedComponents(clothes.astype(np.uint8), connectivity=4)
    clothes = clothes & np.isin(label, np.unique(label[-1][clothes[-1]]))
    _, label = cv2.connectedComponents((~clothes).astype(np.uint8), connectivity=4)
    return ~np.isin(label, np.unique(label[0][~clothes[0]]))
