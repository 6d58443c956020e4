"""ARKit's face coefficients: what they are called, and how far joints go at 1.

Names are spelt as in the tables of Live Link Face; ARKit itself begins them with a small letter.
"""

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
# `jawOpen` = 1 turns ICT's jaw by so much.
JAW_OPEN = np.deg2rad(25.3)
# A gaze so far off counts as 1; ARKit publishes no figure.
GAZE = np.deg2rad(30.0)


def arkit_name(shape: str) -> str:
    """What ARKit calls an expression shape of a head: `mouthSmile_L` is `MouthSmileLeft`.

    Shapes that a head has by side and ARKit has whole (`browInnerUp_L`) get the whole one's name.
    """
    stem, _, side = shape.partition("_")
    stem = stem[0].upper() + stem[1:]
    return stem if stem in BLENDSHAPES else stem + _SIDES.get(side, "")
