"""Parts of a `torch.save` archive, read without running, or even reading, the rest of it.

Training checkpoints carry optimizers, counters and embedded models beside the weights that are
wanted. Here every class but tensors is inert, tensors stay references into the archive, and only
the bytes of those that are asked for are read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.pickles.names import plain_name
from headsplat.runtime.pickles.nodes import Name, PickleError
from headsplat.runtime.pickles.tensors import TensorReference
from headsplat.runtime.pickles.torch_files import TorchZip


def _ordered(module: str, name: str) -> Name | None:
    ordered = (module, name) == ("collections", "OrderedDict")
    return plain_name(module, name) if ordered else None


class TorchArchive:
    """A zip archive of `torch.save` (torch 1.6 and later): names and shapes now, bytes on demand.

    Attributes:
        content: what was saved, with `TensorReference` for tensors and `Inert` for other classes.

    Raises:
        UserError: the file is not such an archive, or is truncated.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        try:
            self._zip = TorchZip(path)
            try:
                self.content = self._zip.load(lambda reference: reference, _ordered, inert=True)
            except PickleError:
                self._zip.close()
                raise
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        except PickleError as error:
            raise UserError(
                f"{path}: not a whole torch archive ({error}); download it again"
            ) from error

    def table(self, *keys: str) -> dict[str, TensorReference]:
        """The table of tensors under nested `keys`; other entries of it are left out.

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

    def read(self, reference: TensorReference) -> Tensor:
        """The tensor itself, on the CPU.

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
