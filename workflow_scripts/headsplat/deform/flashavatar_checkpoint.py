"""FlashAvatar's `chkpntN.pth`: the tuple (deform, gauss, iteration) that its code saves."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headsplat.deform.flashavatar import FlashAvatarDeformation
from headsplat.files import publish


def save_checkpoint(
    folder: Path | str,
    model: FlashAvatarDeformation,
    positions: Tensor,
    optimiser: dict[str, Any],
    iteration: int,
) -> Path:
    """Write `chkpnt<iteration>.pth` with the published names, shapes and order.

    Args:
        folder: where.
        model: trained.
        positions: (N, 3) the Gaussians' centres in some frame, metres.
        optimiser: state dict of one Adam over `model.parameter_groups()`.
        iteration: training images seen, as the published code counts with batch 1.
    """
    groups = optimiser["param_groups"]
    count = len(model.opacity)
    zeros = torch.zeros(count, 1)
    mlp = OrderedDict((key, value.detach().cpu()) for key, value in model.mlp.state_dict().items())
    gauss = (
        model.active_degree,
        positions.detach().cpu().requires_grad_(True),
        *(_parameter(value) for value in (
            model.features_dc, model.features_rest, model.scaling_base, model.rotation_base,
            model.opacity,
        )),
        torch.zeros(count),
        zeros,
        zeros.clone(),
        _adam_state(optimiser, groups[1:]),
        0,
    )  # fmt: skip
    path = Path(folder) / f"chkpnt{iteration}.pth"
    with publish(path) as temporary:
        torch.save(((mlp, _adam_state(optimiser, groups[:1])), gauss, iteration), temporary)
    return path


def _parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().cpu().clone())


def _adam_state(optimiser: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The state dict of an Adam over some of the groups alone: parameters numbered from 0."""
    state, renumbered, first = {}, [], 0
    for group in groups:
        for offset, index in enumerate(group["params"]):
            state[first + offset] = {
                key: value.detach().cpu() for key, value in optimiser["state"][index].items()
            }
        numbers = list(range(first, first + len(group["params"])))
        kept = {key: value for key, value in group.items() if key != "params"}
        if kept.get("name") == "deform":
            del kept["name"]  # the published network optimiser has one unnamed group
        renumbered.append({**kept, "params": numbers})
        first += len(numbers)
    return {"state": state, "param_groups": renumbered}
