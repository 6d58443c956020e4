"""A reader of glTF binary files, after the specification, and the meshes in them."""

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TYPE = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


class GlbFile:
    """A file; `json` is its document."""

    def __init__(self, content: Path | bytes) -> None:
        data = content if isinstance(content, bytes) else content.read_bytes()
        magic, version, total, size, kind = struct.unpack("<4sIIII", data[:20])
        assert (magic, version, total, kind) == (b"glTF", 2, len(data), 0x4E4F534A)
        self.json = json.loads(data[20 : 20 + size])
        length, kind = struct.unpack("<II", data[20 + size : 28 + size])
        assert kind == 0x004E4942
        self._bin = data[28 + size :]
        assert length == len(self._bin) == self.json["buffers"][0]["byteLength"]

    def _view(self, number: int, kind: int, count: int, width: int) -> np.ndarray:
        view = self.json["bufferViews"][number]
        assert view["byteOffset"] % 4 == 0
        return np.frombuffer(self._bin, _TYPE[kind], count * width, view["byteOffset"])

    def array(self, number: int) -> np.ndarray:
        """(count, width) values of an accessor, with its bounds checked."""
        made = self.json["accessors"][number]
        kind, count, width = made["componentType"], made["count"], _WIDTH[made["type"]]
        values = np.zeros((count, width), _TYPE[kind])
        if "bufferView" in made:
            values = self._view(made["bufferView"], kind, count, width).reshape(count, width).copy()
        if "sparse" in made:
            sparse = made["sparse"]
            where = sparse["indices"]
            rows = self._view(where["bufferView"], where["componentType"], sparse["count"], 1)
            assert (np.diff(rows.astype(int)) > 0).all()
            changed = self._view(sparse["values"]["bufferView"], kind, sparse["count"], width)
            values[rows] = changed.reshape(-1, width)
        if "min" in made:
            np.testing.assert_allclose(values.min(0), made["min"], rtol=1e-6)
            np.testing.assert_allclose(values.max(0), made["max"], rtol=1e-6)
        return values

    def image(self) -> bytes:
        """The first image, encoded."""
        view = self.json["bufferViews"][self.json["images"][0]["bufferView"]]
        return self._bin[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def attributes(self) -> dict[str, np.ndarray]:
        """Attributes of the first primitive."""
        return {k: self.array(n) for k, n in self.primitive["attributes"].items()}

    @property
    def primitive(self) -> dict:
        return self.json["meshes"][0]["primitives"][0]

    @property
    def targets(self) -> dict[str, np.ndarray]:
        """Morph target -> (V, 3)."""
        names = self.json["meshes"][0]["extras"]["targetNames"]
        arrays = (self.array(target["POSITION"]) for target in self.primitive["targets"])
        return dict(zip(names, arrays, strict=True))

    def node(self, name: str) -> int:
        return next(k for k, n in enumerate(self.json["nodes"]) if n["name"] == name)

    def channels(self) -> dict[tuple[int, str], np.ndarray]:
        """(node, path) -> values of the first animation."""
        animation = self.json["animations"][0]
        samplers = animation["samplers"]
        return {
            (c["target"]["node"], c["target"]["path"]): self.array(samplers[c["sampler"]]["output"])
            for c in animation["channels"]
        }

    def frame(self, number: int, weights: np.ndarray | None = None) -> np.ndarray:
        """(V, 3) world positions of the mesh in a frame of the animation, morphed and skinned."""
        nodes, moves = self.json["nodes"], self.channels()
        parents = {c: k for k, node in enumerate(nodes) for c in node.get("children", [])}

        def world(k: int) -> np.ndarray:
            node, matrix = nodes[k], np.eye(4)
            shift = moves.get((k, "translation"))
            turn = moves.get((k, "rotation"))
            matrix[:3, 3] = node.get("translation", (0, 0, 0)) if shift is None else shift[number]
            quat = node.get("rotation", (0, 0, 0, 1)) if turn is None else turn[number]
            matrix[:3, :3] = Rotation.from_quat(quat).as_matrix()
            return (world(parents[k]) if k in parents else np.eye(4)) @ matrix

        body = next(k for k, node in enumerate(nodes) if "skin" in node)
        targets = np.stack(list(self.targets.values())).astype(float)
        if weights is None:
            weights = moves[body, "weights"].reshape(-1, len(targets))[number]
        values = self.attributes()
        points = values["POSITION"] + np.einsum("t,tvc->vc", weights.astype(float), targets)
        skin = self.json["skins"][nodes[body]["skin"]]
        bind = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([world(k) @ b for k, b in zip(skin["joints"], bind, strict=True)])
        blend = np.einsum("vk,vkrc->vrc", values["WEIGHTS_0"], joints[values["JOINTS_0"]])
        return np.einsum("vrc,vc->vr", blend[:, :3, :3], points) + blend[:, :3, 3]
