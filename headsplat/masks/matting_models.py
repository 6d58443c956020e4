"""Registry of matting models. A new model is one module and one line here.

Importing this module imports no model, so that planning needs no torch and each model runs where
the libraries of the others are absent.
"""

from dataclasses import dataclass
from pathlib import Path

from headsplat.masks.mask_model import AUTO, MaskModel
from headsplat.options import option
from headsplat.registry import Registry


@dataclass(frozen=True)
class MatteOptions:
    """Section `matte` of the configuration, and further arguments of a matting model.

    Attributes:
        edge_radius: radius of the edge refinement, in pixels of an image 512 wide.
        temporal_window: number of earlier frames used for temporal smoothing.
        weights: file of the network, or None.
        turn: number of the chunk, by which chunks are distributed over GPUs.
        model: name in `MATTING_MODELS`, or "auto".
    """

    edge_radius: float = option(
        8.0, "radius of the edge refinement in pixels of a 512 image; 0 keeps the edges", 0, 64
    )
    temporal_window: int = option(4, "earlier frames for temporal smoothing; 0 for none", 0, 32)
    weights: Path | None = None
    turn: int = 0
    model: str = option(
        AUTO,
        "auto: rvm where its weights are found, else mediapipe",
        choices=lambda: (AUTO, *MATTING_MODELS),
    )


# The target is a function `MatteOptions` -> `headsplat.masks.matte.MattingModel`.
MATTING_MODELS: Registry[MaskModel] = Registry(
    "matting model",
    {
        "mediapipe": MaskModel(
            "headsplat.masks.mediapipe_matting:open_matting", "MediaPipe's person segmenters"
        ),
        "rvm": MaskModel(
            "headsplat.masks.rvm_matting:open_matting", "Robust Video Matting, .onnx or .pth", "rvm"
        ),
    },
)
