"""Export of an avatar's head as a textured, animated mesh: glTF with morph targets and joints."""

from pathlib import Path

import numpy as np
import torch

from headsplat.export.frames import MotionFile, Played, read_played
from headsplat.export.licence import require_copies
from headsplat.export.morphs import make_morphs
from headsplat.export.options import ExportOptions
from headsplat.export.rig import Animation, Rig, quaternions, skin_weights
from headsplat.export.texture import bake_texture
from headsplat.formats.glb import TRIANGLES, Glb
from headsplat.frame_code import FrameCode
from headsplat.frames.images import encode_png
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.options import check_ranges
from headsplat.runtime.errors import shown
from headsplat.runtime.logs import log

_UNLIT = "KHR_materials_unlit"
_NEAR = 0.01  # meters, of the camera


def export_mesh(
    model: Path,
    head_path: Path,
    track_path: Path,
    motion: MotionFile | None,
    out: Path,
    options: ExportOptions,
) -> None:
    """Publish a `.glb` with the mesh, a camera and one animation.

    Args:
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        motion: what the animation plays; None for the track.
        out: the file to write.
        options: side of the texture, and whether the head model may be passed on.

    Raises:
        UserError: as `read_played`, the head model's licence does not allow copies, or an option
            is out of its range.
    """
    check_ranges(options)
    require_copies(HeadModel.load(head_path), options.pass_on_head)
    played = read_played(model, head_path, track_path, motion)
    name = "track" if motion is None else out.stem
    glb = mesh_file(played, name, options.texture)
    glb.write(out)
    log.info("%d frames, %d morph targets", len(played), len(glb.json["meshes"][0]["weights"]))


def mesh_file(played: Played, name: str, texture: int) -> Glb:
    """The file of a mesh that plays some frames.

    Args:
        played: avatar and frames.
        name: of the animation.
        texture: side in pixels.
    """
    avatar, head = played.avatar, played.avatar.head
    shape = avatar.shape.cpu()
    codes = FrameCode(played.frames.condition)
    morphs = make_morphs(head, shape, codes)
    rig = Rig(head, shape, codes, played.frames.trunk)
    glb = Glb(shown(f"head model {head.name}: {head.licence}"))
    skin, joints = rig.add_nodes(glb)
    mesh = _mesh(glb, played, morphs.names, morphs.changes, texture)
    body = glb.add("nodes", {"name": head.name, "mesh": mesh, "skin": skin})
    top = glb.add("nodes", {"name": "avatar", "children": [joints["head"], joints["trunk"]]})
    eye = glb.add("nodes", _camera(glb, played))
    animation = Animation(glb, name, played.times)
    turns, places = played.world()
    animation.move(top, (places.numpy(), quaternions(turns)))
    for joint, moves in rig.places().items():
        animation.move(joints[joint], moves)
    animation.channel(body, "weights", morphs.weights)
    glb.json["scene"] = glb.add("scenes", {"nodes": [top, body, eye]})
    return glb


def _mesh(
    glb: Glb, played: Played, names: tuple[str, ...], changes: np.ndarray, texture: int
) -> int:
    head = played.avatar.head
    # A vertex for each pair of a place on the head and one in the atlas.
    pairs = np.stack([head.faces.reshape(-1), head.uv_faces.reshape(-1)], 1)
    pairs, corners = np.unique(pairs, axis=0, return_inverse=True)
    vertex, atlas = pairs.T
    shaped = HeadGeometry(head).shaped(played.avatar.shape.cpu())
    normals = vertex_normals(shaped, torch.from_numpy(head.faces).long()).numpy()
    # Vertices that no triangle has get no normal, but the format wants unit length.
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0, 0, 1)
    joint, weight = skin_weights(head, vertex)
    uv = head.uv[atlas] * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
    attributes = {
        "POSITION": glb.vertices(shaped.numpy()[vertex], bounds=True),
        "NORMAL": glb.vertices(normals[vertex]),
        "TEXCOORD_0": glb.vertices(uv),
        "JOINTS_0": glb.vertices(joint),
        "WEIGHTS_0": glb.vertices(weight),
    }
    primitive = {
        "attributes": attributes,
        "indices": glb.indices(corners.reshape(-1).astype(np.uint32)),
        "material": _material(glb, bake_texture(played.avatar, played.distance, texture)),
        "mode": TRIANGLES,
        "targets": [{"POSITION": glb.morph(change[vertex])} for change in changes],
    }
    value = {
        "name": head.name,
        "primitives": [primitive],
        "weights": [0.0] * len(names),
        "extras": {"targetNames": list(names)},
    }
    return glb.add("meshes", value)


def _material(glb: Glb, image: np.ndarray) -> int:
    source = glb.image(encode_png(image), "image/png")
    sampler = glb.add("samplers", {"magFilter": 9729, "minFilter": 9987})
    texture = glb.add("textures", {"source": source, "sampler": sampler})
    # The texture holds the clip's light already.
    glb.use(_UNLIT)
    pbr = {"baseColorTexture": {"index": texture}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    value = {
        "name": "head",
        "pbrMetallicRoughness": pbr,
        "doubleSided": True,
        "extensions": {_UNLIT: {}},
    }
    return glb.add("materials", value)


def _camera(glb: Glb, played: Played) -> dict:
    """A node with the clip's camera; glTF's has no principal point."""
    track = played.track
    field = 2 * np.arctan(track.height / 2 / float(track.K[1, 1]))
    aspect = track.width * float(track.K[1, 1]) / (track.height * float(track.K[0, 0]))
    lens = {"yfov": float(field), "aspectRatio": aspect, "znear": _NEAR}
    camera = glb.add("cameras", {"type": "perspective", "perspective": lens})
    return {"name": "camera", "camera": camera, "translation": [0.0, 0.0, played.distance]}
