"""Classify errors: one-line `UserError` for what the user can fix; all others are bugs."""

from headsplat.runtime.errors import UserError
from headsplat.runtime.memory import memory_error
from headsplat.runtime.storage import storage_error

# RobustVideoMatting and BiSeNet as ONNX files need a package that is an optional dependency.
ONNX_CURE = "pip install 'headsplat[onnx]', or onnxruntime-gpu itself"


def user_error(error: BaseException) -> UserError | None:
    """The one-line error to show for an exception; None for a bug, which keeps its traceback."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
        return UserError(f"the package onnxruntime is not installed; {ONNX_CURE}")
    return memory_error(error) or (storage_error(error) if isinstance(error, OSError) else None)
