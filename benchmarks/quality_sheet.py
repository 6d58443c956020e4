"""Images of a clip's held-out frames, for the eye: ground truth above the render of each method."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.clips import Clip
from headsplat.evaluate.eyes import eyes_closed
from headsplat.metrics import psnr_head
from headsplat.runtime.files import publish

SHUT, WIDE = 3, 2


def chosen_rows(clip: Clip, render: Callable[[Tensor], Tensor]) -> dict[int, str]:
    """Held-out rows of a clip to look at -> why.

    Worst, median and best by the head's PSNR, and frames with shut eyes and wide mouths.
    """
    values = []
    for some in clip.held_out.split(8):
        ground_truth, mask = clip.ground_truth(some)
        values.append(psnr_head(ground_truth, render(some), mask).cpu())
    order = clip.held_out[torch.cat(values).argsort()].tolist()
    chosen = {order[0]: "worst", order[len(order) // 2]: "median", order[-1]: "best"}
    shut = clip.held_out[torch.from_numpy(eyes_closed(clip.track[clip.held_out.numpy()]))].tolist()
    mouth = clip.planes[..., 4].gt(127).sum((1, 2)).cpu()
    wide = clip.held_out[mouth[clip.held_out].argsort(descending=True)].tolist()
    for rows, words, count in ((shut, "eyes shut", SHUT), (wide, "mouth wide", WIDE)):
        spread = rows[:: max(1, len(rows) // count)] if words == "eyes shut" else rows
        for row in spread[:count]:
            chosen.setdefault(row, words)
    return chosen


def write_sheet(path: Path, clip: Clip, renders: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
    """Write a PNG: a column for each chosen frame, a row for the ground truth and each method."""
    chosen = chosen_rows(clip, next(iter(renders.values())))
    rows = torch.tensor(list(chosen))
    lines = {"ground truth": clip.ground_truth(rows)[0]}
    lines |= {name: render(rows).clamp(0, 1) for name, render in renders.items()}
    drawn = []
    for name, images in lines.items():
        pictures = (images * 255).round().byte().cpu().numpy()[..., ::-1].copy()
        for picture, (row, why) in zip(pictures, chosen.items(), strict=True):
            text = f"{clip.track.ids[row]} {why}" if name == "ground truth" else name
            cv2.putText(picture, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,) * 3, 1)
        drawn.append(np.concatenate(pictures, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.concatenate(drawn))[1].tobytes())
