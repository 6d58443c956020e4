"""Float64 reference of the photometric loss in plain PyTorch, and random images."""

import torch
from torch import Tensor
from torch.nn import functional

from headsplat.train import losses

SCALE = torch.tensor([1.0, -0.5, 2.0])
# Height, width, reduction: below a vector's size, odd, several runs of pixels, several bands.
SIZES = [
    (1, 1, 1), (1, 7, 1), (3, 5, 1), (37, 41, 1), (16, 32, 1), (90, 101, 1),
    (2, 2, 2), (3, 3, 2), (5, 2, 2), (37, 41, 2), (16, 32, 2), (3, 1041, 2), (150, 7, 2),
]  # fmt: skip


def target_and_weight(
    images: Tensor, rows: Tensor, background: Tensor, mouth: float, reduction: int
) -> tuple[Tensor, Tensor]:
    """(B, h, w, 3) and (B, h, w), float64."""
    planes = images[rows].double() / 255
    matte = planes[..., 3:4]
    target = matte * planes[..., :3] + (1 - matte) * background.double()[:, None, None]
    both = torch.cat((target, 1 + mouth * planes[..., 4:]), -1).permute(0, 3, 1, 2)
    both = functional.avg_pool2d(both, reduction).permute(0, 2, 3, 1)
    return both[..., :3], both[..., 3]


def image_loss(
    rendered: Tensor,
    images: Tensor,
    rows: Tensor,
    background: Tensor,
    mouth: float,
    reduction: int = 1,
) -> Tensor:
    """As `headsplat.train.losses.image_loss`, in float64."""
    target, weight = target_and_weight(images, rows, background, mouth, reduction)
    each = functional.huber_loss(rendered.double(), target, reduction="none", delta=0.1)
    return (each * weight[..., None]).flatten(1).mean(1)


def loss_and_gradient(function, scale: Tensor, image: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    """(B,) losses, and the gradient of their `scale`-weighted sum to the image."""
    image = image.detach().clone().requires_grad_()
    loss = function(image, *arguments)
    return loss.detach(), torch.autograd.grad((loss * scale).sum(), image)[0]


def compare(inputs, device="cpu"):
    """Assert that the operator agrees with the oracle; returns its (B,) loss and gradient."""
    inputs = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    scale = SCALE.to(device)
    loss, gradient = loss_and_gradient(losses.image_loss, scale, *inputs.values())
    true, true_gradient = loss_and_gradient(image_loss, scale, *inputs.values())
    torch.testing.assert_close(loss.double(), true, rtol=2e-6, atol=0)
    assert gradient.shape == inputs["rendered"].shape
    limit = 3e-6 * true_gradient.abs().max().item()
    torch.testing.assert_close(gradient.double(), true_gradient.double(), rtol=0, atol=limit)
    return loss, gradient


def scene(
    seed: int, height: int, width: int, reduction: int = 1, batch: int = 3, frames: int = 4
) -> dict[str, Tensor | int | float]:
    """Arguments by name: random bytes, many of them 0 and 255, and images near the targets."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(-60, 316, (frames, height, width, 5), generator=random)
    inputs = {
        "images": images.clamp(0, 255).byte(),
        "rows": torch.randint(frames, (batch,), generator=random),
        "background": torch.rand(batch, 3, generator=random),
        "mouth": 40.0,
        "reduction": reduction,
    }
    target, _ = target_and_weight(**inputs)
    # Differences on both sides of the delta.
    noise = 0.1 * torch.randn(target.shape, generator=random, dtype=torch.float64)
    return {"rendered": (target + noise).float()} | inputs
