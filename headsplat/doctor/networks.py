"""Check ONNX Runtime and the face detector with a small input of known result."""

from collections.abc import Iterator

import cv2
import numpy as np

from headsplat.detect.mediapipe_models import FaceModels
from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.runtime.errors import UserError
from headsplat.runtime.failures import ONNX_CURE

_SIZE = 256
# Ellipses of a face, from back to front: center and half axes from the middle of the image, RGB.
_FACE = (
    (0, 120, 90, 60, (60, 60, 90)),
    (0, 60, 32, 55, (190, 145, 120)),
    (0, -12, 70, 86, (70, 45, 30)),
    (0, 8, 58, 76, (224, 180, 150)),
    (-30, -24, 17, 3, (80, 55, 40)),
    (30, -24, 17, 3, (80, 55, 40)),
    (-30, -8, 13, 7, (250, 250, 250)),
    (30, -8, 13, 7, (250, 250, 250)),
    (-30, -8, 6, 6, (40, 30, 25)),
    (30, -8, 6, 6, (40, 30, 25)),
    (0, 14, 7, 22, (208, 160, 132)),
    (-6, 32, 5, 3, (150, 100, 85)),
    (6, 32, 5, 3, (150, 100, 85)),
    (0, 52, 22, 7, (190, 90, 90)),
    (0, 52, 20, 1, (110, 40, 45)),
)
_EYES = ((33, -43, -8), (263, 43, -8))  # landmark, and where the outer corner was drawn
_CLOSE = 8  # pixels
# An ONNX model: b = a + a, each float32 (3,).
SUM = bytes.fromhex(
    "08083a350a0e0a01610a016112016222034164641201675a0f0a0161120a0a08080112040a020803"
    "620f0a0162120a0a08080112040a02080342040a00100d"
)


def check_onnx() -> Iterator[Finding]:
    """Run a sum on each of ONNX Runtime's providers that headsplat uses."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        says = f"not installed; RobustVideoMatting and BiSeNet need it: {ONNX_CURE}"
        yield ok("ONNX Runtime", says)
        return
    available = onnxruntime.get_available_providers()
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        if provider in available:
            yield _adds(provider)
    if "CUDAExecutionProvider" not in available and _gpu():
        fix = "pip install onnxruntime-gpu in place of onnxruntime, if ONNX weights are used"
        yield warning("ONNX Runtime", "has no CUDA provider, so the CPU computes", fix)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _adds(provider: str) -> Finding:
    import onnxruntime

    what = f"ONNX Runtime {onnxruntime.__version__}"
    device = provider.removesuffix("ExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    given = np.array([1, 2, 3], np.float32)
    try:
        session = onnxruntime.InferenceSession(SUM, options, providers=[provider])
        (got,) = session.run(None, {"a": given})
    except Exception as error:  # onnxruntime's own classes have no common base
        return fails(what, f"{device}: {str(error).splitlines()[0]}", "reinstall it")
    if session.get_providers()[0] != provider:
        fix = "install the CUDA and cuDNN that this ONNX Runtime needs"
        return warning(what, f"{device} does not start, so the CPU computes", fix)
    if not np.array_equal(got, 2 * given):
        return fails(what, f"{device} adds wrongly", "reinstall it")
    return ok(what, f"{device} adds rightly")


def check_detector() -> Iterator[Finding]:
    """Find a drawn face and the corners of its eyes."""
    fix = "reinstall ai-edge-litert, in the version of requirements.lock"
    image = drawn_face()
    try:
        models = FaceModels()
    except UserError as error:
        says, _, cure = str(error).partition("; ")
        yield fails("face detector", says, cure)
        return
    found = models.detect(image)
    if len(found) != 1:
        yield fails("face detector", f"finds {len(found)} faces where one is drawn", fix)
        return
    points, presence = models.landmarks(image, found[0].region)
    middle = _SIZE / 2
    off = [
        np.hypot(points[index, 0] - middle - x, points[index, 1] - middle - y)
        for index, x, y in _EYES
    ]
    if max(off) > _CLOSE:
        yield fails("face detector", "its landmarks are not where a face was drawn", fix)
        return
    says = f"finds a drawn face (score {found[0].score:.2f}, presence {presence:.2f})"
    yield ok("face detector", says)


def drawn_face() -> np.ndarray:
    """A face of ellipses, RGB uint8 (256, 256, 3)."""
    image = np.full((_SIZE, _SIZE, 3), (120, 135, 150), np.uint8)
    middle = _SIZE // 2
    for x, y, wide, high, color in _FACE:
        center = (middle + x, middle + y)
        cv2.ellipse(image, center, (wide, high), 0, 0, 360, color, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 1.2)
