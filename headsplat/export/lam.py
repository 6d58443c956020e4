"""Export for LAM's web renderer, which OpenAvatarChat shows: a zip of Gaussians that ARKit moves.

The zip holds one folder:
    skin.glb           a skinned mesh with a vertex for each Gaussian and ARKit's morph targets
    offset.ply         the Gaussians: centers relative to these vertices, `f_dc` is the color
    animation.glb      clips of the joint `head`: two to greet, one idle, six to speak, three more
    vertex_order.json  numbers of the Gaussians

The renderer moves centers alone: rotations, sizes and colors are those of the neutral face.
"""

import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar
from headsplat.drive.arkit_motion import arkit_codes, require_arkit_head
from headsplat.export.licence import require_copies
from headsplat.export.rig import Animation, quaternions
from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.formats.glb import TRIANGLES, Glb
from headsplat.formats.ply import ply_bytes
from headsplat.formats.splats import Splats, posed
from headsplat.frame_code import FrameCode
from headsplat.gaussians.sh import C0
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import mean_rotation
from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.track import Track, read_track

_CLIPS = 12  # as the renderer counts them
_SECONDS = 8.0  # of the clip's head motion, played forwards and backwards
# Where the renderer's camera looks: a head of a standing person, meters.
_FACE = (0.0, 1.62, 0.0)
_HIP, _HEAD_BONE = "hip", "head"
_HIP_PLACE = (0.0, 0.9, 0.0)
_FAINTEST = 1 / 255  # opacities below are left out by the renderer, which would shift the others
_BATCH = 8
_NECK = 1


def export_lam(
    model: Path, head_path: Path, track_path: Path, pass_on_head: str, out: Path
) -> None:
    """Publish the zip.

    Args:
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        pass_on_head: see `require_copies`.
        out: the file to write; its name without `.zip` is the folder's inside.

    Raises:
        UserError: an input is broken, the head model's licence forbids copies, or its shapes
            have no names of ARKit's.
    """
    head = HeadModel.load(head_path)
    require_arkit_head("", head)
    require_copies(head, pass_on_head)
    avatar = load_avatar(model, head, "cpu")
    track = read_track(track_path, head)
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    ahead = torch.tensor([[0.0, 0.0, float(np.median(track.t[:, 2]))]])
    neutral = FrameCode.neutral(head).vector[None]
    (splats,) = posed(avatar, neutral, frontal, ahead)
    changes = _changes(avatar, splats, frontal, ahead)
    kept = splats.opacities >= _FAINTEST
    splats = Splats(*(getattr(splats, field.name)[kept] for field in fields(Splats)))
    changes = {name: change[kept.numpy()] for name, change in changes.items()}
    vertices = _places(avatar, neutral)[kept]
    shift = torch.tensor(_FACE) - torch.from_numpy(head.template[head.regions["face"]].mean(0))
    neck = HeadGeometry(head).joints(avatar.shape.cpu(), torch.zeros(1, len(head.expression_names)))
    joint = (neck[0, _NECK] + shift).numpy()
    # The renderer takes `f_dc` as the color itself.
    color = (splats.harmonics * C0 + 0.5).clamp(0, 1)
    offset = replace(splats, means=splats.means - vertices, harmonics=color)
    files = {
        "skin.glb": _skin((vertices + shift).numpy(), changes, joint).content("skin.glb"),
        "animation.glb": _animation(joint, _head_turns(track, avatar), track.fps).content(),
        "offset.ply": ply_bytes(offset, 0),
        "vertex_order.json": json.dumps(list(range(len(splats)))).encode(),
    }
    with (
        publish(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        # The renderer finds the files by the zip's entry of their folder.
        archive.writestr(zipfile.ZipInfo(f"{out.stem}/"), b"")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"{out.stem}/{name}"), content, zipfile.ZIP_DEFLATED)
    log.info("%d Gaussians, %d of ARKit's blendshapes", len(splats), len(changes))


