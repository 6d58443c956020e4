"""FlashAvatar's network, reduced to a mean and K bases that a browser mixes.

The network moves every Gaussian of every frame, 330,000 multiplications each. Its ten numbers for
each Gaussian are close to linear in a few weights, so they are evaluated on frames of the clip and
reduced by a singular value decomposition. A small network learns the weights of a code, from codes
of the clip, between them and near them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.base import Gaussians
from headsplat.gaussians.deform.flashavatar import OUTPUTS, FlashAvatarDeformation
from headsplat.gaussians.sh import harmonic_colors
from headsplat.runtime.heartbeat import beat

HIDDEN = 64
_FRAMES = 240  # of the clip that are reduced
_ROWS_AT_ONCE = 1 << 15  # Gaussians times frames, to bound memory
_POINTS = 128  # Gaussians from which the weights of further codes are found
_CODES = 4000  # further codes
_NOISE = 0.3  # their deviation from codes of the clip, in standard deviations of each number
_STEPS, _ROWS, _RATE = 2000, 256, 3e-3  # of Adam
_FLOOR = 1e-3  # smallest standard deviation that a number of a code is divided by
# What an error of each number costs: an offset in millimeters; a turn, and a factor on the
# logarithm of the scale (about -7), for a Gaussian of a millimeter.
_COSTS = (1000.0,) * 3 + (1.0,) * 4 + (7.0,) * 3


class WeightNetwork(nn.Module):
    """A code of C numbers -> K weights: a linear path, and a hidden layer."""

    def __init__(self, size: int, bases: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, HIDDEN)
        self.output = nn.Linear(HIDDEN, bases)
        self.linear = nn.Linear(size, bases, bias=False)

    def forward(self, code: Tensor) -> Tensor:
        """(B, C) standardized codes -> (B, K)."""
        return self.linear(code) + self.output(torch.relu(self.hidden(code)))


@dataclass(frozen=True)
class Baked:
    """N Gaussians whose ten numbers are linear in K weights.

    Attributes:
        mean: (N, 10), after the hyperbolic tangent.
        bases: (K, N, 10).
        network: from standardized codes to weights.
        code_mean: (C,)
        code_scale: (C,)
    """

    mean: Tensor
    bases: Tensor
    network: WeightNetwork
    code_mean: Tensor
    code_scale: Tensor

    def numbers(self, condition: Tensor) -> Tensor:
        """(B, C) codes -> (B, N, 10)."""
        weights = self.network((condition - self.code_mean) / self.code_scale)
        return self.mean + torch.einsum("bk,knc->bnc", weights, self.bases)


@torch.no_grad()
def bake(model: FlashAvatarDeformation, codes: Tensor, bases: int, limits: Tensor) -> Baked:
    """Reduce a model on codes of its clip.

    Args:
        model: N Gaussians.
        codes: (T, C) codes of frames.
        bases: K, at most T - 1.
        limits: (2, C) lowest and highest code.
    """
    picked = torch.linspace(0, len(codes) - 1, min(len(codes), _FRAMES)).round().long().unique()
    values = _evaluated(model, codes[picked])
    mean = values.mean(0)
    costs = torch.tensor(_COSTS) * torch.sigmoid(model.opacity).sqrt()
    centered = ((values - mean) * costs).flatten(1)
    _, vectors = torch.linalg.eigh(centered.double() @ centered.double().T)
    count = min(bases, len(picked) - 1)
    # The weights of each basis have unit variance over the frames.
    rows = vectors.flip(1)[:, :count].T.float() @ centered / len(picked) ** 0.5
    found = rows.unflatten(1, mean.shape) / costs.clamp_min(1e-6)
    network, code_mean, code_scale = _fit(model, codes, mean, found, costs, limits)
    return Baked(mean, found, network, code_mean, code_scale)


def _evaluated(
    model: FlashAvatarDeformation, codes: Tensor, points: Tensor | None = None
) -> Tensor:
    """(T, C) codes -> (T, N, 10), or of some points only."""
    encoded = model._encoded() if points is None else model._encoded()[points]
    parts = []
    for start, some in enumerate(codes.split(max(1, _ROWS_AT_ONCE // len(encoded)))):
        parts.append(torch.tanh(model.mlp(encoded, some)[..., :OUTPUTS]))
        beat("reducing the network", start)
    return torch.cat(parts)


def _fit(
    model: FlashAvatarDeformation,
    codes: Tensor,
    mean: Tensor,
    bases: Tensor,
    costs: Tensor,
    limits: Tensor,
) -> tuple[WeightNetwork, Tensor, Tensor]:
    """The network of the weights, and mean and scale of its inputs."""
    random = torch.Generator().manual_seed(0)
    center, scale = codes.mean(0), codes.std(0, correction=0).clamp_min(_FLOOR)
    a, b = (codes[torch.randint(len(codes), (_CODES,), generator=random)] for _ in range(2))
    share = torch.rand(_CODES, 1, generator=random)
    noise = _NOISE * scale * torch.randn(a.shape, generator=random)
    more = torch.lerp(a, b, share) + noise * (share > 0.3)
    every = torch.cat([codes, torch.minimum(torch.maximum(more, limits[0]), limits[1])])
    # The weights of any code, by least squares over some Gaussians.
    points = torch.randperm(len(mean), generator=random)[:_POINTS]
    some = (bases[:, points] * costs[points]).flatten(1).T
    numbers = (_evaluated(model, every, points) - mean[points]) * costs[points]
    wanted = torch.linalg.lstsq(some.double(), numbers.flatten(1).double().T).solution.T.float()
    inputs = (every - center) / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = WeightNetwork(codes.shape[1], len(bases))
    # The linear path starts at the solution of least squares, so that the rest is small.
    ones = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    ridge = 1e-3 * len(ones) * torch.eye(ones.shape[1], dtype=torch.float64)
    line = torch.linalg.solve(ones.T @ ones + ridge, ones.T @ wanted.double()).T.float()
    network.linear.weight.copy_(line[:, :-1])
    network.output.weight.zero_()
    network.output.bias.copy_(line[:, -1])
    # A basis counts as much as it moves the Gaussians.
    amount = (bases * costs).flatten(1).square().mean(1).sqrt()
    with torch.enable_grad():
        _train(network, inputs, wanted, amount, random)
    return network.requires_grad_(False), center, scale


def _train(
    network: WeightNetwork,
    inputs: Tensor,
    wanted: Tensor,
    amount: Tensor,
    random: torch.Generator,
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for step in range(_STEPS):
        rows = torch.randint(len(inputs), (_ROWS,), generator=random)
        loss = ((network(inputs[rows]) - wanted[rows]) * amount).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            beat("fitting the weights", step, _STEPS)


def baked_gaussians(
    avatar: Avatar, numbers: Tensor, positions: Tensor, centers: Tensor
) -> Gaussians:
    """Gaussians of a flashavatar avatar from its ten numbers.

    Args:
        avatar: with a `FlashAvatarDeformation`.
        numbers: (B, N, 10), after the hyperbolic tangent.
        positions: (B, N, 3) of the anchors, meters.
        centers: (B, 3) of the cameras in the head's frame.
    """
    model = avatar.deformation
    means = positions + numbers[..., :3]
    w, x, y, z = model.rotation_base.unbind(-1)
    a, b, c, d = torch.cat([numbers[..., 3:4].exp(), numbers[..., 4:7]], -1).unbind(-1)
    quats = torch.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        -1,
    )
    scales = torch.exp(model.scaling_base * torch.exp(numbers[..., 7:]))
    colors = harmonic_colors(
        model.features_dc, model.features_rest, means, centers, model.active_degree
    )
    return Gaussians(means, quats, scales, torch.sigmoid(model.opacity[:, 0]), colors)
