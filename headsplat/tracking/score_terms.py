"""Terms of the blendshape scores in the tracking energy: gaze, and lips that touch.

The iris moves little with the pitch of the gaze, and less in the detector's points than in the
image. The score of the gaze is compared with the eye joints, up to a constant of the clip that
comes from the landmarks.

Landmarks say nothing about depth in frontal views, so lips that touch in the image may be
millimeters apart in depth. Where landmarks and scores agree that the lips touch, the inner lips are
as close as on the neutral head, whose mouth is shut.
"""

import numpy as np
import torch
from torch import Tensor

from headsplat.tracking import priors, scores
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import Observations
from headsplat.tracking.projection import LandmarkView

# Components of an offset between the lips that are compared: up and to the front.
UP_FRONT = slice(1, 3)
# Eyes that are more open than this tell the constant of the gaze.
OPEN = 0.5


class LipContact:
    """Offsets between upper and lower inner lips less those of the neutral head.

    Args:
        basis: landmark-restricted head.
        layout: of the unknowns.
        upper, lower: (D,) rows of the pairs' points.
    """

    def __init__(self, basis: LandmarkBasis, layout: Layout, upper: Tensor, lower: Tensor) -> None:
        self._basis, self._layout = basis, layout
        self._upper, self._lower = upper, lower
        # The still part and the jaw's; shifts of the landmarks change only the templates.
        parts = basis.parts[:2]
        self._identity = [self._apart(k, part.identity) for k, part in enumerate(parts)]
        self._slopes = [
            (
                self._apart(k, part.expression_columns),
                self._identity[k].float(),
                None if part.pose is None else self._apart(k, part.pose).float(),
            )
            for k, part in enumerate(parts)
        ]

    def _apart(self, part: int, values: Tensor) -> Tensor:
        """(n, ...) values of a part's points -> (D, ...) differences; other points are 0."""
        whole = values.new_zeros(len(self._basis.index), *values.shape[1:])
        whole[self._basis.parts[part].rows] = values
        return whole[self._upper] - whole[self._lower]

    def _carried(self, part: int, view: LandmarkView) -> Tensor:
        """(N, D, 3) differences of a part's points before it turns."""
        return self._apart(part, view.carried[part].transpose(0, 1)).transpose(0, 1)

    def offsets(self, state: State, view: LandmarkView) -> Tensor:
        """(N, D, 2) meters, up and to the front in the head's axes."""
        identity = state.shared[self._layout.identity]
        rest = sum(
            self._apart(k, self._basis.parts[k].template) + self._identity[k] @ identity
            for k in (0, 1)
        )
        moved = self._carried(1, view) @ view.joints.matrices[0].mT
        return (self._carried(0, view) + moved - rest)[..., UP_FRONT]

    def columns(self, out: Tensor, view: LandmarkView, weight: Tensor) -> None:
        """Write the derivatives by the frame's unknowns and the first shared ones.

        Args:
            out: (N, D, 2, P + free) float32.
            view: of the state.
            weight: (N, D, 2), factors of the offsets.
        """
        layout = self._layout
        free = min(out.shape[-1] - layout.frame_size, layout.n_identity)
        shared = slice(layout.frame_size, layout.frame_size + free)
        out.zero_()
        turn = view.joints.matrices[0].float()[:, UP_FRONT]  # [N, 2, 3]
        still = torch.eye(3, device=turn.device)[UP_FRONT].expand_as(turn)
        changes = [view.joints.derivative(0)]  # [N, 3, 3, 3]
        for k, direction in enumerate((still, turn)):
            expression, identity, pose = self._slopes[k]
            out[..., layout.expression] += _along(direction, expression)
            if k and free:
                out[..., shared] = _along(turn - still, identity[..., :free])
            if pose is None:
                continue
            changes += [view.joints.derivative(joint) for joint in range(len(changes), 3)]
            for joint, (where, change) in enumerate(zip(view.joints.columns, changes, strict=True)):
                correct = pose[..., 9 * joint : 9 * joint + 9]
                moved = torch.einsum("nai,dif,nkf->ndak", direction, correct, change.flatten(2))
                columns = out[..., where]
                columns += moved[..., : columns.shape[-1]]
        apart = self._carried(1, view).float()
        turned = torch.einsum("nkaj,ndj->ndak", changes[0][:, :, UP_FRONT], apart)
        out[..., layout.jaw] += turned
        out *= weight[..., None].float()


def _along(direction: Tensor, slopes: Tensor) -> Tensor:
    """(N, 2, 3), (D, 3, K) -> (N, D, 2, K)."""
    return direction[:, None] @ slopes


class ScoreTerms:
    """Residuals of the scores of one clip.

    The gaze has no weight until `calibrate` is called.

    Args:
        basis: landmark-restricted head.
        layout: of the unknowns.
        observed: detections with scores.
        weight: (N,) of the frames.
        upper, lower: (D,) rows of the inner lips' points.
    """

    def __init__(
        self,
        basis: LandmarkBasis,
        layout: Layout,
        observed: Observations,
        weight: Tensor,
        upper: Tensor,
        lower: Tensor,
    ) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float64, device=weight.device)

        self._layout = layout
        self._contact = LipContact(basis, layout, upper, lower)
        found = observed.scores
        touch = tensor(scores.lips_touch(observed.points, found, observed.size))
        self._touch = (touch * weight)[:, None].expand(-1, len(upper))
        angles = scores.gaze(found)
        known = tensor(np.isfinite(angles[:, ::2])) * weight[:, None]
        self._open = tensor(scores.open_eyes(found)) * known  # [N, 2]
        self._angles = tensor(np.nan_to_num(angles))
        self._looking = torch.zeros_like(self._open)
        self._noise = tensor(np.array(priors.GAZE_SCORE_NOISE))

    def calibrate(self, state: State, frames: Tensor) -> None:
        """Take the constant of the gaze from the eye joints of a state.

        Args:
            state: of the frames numbered `frames`.
            frames: (n,) long.
        """
        away = state.frame[:, self._layout.eyes] - self._angles[frames]
        known = self._open[frames] > OPEN
        away = torch.where(known.repeat_interleave(2, 1), away, torch.nan)
        self._angles = self._angles + away.nanmedian(0).values.nan_to_num()
        self._looking = self._open * known.any(0)

    def residuals(
        self, state: State, view: LandmarkView, frames: Tensor
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """Residuals in standard deviations and their weights: lips (n, D, 2), gaze (n, 2, 2)."""
        lips = self._contact.offsets(state, view) / priors.CONTACT_NOISE
        eyes = (state.frame[:, self._layout.eyes] - self._angles[frames]).unflatten(1, (2, 2))
        return (lips, self._touch[frames]), (eyes / self._noise, self._looking[frames])

    def columns(
        self, lips: Tensor, eyes: Tensor, view: LandmarkView, gains: tuple[Tensor, Tensor]
    ) -> None:
        """Write the derivatives of `residuals`.

        Args:
            lips: (n, D, 2, P + free) float32.
            eyes: (n, 2, 2, P + free) float32.
            view: of the state.
            gains: (n, D) and (n, 2) factors of the rows.
        """
        weight = gains[0][..., None] / priors.CONTACT_NOISE
        self._contact.columns(lips, view, weight.expand(-1, -1, 2))
        eyes.zero_()
        slope = (gains[1][..., None] / self._noise).flatten(1).float()
        columns = eyes.flatten(1, 2)[..., self._layout.eyes]
        columns.diagonal(dim1=1, dim2=2).copy_(slope)
