"""The joints of a head's mesh as glTF has them: skin weights, bind poses and animation.

Joints: `trunk` (what follows the trunk's motion below the neck), `head`, and on it `jaw`,
`leftEye` and `rightEye`. The node above them moves the whole head.
"""

import numpy as np
import torch
from torch import Tensor

from headsplat.formats.glb import Glb
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d, quaternion_from_matrix

JOINTS = ("trunk", "head", "jaw", "leftEye", "rightEye")
_TRUNK, _HEAD, _TURNING = 0, 1, 2
_MOST = 4  # joints of a vertex
# Joints that move less than this with the expression keep their place, meters.
_STILL = 1e-5

Places = tuple[np.ndarray, np.ndarray]  # (N, 3) meters and (N, 4) quaternions (x, y, z, w)


def skin_weights(head: HeadModel, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four joints of largest weight: (V, 4) uint8 and (V, 4) float32, rows sum to 1."""
    weights = head.skinning[vertices].astype(np.float64)
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :_MOST]
    largest = np.take_along_axis(weights, joints, 1).clip(0)
    largest /= largest.sum(1, keepdims=True)
    return np.where(largest > 0, joints, 0).astype(np.uint8), largest.astype(np.float32)


class Rig:
    """Joints of one subject and how they move in N frames.

    Args:
        head: the head model.
        shape: (S,) identity.
        codes: of the frames.
        trunk: (N, 3, 4) trunk to head, or None for a stiff neck.
    """

    def __init__(
        self, head: HeadModel, shape: Tensor, codes: FrameCode, trunk: Tensor | None
    ) -> None:
        geometry = HeadGeometry(head, dtype=torch.float64)
        exp = codes.exp.double()
        shape = shape.double()
        self.rest = geometry.joints(shape, torch.zeros_like(exp[:1]))[0].numpy()
        self._moved = geometry.joints(shape, exp).numpy()
        self._turns = matrix_from_6d(codes.joints.double())
        self._trunk = None if trunk is None else trunk.double()

    def places(self) -> dict[str, Places]:
        """Translation and rotation, relative to the parent, of the joints that move."""
        found = {}
        for k, name in enumerate(JOINTS[_TURNING:]):
            turn, joint = self._turns[:, k], self._moved[:, _TURNING + k]
            rest = self.rest[_TURNING + k]
            # The bind pose is about the resting joint, the turn about the moved one.
            turned = (turn.numpy() @ (rest - joint)[..., None])[..., 0]
            found[name] = joint + turned - self.rest[_HEAD], quaternions(turn)
        if self._trunk is not None:
            turn, shift = self._trunk[..., :3], self._trunk[..., 3]
            found[JOINTS[_TRUNK]] = (
                self.rest[_TRUNK] @ turn.numpy().swapaxes(1, 2) + shift.numpy(),
                quaternions(turn),
            )
        return found

    def add_nodes(self, glb: Glb) -> tuple[int, dict[str, int]]:
        """Add the joints to a file; returns the skin and the node of each joint."""
        nodes: dict[str, int] = {}
        for k in reversed(range(len(JOINTS))):
            place = self.rest[k] - (self.rest[_HEAD] if k >= _TURNING else 0)
            node = {"name": JOINTS[k], "translation": place.tolist()}
            if k == _HEAD:
                node["children"] = [nodes[name] for name in JOINTS[_TURNING:]]
            nodes[JOINTS[k]] = glb.add("nodes", node)
        bind = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
        bind[:, 3, :3] = -self.rest  # columns of the matrix are rows of the array
        skin = {"inverseBindMatrices": glb.values(bind), "joints": [nodes[n] for n in JOINTS]}
        return glb.add("skins", skin), nodes


def quaternions(matrices: Tensor) -> np.ndarray:
    """(N, 3, 3) -> (N, 4) float64 (x, y, z, w), neighbors in one half space."""
    quats = quaternion_from_matrix(matrices.double()).numpy()[:, [1, 2, 3, 0]]
    flips = (quats[1:] * quats[:-1]).sum(1) < 0
    signs = np.where(np.concatenate([[0], np.cumsum(flips)]) % 2 == 1, -1.0, 1.0)
    return quats * signs[:, None]


class Animation:
    """One animation of a file.

    Args:
        glb: the file.
        name: of the animation.
        times: (N,) seconds.
    """

    def __init__(self, glb: Glb, name: str, times: np.ndarray) -> None:
        self._glb = glb
        self._times = glb.values(times.astype(np.float32), bounds=True)
        self._value = {"name": name, "channels": [], "samplers": []}
        glb.add("animations", self._value)

    def move(self, node: int, places: Places) -> None:
        """Animate a node; a translation that stands still is written to the node instead."""
        shift, turn = places
        if np.abs(shift - shift[:1]).max() <= _STILL:
            self._glb.json["nodes"][node]["translation"] = shift[0].tolist()
        else:
            self.channel(node, "translation", shift)
        self.channel(node, "rotation", turn)

    def channel(self, node: int, path: str, values: np.ndarray) -> None:
        """Animate one property; weights are (N, T), which the format wants flat."""
        flat = values.reshape(-1) if path == "weights" else values
        sampler = {"input": self._times, "output": self._glb.values(flat.astype(np.float32))}
        self._value["samplers"].append(sampler)
        target = {"node": node, "path": path}
        number = len(self._value["samplers"]) - 1
        self._value["channels"].append({"sampler": number, "target": target})
