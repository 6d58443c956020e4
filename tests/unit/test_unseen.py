"""Gaussians that no training frame shows are found and hidden."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from headsplat.gaussians.deform.base import Gaussians
from headsplat.gaussians.deform.blendshapes import BlendshapeDeformation
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.train.unseen import unseen
from tests.unit.test_deform import CODE, COUNT, inputs, start

# Of five Gaussians about 1 m from the camera: two large opaque ones, one behind them, one beside
# them, and one outside of the image.
PLACES = (
    (0.0, 0.0, 1.0), (0.0, 0.0, 1.01), (0.0, 0.0, 1.2), (0.3, 0.0, 0.9), (3.0, 0.0, 1.0),
)  # fmt: skip
SIZES = (0.3, 0.3, 0.002, 0.01, 0.01)


@dataclass
class Finished:
    """What `unseen` needs of a finished training of ten frames."""

    count = len(PLACES)
    avatar = SimpleNamespace(device=torch.device("cpu"))
    images = SimpleNamespace(planes=torch.zeros(1, 64, 64, 5, dtype=torch.uint8))
    frames = SimpleNamespace(
        ids=list(range(10)), rotation=torch.eye(3).expand(10, 3, 3).contiguous(),
        translation=torch.zeros(10, 3), intrinsics=torch.tensor([64.0, 64, 32, 32]),
    )  # fmt: skip

    def gaussians(self, rows):
        batch, shown = len(rows), torch.tensor(PLACES).repeat(len(rows), 1, 1)
        # The last frame alone shows the one beside.
        shown[rows < 9, 3, 0] = 5.0
        return Gaussians(
            shown, torch.tensor([1.0, 0, 0, 0]).expand(batch, 5, 4).contiguous(),
            torch.tensor(SIZES)[:, None].expand(5, 3).contiguous(), torch.full((5,), 0.999),
            torch.rand(5, 3),
        )  # fmt: skip


def test_what_is_covered_or_outside_of_every_frame_is_unseen():
    assert unseen(Finished()).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("model", ["blendshapes", "flashavatar"])
def test_hidden_gaussians_are_invisible_in_every_frame(model):
    made = {
        "blendshapes": BlendshapeDeformation(COUNT, CODE, 6),
        "flashavatar": FlashAvatarDeformation(COUNT, CODE),
    }[model]
    made.initialize(start())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    frames, hidden = inputs(), torch.arange(COUNT) % 3 == 0
    before = made(frames).opacities.expand(2, COUNT)
    made.hide(hidden)
    after = made(frames).opacities.expand(2, COUNT)
    assert (after[:, hidden] < 1 / 255 / 100).all()
    torch.testing.assert_close(after[:, ~hidden], before[:, ~hidden])
