"""A trained avatar: saving, loading, and rendering for any frame code and camera.

The folder of an avatar holds
    avatar.npz   arrays only: anchors, identity, the deformation's parameters
    avatar.json  what they are: model, sizes, the head model's name, version and licence, training
    head.npz     the head model, if its licence permits copies; else avatar.json names the file
    track.npz    the track of the clip that the avatar was trained on
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import AnchoredSurface, Anchors
from headsplat.gaussians.deform.base import Deformation, FrameInputs, Gaussians
from headsplat.gaussians.deform.codes import camera_center, head_pose_6d
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.raster.extension import serving_device
from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians
from headsplat.heads.model import HeadModel
from headsplat.heads.packed import pack_head, packed_head
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import matrix_from_6d, matrix_to_6d
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz
from headsplat.track import Frame, Track, check_head

FORMAT = 2
ARRAYS_FILE, METADATA_FILE, TRACK_FILE = "avatar.npz", "avatar.json", "track.npz"
# Required keys of `avatar.json` and their types.
_METADATA_TYPES = {
    "model": str, "settings": dict, "training": dict, "head": dict,
    **dict.fromkeys(("head_name", "head_version", "head_licence"), str),
}  # fmt: skip
WHITE = (1.0, 1.0, 1.0)
_BATCH = 8
_LONGEST_REASON = 160  # characters of PyTorch's message


@dataclass
class Avatar:
    """A trained Gaussian head avatar of one person.

    Attributes:
        head: the head model it was trained with.
        shape: (S,) identity coefficients.
        anchors: N points on the head surface.
        deformation: model from codes to Gaussians.
        device: torch device of all tensors.
        facts: training summary stored in `avatar.json`.
        centered: whether rendering puts the principal point at the image center and ignores the
            camera's. The original FlashAvatar trains so.
        folder: where it was read from; None for one in training.
    """

    head: HeadModel
    shape: Tensor
    anchors: Anchors
    deformation: Deformation
    device: torch.device
    facts: dict[str, Any] = field(default_factory=dict)
    centered: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.shape = self.shape.to(self.device)
        self.deformation.to(self.device)
        self._surface = AnchoredSurface(self.anchors, self.head, self.device)
        self._geometry = SubjectGeometry(
            HeadGeometry(self.head, self.device), self.shape, self._surface.vertex_ids
        )
        # `head_pose_6d` is an elementwise product with a constant. The constant is created on the
        # host, which a CUDA graph cannot capture, so it is kept here.
        self._facing = head_pose_6d(torch.ones(1, 3, 3, device=self.device))

    @property
    def vertex_count(self) -> int:
        """Number of vertices that anchors use."""
        return len(self._surface.vertex_ids)

    def vertices(self, condition: Tensor) -> Tensor:
        """(B, C) codes -> (B, n, 3): the posed vertices that anchors use, meters."""
        check_shape(condition, f"B {FrameCode.size(self.head)}", "condition")
        code = FrameCode(condition)
        return self._geometry.vertices(code.exp, matrix_from_6d(code.joints), code.eyelids)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Posed vertices -> anchors' positions (B, N, 3) and rotations (B, N, 4)."""
        return self._surface.place(vertices)

    def inputs(
        self, condition: Tensor, vertices: Tensor, rotation: Tensor, translation: Tensor
    ) -> FrameInputs:
        """Inputs of the deformation for a batch; all arguments have a leading dimension B."""
        positions, rotations = self.place(vertices)
        center = camera_center(rotation, translation)
        pose = matrix_to_6d(rotation) * self._facing
        return FrameInputs(condition, pose, positions, rotations, center)

    def rasterize(
        self,
        gaussians: Gaussians,
        rotation: Tensor,
        translation: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        background: Tensor,
        budget: InstanceBudget | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Rasterize Gaussians, differentiable; arguments and results as in `render_codes`."""
        if self.centered:
            fx, fy = intrinsics[..., 0], intrinsics[..., 1]
            middle = torch.full_like(fx, width / 2), torch.full_like(fy, height / 2)
            intrinsics = torch.stack([fx, fy, *middle], -1)
        return rasterize_gaussians(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            gaussians.colors,
            rotation,
            translation,
            intrinsics,
            width,
            height,
            background,
            budget,
        )

    @torch.no_grad()
    def render(self, frames: Frame | Track, background: Sequence[float] = WHITE) -> Tensor:
        """Render one frame or several with the camera of the frames.

        `headsplat.render.FrameRenderer` is faster where many frames share one camera.

        Args:
            frames: `track[k]`, `track[a:b]`, or a `Frame` of your own.
            background: red, green and blue in 0..1.

        Returns:
            (H, W, 3) float32 in 0..1 on the avatar's device; (B, H, W, 3) of several frames.

        Raises:
            UserError: the frames are of another head model, or there are none.
        """
        batch = self.as_batch(frames)
        color = torch.tensor(background, dtype=torch.float32)
        parts = (batch.code.vector, batch.rotation, batch.translation)
        images = [
            self.render_codes(*part, batch.intrinsics, batch.width, batch.height, color)[0]
            for part in zip(*(value.split(_BATCH) for value in parts), strict=True)
        ]
        one = isinstance(frames, Frame) and frames.rotation.ndim == 2
        return torch.cat(images)[0] if one else torch.cat(images)

    def as_batch(self, frames: Frame | Track) -> Frame:
        """Frames with a leading dimension B, whose codes fit the avatar's head model.

        Raises:
            UserError: the frames are of another head model, or there are none.
        """
        if isinstance(frames, Track):
            check_head(frames, self.head.name, self.head.version)
            frames = frames.frames()
        have, expected = frames.code.vector.shape[-1], FrameCode.size(self.head)
        if have != expected:
            raise UserError(
                f"codes of {have} numbers, the avatar's head {self.head.name} has {expected}; "
                "give frames of the same head"
            )
        one = frames.rotation.ndim == 2
        code, rotation, translation = (
            value[None] if one else value
            for value in (frames.code.vector, frames.rotation, frames.translation)
        )
        if len(rotation) == 0:
            raise UserError("there is no frame to draw; give at least one")
        check_shape(code, f"{len(rotation)} {expected}", "code")
        return replace(frames, code=FrameCode(code), rotation=rotation, translation=translation)

    def render_video(
        self,
        frames: Frame | Track,
        path: Path | str,
        audio: Path | str | None = None,
        fps: float | None = None,
        background: Sequence[float] = WHITE,
    ) -> None:
        """Render several frames to an mp4, in constant memory.

        Args:
            frames: as `render` takes them.
            path: mp4 to write; it appears when it is complete.
            audio: file with sound that starts with the first image, or None for none.
            fps: images a second; None takes the track's, or 25 for a `Frame`.
            background: red, green and blue in 0..1.

        Raises:
            UserError: as `render`, or a file cannot be read or written.
        """
        # Imported by name, so that the code hash of training excludes video writing: an edit there
        # must not retrain avatars.
        video = import_module("headsplat.avatar_video")
        video.render_video(self, frames, Path(path), audio, fps, background)

    def say(self, sound: Path | str, out: Path | str, **options: Any) -> None:
        """Render a video of the avatar that says a sound; see `headsplat.avatar_speech.say`."""
        import_module("headsplat.avatar_speech").say(self, sound, out, **options)

    def speaker(self, voice: Path | str | None = None, track: Track | None = None) -> Any:
        """Frames while somebody speaks; see `headsplat.avatar_speech.speaker`."""
        return import_module("headsplat.avatar_speech").speaker(self, voice, track)

    @torch.no_grad()
    def render_codes(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        background: Tensor,
        budget: InstanceBudget | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images of a batch of frames.

        Args:
            condition: (B, C) codes exp | jaw 6D | eyes 12 | eyelids 2.
            rotation: (B, 3, 3) head to OpenCV camera.
            translation: (B, 3) meters.
            intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels.
            width: of the images.
            height: of the images.
            background: (B, 3) or (3,) color.
            budget: fixed buffers of the rasterizer on a GPU; see `InstanceBudget`.

        Returns:
            color (B, H, W, 3) in 0..1 and alpha (B, H, W).
        """
        move = [v.to(self.device) for v in (condition, rotation, translation, background)]
        condition, rotation, translation, background = move
        k4 = intrinsics.to(self.device).expand(len(condition), 4)
        frames = self.inputs(condition, self.vertices(condition), rotation, translation)
        gaussians = self.deformation(frames)
        color, alpha = self.rasterize(
            gaussians, rotation, translation, k4, width, height, background, budget
        )
        return color.clamp_(0, 1), alpha


def save_avatar(folder: Path | str, avatar: Avatar, head: Path | str, track: Path | str) -> None:
    """Write the files of an avatar into `folder`.

    Args:
        folder: existing folder.
        avatar: the avatar to save.
        head: file of its head model.
        track: `track.npz` of the clip it was trained on.
    """
    folder = Path(folder)
    anchors = avatar.anchors
    state = {
        f"state/{key}": value.detach().cpu().numpy()
        for key, value in avatar.deformation.state_dict().items()
    }
    write_npz(
        folder / ARRAYS_FILE,
        anchor_face=anchors.face,
        anchor_barycentric=anchors.barycentric,
        anchor_height=anchors.height,
        shape=avatar.shape.cpu().numpy(),
        **state,
    )
    shutil.copyfile(track, folder / TRACK_FILE)
    facts = {
        "format": FORMAT,
        "model": avatar.deformation.name,
        "settings": avatar.deformation.settings(),
        "gaussians": len(anchors),
        "centered": avatar.centered,
        "condition_size": FrameCode.size(avatar.head),
        "head_name": avatar.head.name,
        "head_version": avatar.head.version,
        "head_licence": avatar.head.licence,
        "head": pack_head(folder, avatar.head, Path(head)),
        "training": avatar.facts,
    }
    write_json(folder / METADATA_FILE, facts)


def load_avatar(
    folder: Path | str,
    head: HeadModel | Path | str | None = None,
    device: torch.device | str = "auto",
) -> Avatar:
    """Read an avatar that `save_avatar` wrote.

    Args:
        folder: `results/<subject>/avatar`, or the folder `model` in it.
        head: the head model or its `.npz`; None takes the one in the folder or named in
            `avatar.json`.
        device: "auto" takes a GPU if the compiled operators support it.

    Raises:
        UserError: a file or array is missing or damaged, the format version differs, it was
            trained with another head model, the head model is missing, or there is no such device.
    """
    folder = model_folder(folder)
    facts = read_metadata(folder)
    if not isinstance(head, HeadModel):
        head = HeadModel.load(packed_head(folder, facts) if head is None else head)
    trained_with = (facts["head_name"], facts["head_version"])
    if trained_with != (head.name, head.version):
        raise UserError(
            f"{folder}: trained with head {shown(' '.join(trained_with))}, not {head.name} "
            f"{head.version}; give the head it was trained with"
        )
    arrays = read_npz(
        folder / ARRAYS_FILE,
        ("anchor_face", "anchor_barycentric", "anchor_height", "shape"),
        _remake_hint(folder),
    )
    anchors, shape = _checked_arrays(folder / ARRAYS_FILE, arrays, head)
    deformation = _restored(folder / ARRAYS_FILE, facts, arrays, head, len(anchors))
    device = _chosen(device)
    return Avatar(
        head, shape, anchors, deformation, device, facts["training"],
        facts.get("centered", False), folder,
    )  # fmt: skip


def _chosen(device: torch.device | str) -> torch.device:
    """The torch device; `UserError` where there is none of this name."""
    if device == "auto":
        return serving_device("auto")
    try:
        chosen = torch.device(device)
    except RuntimeError:  # no such name
        chosen = None
    there = chosen is not None and (
        chosen.type == "cpu"
        or (chosen.type == "cuda" and (chosen.index or 0) < torch.cuda.device_count())
    )
    if chosen is None or not there:
        known = ", ".join(["auto", "cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))])
        raise UserError(f"device '{shown(str(device))}': not on this machine; one of {known}")
    return chosen


def _checked_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], head: HeadModel
) -> tuple[Anchors, Tensor]:
    """Anchors and identity; `UserError` for arrays that do not fit the head."""
    face = arrays["anchor_face"]
    count, identity = face.size, head.shape_basis.shape[2]
    faces = face.ndim == 1 and face.dtype.kind in "iu" and count > 0
    if not (faces and face.min() >= 0 and face.max() < len(head.faces)):
        raise _broken(path, "anchor_face", f"expected rows of the head's {len(head.faces)} faces")
    sizes = {"anchor_barycentric": (count, 3), "anchor_height": (count,), "shape": (identity,)}
    values = {"anchor_face": face.astype(np.int32)}
    for name, size in sizes.items():
        value = arrays[name]
        if value.shape != size or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise _broken(path, name, f"expected finite numbers of shape {list(size)}")
        values[name] = value.astype(np.float32)
    parts = (values[name] for name in ("anchor_face", "anchor_barycentric", "anchor_height"))
    return Anchors(*parts), torch.from_numpy(values["shape"])


def _restored(
    path: Path,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    head: HeadModel,
    count: int,
) -> Deformation:
    """The trained deformation; `UserError` for settings and arrays that do not fit."""
    expected = {"count": count, "condition_size": FrameCode.size(head)}
    for key, value in expected.items():
        if facts["settings"].get(key, value) != value:
            found = shown(str(facts["settings"][key]))
            raise UserError(
                f"{path.with_name(METADATA_FILE)}: '{key}' of its settings is {found}, its arrays "
                f"and head have {value}; train the avatar again"
            )
    state = {}
    for key, value in arrays.items():
        if not key.startswith("state/"):
            continue
        if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
            raise _broken(path, key, "expected finite numbers")
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        state[key.removeprefix("state/")] = torch.from_numpy(np.ascontiguousarray(native))
    settings = facts["model"], facts["settings"]
    try:
        # First without memory, because damaged settings may ask for any amount.
        with torch.device("meta"):
            empty = build_deformation(*settings)
        empty.load_state_dict({key: value.to("meta") for key, value in state.items()})
    except RuntimeError as error:
        reason = shown(str(error).splitlines()[-1].strip(), _LONGEST_REASON)
        raise UserError(f"{path}: {reason}; train the avatar again") from error
    deformation = build_deformation(*settings)
    deformation.load_state_dict(state)
    return deformation.eval()


def _broken(path: Path, name: str, what: str) -> UserError:
    return UserError(
        f"{path}: the array '{shown(name)}' is damaged, {what}; train the avatar again"
    )


def model_folder(folder: Path | str) -> Path:
    """The folder with an avatar's files: `folder`, `folder`/model or `folder`/avatar/model.

    Raises:
        UserError: none of them holds an avatar.
    """
    for place in (Path(folder), Path(folder, "model"), Path(folder, "avatar", "model")):
        if (place / METADATA_FILE).is_file():
            return place
    raise UserError(f"{folder}: holds no avatar ({METADATA_FILE}); give results/<subject>/avatar")


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read and check `avatar.json` of an avatar's folder.

    Raises:
        UserError: it cannot be read, or its format version differs.
    """
    facts = read_json(folder / METADATA_FILE, _remake_hint(folder))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise UserError(
            f"{folder / METADATA_FILE}: format {shown(repr(found))}, this version reads {FORMAT}; "
            "train the avatar again"
        )
    for key, kind in _METADATA_TYPES.items():
        if not isinstance(facts.get(key), kind):
            raise UserError(
                f"{folder / METADATA_FILE}: '{key}' is missing or broken; train the avatar again"
            )
    if not isinstance(facts.get("centered", False), bool):
        raise UserError(f"{folder / METADATA_FILE}: 'centered' is broken; train the avatar again")
    return facts


def _remake_hint(folder: Path) -> str:
    return f"delete {folder}, and the same command makes it again"
