"""Lazy reader of `torch.save` archives: loads single tensors and runs no code from the file.

Training checkpoints contain optimizers, counters and embedded models beside the weights. Objects of
other classes than tensors are ignored, and a tensor's bytes are read on request only. The options
of a training script are read as plain values: `argparse.Namespace` and paths.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.pickles.known_globals import plain_global
from headsplat.runtime.pickles.placeholders import Global, ObjectState, PickleError
from headsplat.runtime.pickles.tensors import TensorReference
from headsplat.runtime.pickles.torch_files import TorchZip

_LONGEST_PATH = 4096  # characters


class Namespace(ObjectState):
    """An `argparse.Namespace`; its options are the `state`."""

    __slots__ = ()


def _path(*parts: Any) -> str:
    if any(type(part) is not str for part in parts) or sum(map(len, parts)) > _LONGEST_PATH:
        raise PickleError("a path that is not made of names")
    return str(PurePosixPath(*parts))


def _plain_value(module: str, name: str) -> Global | None:
    """`Finder` of dictionaries, and of a training script's options."""
    if (module, name) == ("argparse", "Namespace"):
        return Global(module, name, new=Namespace)
    if module in ("pathlib", "pathlib._local") and name in ("PosixPath", "PurePosixPath"):
        return Global(module, name, call=_path)
    ordered = (module, name) == ("collections", "OrderedDict")
    return plain_global(module, name) if ordered else None


class TorchArchive:
    """A zip archive of `torch.save` (torch 1.6 and later), with tensors loaded on demand.

    Attributes:
        content: the saved value, with `TensorReference` for tensors and `IgnoredObject` for
            objects of other classes.

    Raises:
        UserError: the file is not such an archive, or it is truncated.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        try:
            self._zip = TorchZip(path)
            try:
                self.content = self._zip.load(lambda reference: reference, _plain_value, inert=True)
            except PickleError:
                self._zip.close()
                raise
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        except PickleError as error:
            raise UserError(
                f"{path}: not a complete torch archive ({error}); download it again"
            ) from error

    def table(self, *keys: str) -> dict[str, TensorReference]:
        """The tensors in the dictionary under nested `keys`; its other entries are left out.

        Raises:
            UserError: a key is missing.
        """
        node: Any = self.content
        for depth, key in enumerate(keys):
            if not isinstance(node, Mapping) or key not in node:
                missing = ".".join(keys[: depth + 1])
                raise UserError(f"{self._path}: the key '{missing}' is missing; give the original")
            node = node[key]
        if not isinstance(node, Mapping):
            raise UserError(f"{self._path}: '{'.'.join(keys)}' is no table of tensors")
        return {str(k): v for k, v in node.items() if isinstance(v, TensorReference)}

    def options(self, key: str) -> dict[str, Any]:
        """The options of the `argparse.Namespace` under `key`.

        Raises:
            UserError: there is none.
        """
        found = self.content.get(key) if isinstance(self.content, Mapping) else None
        if type(found) is not Namespace:
            raise UserError(f"{self._path}: has no options under '{key}'; give the original")
        return {str(name): value for name, value in found.state.items()}

    def read(self, reference: TensorReference) -> Tensor:
        """Load a tensor on the CPU.

        Raises:
            UserError: its bytes are missing or too few.
        """
        try:
            return reference.tensor()
        except PickleError as error:
            raise UserError(
                f"{self._path}: tensor bytes '{shown(reference.key)}' cannot be read ({error}); "
                "download it again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> "TorchArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
