"""The matting models by name. A new model is one module and one line here.

Importing this module imports no model, so that planning needs no torch and each model runs where
the libraries of the others are absent.
"""

from dataclasses import dataclass
from pathlib import Path

from headsplat.masks.networks import AUTO, MaskModel
from headsplat.options import option
from headsplat.registry import Registry


@dataclass(frozen=True)
class MatteOptions:
    """Section `matte` of the configuration, and what else a matting model may need.

    Attributes:
        edge_radius: reach of the edge refinement, in pixels of an image 512 wide.
        temporal_window: number of earlier frames that steady a matte.
        weights: file of the network, or None.
        turn: number of the chunk, by which chunks are distributed over GPUs.
        model: of `MATTERS`, or "auto".
    """

    edge_radius: float = option(
        8.0, "reach of the edge refinement in pixels of a 512 image; 0 leaves the edges", 0, 64
    )
    temporal_window: int = option(4, "earlier frames that steady a matte; 0 for none", 0, 32)
    weights: Path | None = None
    turn: int = 0
    model: str = option(
        AUTO,
        "auto: rvm where its weights are found, else mediapipe",
        choices=lambda: (AUTO, *MATTERS),
    )


# The target is a function `MatteOptions` -> `headsplat.masks.matte.MattingModel`.
MATTERS: Registry[MaskModel] = Registry(
    "matting model",
    {
        "mediapipe": MaskModel(
            "headsplat.masks.mediapipe_matting:open_matter", "the segmenters of MediaPipe's wheel"
        ),
        "rvm": MaskModel(
            "headsplat.masks.rvm_matting:open_matter", "Robust Video Matting, .onnx or .pth", "rvm"
        ),
    },
)
