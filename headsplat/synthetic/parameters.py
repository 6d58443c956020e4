"""Head model parameters and cameras of the built-in clip, from its motion."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.synthetic.performance import Performance
from headsplat.synthetic.phones import LIP_CHANNELS

# Rotation from head axes to the static OpenCV camera in front.
CAMERA = np.diag([1.0, -1.0, -1.0])
JAW_RADIANS = 0.28
# Lid closure of a relaxed eye, and additional closure per radian of downward gaze.
LID_REST = 0.10
LID_FOLLOW = 0.5

# Weights of performance channels on expression shapes; "*" stands for _L and _R.
SHAPES_OF_CHANNEL: dict[str, dict[str, float]] = {
    "press": {"mouthPress*": 0.5, "mouthRollUpper": 0.2, "mouthRollLower": 0.2},
    "round": {"mouthPucker": 0.75, "mouthFunnel": 0.3},
    "spread": {"mouthStretch*": 0.4, "mouthSmile*": 0.3},
    "lift": {"mouthUpperUp*": 0.5},
    "lower": {"mouthLowerDown*": 0.55},
    "tuck": {"mouthRollLower": 0.8, "mouthUpperUp*": 0.15},
    "smile": {"mouthSmile*": 0.6, "cheekSquint*": 0.4},
    "raised": {"browInnerUp": 0.7, "browOuterUp*": 0.7},
    "drawn": {"browDown*": 0.8},
}


@dataclass(frozen=True)
class ClipParameters:
    """Head-model parameters of every frame; the ground truth of the clip.

    Attributes:
        shape: (S,) identity.
        exp: (N, E).
        jaw: (N, 3) axis-angle.
        eyes: (N, 6) axis-angle, left then right.
        eyelids: (N, 2).
        R: (N, 3, 3) head axes to OpenCV camera.
        t: (N, 3) meters.
    """

    shape: np.ndarray
    exp: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray
    R: np.ndarray
    t: np.ndarray

    def frames(self, part: slice) -> "ClipParameters":
        """Parameters of some frames."""
        names = ("exp", "jaw", "eyes", "eyelids", "R", "t")
        return replace(self, **{name: getattr(self, name)[part] for name in names})


def sample_identity(model: HeadModel, seed: int = 23) -> np.ndarray:
    """(S,) identity sampled from the truncated prior."""
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(len(model.shape_std)).clip(-1.2, 1.2)
    return (0.7 * drawn * model.shape_std).astype(np.float32)


def animate(
    performance: Performance, model: HeadModel, pivot: np.ndarray, camera_t: np.ndarray
) -> ClipParameters:
    """Parameters of a head model that follow a performance.

    Args:
        performance: motion of the subject.
        model: a head with ARKit-style expression names.
        pivot: (3,) meters, the point of the head frame about which the head turns.
        camera_t: (3,) translation of the fixed camera; its rotation is `CAMERA`.

    Raises:
        UserError: if the model lacks an expression shape that the performance needs.
    """
    turn = turn_matrices(performance.angles)
    moved = pivot + performance.shift - turn @ pivot
    gaze = np.concatenate([performance.gaze, np.zeros((len(turn), 1))], 1)
    eye = axis_angle_from_matrix(torch.as_tensor(turn_matrices(gaze))).numpy()
    jaw = np.zeros((len(turn), 3))
    jaw[:, 0] = JAW_RADIANS * performance.lips[:, LIP_CHANNELS.index("jaw")]
    rest = LID_REST + LID_FOLLOW * performance.gaze[:, 1:].clip(0.0, None)
    eyelids = rest + (1 - rest) * performance.blink
    arrays = {
        "exp": _expression(performance, model),
        "jaw": jaw,
        "eyes": np.concatenate([eye, eye], 1),
        "eyelids": eyelids,
        "R": CAMERA @ turn,
        "t": moved @ CAMERA.T + camera_t,
    }
    return ClipParameters(
        shape=sample_identity(model),
        **{key: value.astype(np.float32) for key, value in arrays.items()},
    )


def turn_matrices(angles: np.ndarray) -> np.ndarray:
    """(N, 3) yaw, pitch, roll -> (N, 3, 3): roll first, then pitch, then yaw."""

    def about(axis: int, angle: np.ndarray) -> torch.Tensor:
        vector = torch.zeros(len(angle), 3, dtype=torch.float64)
        vector[:, axis] = torch.as_tensor(angle)
        return matrix_from_axis_angle(vector)

    return (about(1, angles[:, 0]) @ about(0, angles[:, 1]) @ about(2, angles[:, 2])).numpy()


def _expression(performance: Performance, model: HeadModel) -> np.ndarray:
    channels = dict(zip(LIP_CHANNELS, performance.lips.T, strict=True))
    channels |= {
        "smile": performance.smile,
        "raised": performance.brows[:, 0],
        "drawn": performance.brows[:, 1],
    }
    column = {name: index for index, name in enumerate(model.expression_names)}
    exp = np.zeros((len(performance.times), len(model.expression_std)))
    for channel, shapes in SHAPES_OF_CHANNEL.items():
        for pattern, weight in shapes.items():
            sides = ("_L", "_R") if "*" in pattern else ("",)
            for name in (pattern.replace("*", side) for side in sides):
                if name not in column:
                    raise UserError(
                        f"head model {model.name}: no expression shape '{name}'; the built-in "
                        "subject needs a head with ARKit names, such as the procedural one"
                    )
                exp[:, column[name]] += weight * channels[channel]
    if model.expression_range is not None:
        exp = exp.clip(model.expression_range[:, 0], model.expression_range[:, 1])
    return exp
