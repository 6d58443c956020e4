"""Fixed layout of ICT-FaceKit's mesh: ranges of vertices and polygons, names of shapes.

All files of `FaceXModel/` (release of 2020, commit da5f95a) share one topology, so that ranges name
the parts. Lashes, occlusion shells, lacrimal fluid and the inner iris balls come after or between
the parts named here and are not imported.
"""

from dataclasses import dataclass

VERTICES = 26_719
POLYGONS = 26_384
IDENTITIES = 100

NEUTRAL = "generic_neutral_mesh.obj"
INDICES = "vertex_indices.json"

# Similarity from ICT's unit (about a centimeter) to FLAME's template: scale in meters, then offset.
# The offset places the origin inside the head.
METRES = 0.01005
OFFSET = (0.0, -0.01234, -0.05766)


@dataclass(frozen=True)
class Part:
    """One part: half-open ranges of vertex and polygon numbers."""

    vertices: range
    polygons: range


PARTS: dict[str, Part] = {
    "face": Part(range(0, 9409), range(0, 9230)),
    "head": Part(range(9409, 11248), range(9230, 11144)),
    "mouth_socket": Part(range(11248, 13294), range(11144, 13226)),
    "left_socket": Part(range(13294, 13678), range(13226, 13630)),
    "right_socket": Part(range(13678, 14062), range(13630, 14034)),
    "gums": Part(range(14062, 17039), range(14034, 17006)),
    "teeth": Part(range(17039, 21451), range(17006, 21496)),
    "left_eyeball": Part(range(21451, 22221), range(21496, 22296)),
    "right_eyeball": Part(range(23021, 23791), range(23094, 23894)),
}
# The narrow face is the part of `face` inside the hair line and in front of the ears.
NARROW_FACE = range(0, 6706)
LOWER_TEETH = range(19247, 21451)
SKIN = ("face", "head")
LEFT_LID_RIM = range(6548, 6590)
RIGHT_LID_RIM = range(6590, 6632)
LIP_RIM = range(6632, 6706)

_PAIRED = {
    "brow": ("Down", "InnerUp", "OuterUp"),
    "cheek": ("Puff", "Squint"),
    "eye": ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide"),
    "mouth": (
        "Dimple", "Frown", "LowerDown", "Press", "Smile", "Stretch", "UpperUp",
    ),
    "nose": ("Sneer",),
}  # fmt: skip
_SINGLE = {
    "jaw": ("Forward", "Left", "Open", "Right"),
    "mouth": (
        "Close", "Funnel", "Left", "Pucker", "Right", "RollLower", "RollUpper", "ShrugLower",
        "ShrugUpper",
    ),
}  # fmt: skip
# ARKit's names in ICT's own (alphabetical) order; `browInnerUp` and `cheekPuff` come in halves.
EXPRESSIONS: tuple[str, ...] = tuple(
    sorted(
        [f"{a}{b}_{s}" for a, names in _PAIRED.items() for b in names for s in "LR"]
        + [f"{a}{b}" for a, names in _SINGLE.items() for b in names]
    )
)


def wanted_files() -> list[str]:
    """Names of the files of `FaceXModel/` that the importer reads."""
    identities = [f"identity{k:03d}.obj" for k in range(IDENTITIES)]
    return [INDICES, NEUTRAL, *identities, *(f"{name}.obj" for name in EXPRESSIONS)]
