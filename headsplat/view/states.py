"""The avatar as it is now: trained, or the newest saved state of its training.

A state is read by the restricted reader of PyTorch files, and only its tensors are used. Untrained
parts of the avatar, such as its anchors, follow from the clip as in training, once per training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar, read_metadata
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.files import read_json
from headsplat.runtime.logs import log
from headsplat.runtime.pickles.placeholders import PickleError
from headsplat.runtime.pickles.torch_files import read_torch
from headsplat.track import Track, read_track
from headsplat.train.checkpoint import STATE_FILE
from headsplat.train.dataset import ImageReader
from headsplat.train.hair import hair_heights
from headsplat.train.options import TrainOptions, all_options, train_options
from headsplat.train.prepare import empty_avatar
from headsplat.view.cached import Cached, stamps
from headsplat.view.clip import track_file
from headsplat.view.files import AVATAR_FILES, SubjectFiles
from headsplat.view.mesh import head_files, head_of
from headsplat.web.container import write_payload
from headsplat.web.motions import motion_arrays
from headsplat.web.payload import avatar_payload

TRAINED, TRAINING = "trained", "training"
_KEY = "key.json"
_OWN_HEAD = "head.npz"
_DAMAGE = (PickleError, OSError, RuntimeError, LookupError, TypeError, ArithmeticError)
_DAMAGE += (ValueError, AttributeError)


@dataclass(frozen=True)
class Newest:
    """The newest avatar of a subject.

    Attributes:
        kind: `TRAINED` or `TRAINING`.
        folder: its files.
        version: text that changes with them.
    """

    kind: str
    folder: Path
    version: str


def newest(files: SubjectFiles) -> Newest | None:
    """The newest avatar, or None before the first state is saved.

    Raises:
        UserError: a link leads out of the project.
    """
    found = []
    model = files.file("model/avatar.json")
    if model is not None:
        found.append((TRAINED, model.parent, stamps([model])))
    for folder in files.listed("training"):
        state = files.inside(folder / STATE_FILE)
        if state is not None:
            found.append((TRAINING, folder, stamps([state])))
    times = [(made[0][1], kind, folder) for kind, folder, made in found if made]
    if not times:
        return None
    time, kind, folder = max(times)
    heard = stamps(_with_sound(files)) if kind == TRAINED else ()
    return Newest(kind, folder, "-".join(map(str, (kind, time, *(made for _, made, *_ in heard)))))


def _with_sound(files: SubjectFiles) -> list[Path]:
    """The comparison video, which has the clip's sound from the track's first image on."""
    path = files.file("test_video")
    return [] if path is None else [path]


class AvatarStates:
    """The newest avatar as the file that the page reads, for one thread.

    Args:
        files: of the subject.
    """

    def __init__(self, files: SubjectFiles) -> None:
        self._files = files
        self._untrained = Cached(self._make_untrained)
        self._packed: tuple[str, bytes] | None = None
        self.torso = False

    def payload(self) -> bytes:
        """The newest avatar with the clip's track as its motion.

        Raises:
            UserError: there is none yet, or a file cannot be used.
        """
        now = newest(self._files)
        if now is None:
            raise UserError("there is no avatar yet; its training saves the first after seconds")
        if self._packed is None or self._packed[0] != now.version:
            read = self._trained if now.kind == TRAINED else self._training
            avatar, track, facts = read(now.folder)
            self.torso = avatar.torso is not None
            sound = _with_sound(self._files) if now.kind == TRAINED else []
            self._packed = now.version, _packed(self._files.name, avatar, track, facts, sound)
        return self._packed[1]

    def _trained(self, folder: Path) -> tuple[Avatar, Track, dict[str, Any]]:
        for name in AVATAR_FILES:
            self._files.file(f"model/{name}")  # a link out of the project is refused
        facts = read_metadata(folder)
        head = None
        if not (folder / _OWN_HEAD).exists():
            head = head_of(facts["head_name"], facts["head_version"], head_files(self._files))
        avatar = load_avatar(folder, head, "cpu")
        track = read_track(track_file(self._files) or folder / "track.npz")
        return avatar, track, {}

    def _training(self, folder: Path) -> tuple[Avatar, Track, dict[str, Any]]:
        track_path, split = (self._files.file(name) for name in ("track", "split"))
        if track_path is None or split is None:
            raise UserError("the clip lacks its track or split; run the subject again")
        key, path = (self._files.inside(folder / name) for name in (_KEY, STATE_FILE))
        if key is None or path is None:
            raise UserError("the state of the training is gone; wait for the next one")
        packs = [self._files.listed(kind) for kind in ("images", "alpha", "parsing")]
        inputs = [key, track_path, split, *(path for part in packs for path in part)]
        counts = tuple(len(part) for part in packs)
        avatar, track, steps = self._untrained.get(inputs, counts)
        try:
            state = read_torch(path)
            step, model = int(state["step"]), state["model"]
            if not all(torch.isfinite(value).all() for value in model.values()):
                raise ValueError("its numbers are not finite")
            avatar.deformation.load_state_dict(model)
        except _DAMAGE as error:
            what = f"cannot be read now ({one_line(error)})"
            raise UserError(f"{path}: {what}; training saves another soon") from error
        return avatar, track, {"training": {"step": step, "steps": steps}}

    def _make_untrained(
        self, paths: Sequence[Path], counts: tuple[int, int, int]
    ) -> tuple[Avatar, Track, int]:
        """Avatar before training, its track and number of steps."""
        options = _options(read_json(paths[0]))
        track_path, split_path, packs = paths[1], paths[2], paths[3:]
        track = read_track(track_path)
        head: HeadModel = head_of(track.head_name, track.head_version, head_files(self._files))
        ids = [int(frame) for frame in read_json(split_path)["train"]]
        first, second = counts[0], counts[0] + counts[1]
        reader = ImageReader(
            packs[:first], packs[first:second], packs[second:], track.width, track.height
        )
        try:
            avatar = empty_avatar(
                head, track, track.rows(ids), options, torch.device("cpu"),
                lambda: hair_heights(head, track, ids, reader),
            )  # fmt: skip
        finally:
            reader.close()
        avatar.deformation.eval()
        return avatar, track, options.steps


def _options(key: Any) -> TrainOptions:
    """Training options of a run's `key.json`."""
    try:
        given = {
            name: key["parameters"][name] for name in all_options() if name in key["parameters"]
        }
        options = train_options(**given)
        options.check()
    except (KeyError, TypeError, ValueError) as error:
        what = f"the options of the training cannot be read ({one_line(error)})"
        raise UserError(f"{what}; wait for its end") from error
    return options


def _packed(
    name: str, avatar: Avatar, track: Track, facts: dict[str, Any], sound: Sequence[Path]
) -> bytes:
    meta, arrays = avatar_payload(name, avatar, track)
    seconds = (int(track.ids.max()) - int(track.ids.min()) + 2) / track.fps
    try:
        entries, moving = motion_arrays(avatar, track, next(iter(sound), None), (), seconds)
    except UserError as error:
        if not sound:
            raise
        log.warning("the clip plays without sound: %s", error)
        entries, moving = motion_arrays(avatar, track, None, (), seconds)
    return write_payload({**meta, **facts, "motions": entries}, arrays | moving)
