"""Names of ARKit's face coefficients, and joint angles at coefficient 1.

Names are spelt as in the tables of Live Link Face; ARKit itself begins them with a small letter.
"""

from collections.abc import Iterable

import numpy as np

_SIDED = ("EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide")
_SIDES = {"L": "Left", "R": "Right"}


def _both(*names: str) -> list[str]:
    return [name + side for name in names for side in _SIDES.values()]


BLENDSHAPES = (
    *(f"{name}Left" for name in _SIDED), *(f"{name}Right" for name in _SIDED),
    "JawForward", "JawRight", "JawLeft", "JawOpen",
    "MouthClose", "MouthFunnel", "MouthPucker", "MouthRight", "MouthLeft",
    *_both("MouthSmile", "MouthFrown", "MouthDimple", "MouthStretch"),
    "MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper",
    *_both("MouthPress", "MouthLowerDown", "MouthUpperUp", "BrowDown"), "BrowInnerUp",
    *_both("BrowOuterUp"), "CheekPuff", *_both("CheekSquint", "NoseSneer"), "TongueOut",
)  # fmt: skip
ROTATIONS = tuple(
    f"{part}{angle}"
    for part in ("Head", "LeftEye", "RightEye")
    for angle in ("Yaw", "Pitch", "Roll")
)
# Jaw angle of the ICT head at `jawOpen` = 1.
JAW_OPEN = np.deg2rad(25.3)
# Eye angle at `EyeLook` = 1; ARKit does not publish it.
GAZE = np.deg2rad(30.0)


def has_arkit_shapes(names: Iterable[str]) -> bool:
    """Whether a head whose expression shapes have these names takes ARKit's coefficients."""
    return any(arkit_name(name) in BLENDSHAPES for name in names)


def arkit_name(shape: str) -> str:
    """ARKit's name of a head's expression shape: `mouthSmile_L` is `MouthSmileLeft`.

    Shapes per side that ARKit does not split (`browInnerUp_L`) get the name of the whole shape.
    """
    stem, _, side = shape.partition("_")
    stem = stem[0].upper() + stem[1:]
    return stem if stem in BLENDSHAPES else stem + _SIDES.get(side, "")