def _changes(
    avatar: Avatar, neutral: Splats, rotation: Tensor, translation: Tensor
) -> dict[str, np.ndarray]:
    """ARKit's name -> (N, 3) how far each Gaussian's center moves, meters."""
    one = torch.eye(len(BLENDSHAPES), dtype=torch.float64)
    codes = arkit_codes(dict(zip(BLENDSHAPES, one, strict=True)), avatar.head).vector.float()
    found = {}
    for start in range(0, len(codes), _BATCH):
        part = codes[start : start + _BATCH]
        views = rotation.expand(len(part), 3, 3), translation.expand(len(part), 3)
        for name, moved in zip(BLENDSHAPES[start:], posed(avatar, part, *views), strict=False):
            change = (moved.means - neutral.means).numpy()
            if np.abs(change).max() > 1e-5:
                found[name[0].lower() + name[1:]] = change
    return found


def _places(avatar: Avatar, neutral: Tensor) -> Tensor:
    """(N, 3) vertices on the neutral surface; those of a torso are where its Gaussians started."""
    with torch.no_grad():
        vertices = avatar.vertices(neutral.to(avatar.device))
        places = avatar.place(vertices)[0][0].cpu()
    return places if avatar.torso is None else torch.cat([places, avatar.torso.rest.cpu()])


def _head_turns(track: Track, avatar: Avatar) -> np.ndarray:
    """(N, 4) quaternions of the head in a clip that repeats; still above a torso."""
    count = max(2, min(len(track), int(_SECONDS * track.fps)))
    if avatar.torso is not None or len(track) < count:
        return np.tile([0.0, 0.0, 0.0, 1.0], (2, 1))
    turns = track.poses(torch.float64)[0][:count]
    forth = quaternions(mean_rotation(turns).T @ turns)
    return np.concatenate([forth, forth[-2::-1]])


def _bones(glb: Glb, joint: np.ndarray) -> tuple[int, int]:
    """Nodes of hip and head."""
    place = (joint - np.array(_HIP_PLACE)).tolist()
    head = glb.add("nodes", {"name": _HEAD_BONE, "translation": place})
    hip = {"name": _HIP, "translation": list(_HIP_PLACE), "children": [head]}
    return glb.add("nodes", hip), head


def _skin(vertices: np.ndarray, changes: dict[str, np.ndarray], joint: np.ndarray) -> Glb:
    glb = Glb()
    bones = _bones(glb, joint)
    bind = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    bind[:, 3, :3] = -np.stack([np.array(_HIP_PLACE), joint])
    skin = glb.add("skins", {"inverseBindMatrices": glb.values(bind), "joints": list(bones)})
    count = len(vertices)
    joints = np.tile(np.array([1, 0, 0, 0], np.uint8), (count, 1))
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    attributes = {
        "POSITION": glb.vertices(vertices.astype(np.float32), bounds=True),
        "JOINTS_0": glb.vertices(joints),
        "WEIGHTS_0": glb.vertices(weights),
    }
    # The renderer takes vertices, not triangles; corners that repeat fill the last triangle.
    corners = np.minimum(np.arange(-(-count // 3) * 3), count - 1).astype(np.uint32)
    primitive = {
        "attributes": attributes,
        "indices": glb.indices(corners),
        "mode": TRIANGLES,
        "targets": [{"POSITION": glb.morph(change)} for change in changes.values()],
    }
    value = {
        "name": "avatar",
        "primitives": [primitive],
        "weights": [0.0] * len(changes),
        "extras": {"targetNames": list(changes)},
    }
    body = glb.add("nodes", {"name": "avatar", "mesh": glb.add("meshes", value), "skin": skin})
    glb.json["scene"] = glb.add("scenes", {"nodes": [bones[0], body]})
    return glb


def _animation(joint: np.ndarray, turns: np.ndarray, fps: float) -> Glb:
    glb = Glb()
    hip, head = _bones(glb, joint)
    first = Animation(glb, "clip00", np.arange(len(turns)) / fps)
    first.channel(head, "rotation", turns)
    (clip,) = glb.json["animations"]
    glb.json["animations"] = [clip | {"name": f"clip{k:02d}"} for k in range(_CLIPS)]
    glb.json["scene"] = glb.add("scenes", {"nodes": [hip]})
    return glb
