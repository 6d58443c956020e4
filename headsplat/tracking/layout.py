"""Columns of the solver's unknowns, and the state that a solve updates."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headsplat.rotations import matrix_from_axis_angle


@dataclass(frozen=True)
class Layout:
    """Columns of one frame's block and of the shared block.

    Frame: expression | jaw (3, axis-angle) | eyes (4: left x, y, right x, y) | lids (2: left,
    right) | turn (3, a left increment of the head's rotation, always 0 in the state) | place (3).

    `place` is (a, b, s): the head's origin lies a, b pixels from the principal point if seen
    without perspective, and exp(s) pixels are one meter. It encodes the translation (a exp(-s), b
    exp(-s), f exp(-s)). A change of the focal length f then changes only the perspective, not size
    or position in the image.

    Shared: identity | log of the focal length in pixels. A solve frees none of these, the
    identity, or all.
    """

    n_expression: int
    n_identity: int

    @property
    def expression(self) -> slice:
        """Expression columns."""
        return slice(0, self.n_expression)

    @property
    def jaw(self) -> slice:
        """Jaw columns."""
        return slice(self.n_expression, self.n_expression + 3)

    @property
    def eyes(self) -> slice:
        """Eye columns."""
        return slice(self.jaw.stop, self.jaw.stop + 4)

    @property
    def lids(self) -> slice:
        """Eyelid columns."""
        return slice(self.eyes.stop, self.eyes.stop + 2)

    @property
    def turn(self) -> slice:
        """Columns of the rotation's increment."""
        return slice(self.lids.stop, self.lids.stop + 3)

    @property
    def place(self) -> slice:
        """Columns of position and size in the image."""
        return slice(self.turn.stop, self.turn.stop + 3)

    @property
    def frame_size(self) -> int:
        """Unknowns of one frame."""
        return self.place.stop

    @property
    def identity(self) -> slice:
        """Identity columns of the shared block."""
        return slice(0, self.n_identity)

    @property
    def focal(self) -> int:
        """Column of the focal length in the shared block."""
        return self.n_identity

    @property
    def shared_size(self) -> int:
        """Unknowns that all frames share."""
        return self.n_identity + 1


@dataclass(frozen=True)
class State:
    """frame (N, P), rotation (N, 3, 3) head to camera, shared (Q,); float64."""

    frame: Tensor
    rotation: Tensor
    shared: Tensor

    def part(self, where: slice | Tensor) -> "State":
        """The state of some frames."""
        return replace(self, frame=self.frame[where], rotation=self.rotation[where])

    def moved(self, layout: Layout, frame_step: Tensor, shared_step: Tensor) -> "State":
        """The state after a step; the rotation is turned from the left."""
        turn = matrix_from_axis_angle(frame_step[:, layout.turn])
        frame = self.frame + frame_step
        frame[:, layout.turn] = 0
        return State(frame, turn @ self.rotation, self.shared + shared_step)

    def translation(self, layout: Layout) -> Tensor:
        """(N, 3) meters in the OpenCV camera."""
        place = self.frame[:, layout.place]
        meters = torch.exp(-place[:, 2:])
        focal = self.shared[layout.focal].exp().expand(len(place), 1)
        return torch.cat([place[:, :2], focal], 1) * meters


def eye_vectors(eyes: Tensor) -> Tensor:
    """(N, 4) -> (N, 2, 3) axis-angle, left then right; eyes do not roll."""
    return torch.nn.functional.pad(eyes.reshape(-1, 2, 2), (0, 1))
