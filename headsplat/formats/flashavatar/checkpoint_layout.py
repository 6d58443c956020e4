"""Layout checks of FlashAvatar checkpoints: names, shapes and types of all entries.

The number of Gaussians and the code length are taken from the file; callers compare them with the
avatar.
"""

from collections import OrderedDict
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from headsplat.gaussians.deform.flashavatar import DEGREE, ENCODED, HIDDEN, OUTPUTS, WIDTH
from headsplat.runtime.errors import UserError

# The twelve entries of `gauss`, under the names of the original's attributes.
GAUSS = (
    "active_sh_degree", "_xyz", "_features_dc", "_features_rest", "_scaling_base",
    "_rotation_base", "_opacity", "max_radii2D", "xyz_gradient_accum", "denom", "optimizer",
    "spatial_lr_scale",
)  # fmt: skip
# Per Gaussian: the shape after the first axis, and the class.
_PER_GAUSSIAN: dict[str, tuple[tuple[int, ...], type[Tensor]]] = {
    "_features_dc": ((1, 3), nn.Parameter),
    "_features_rest": (((DEGREE + 1) ** 2 - 1, 3), nn.Parameter),
    "_scaling_base": ((3,), nn.Parameter),
    "_rotation_base": ((4,), nn.Parameter),
    "_opacity": ((1,), nn.Parameter),
    "_xyz": ((3,), Tensor),
    "max_radii2D": ((), Tensor),
    "xyz_gradient_accum": ((1,), Tensor),
    "denom": ((1,), Tensor),
}
# Adam's groups of the Gaussians in their order, and the parameter each holds.
GROUPS = {
    "f_dc": "_features_dc", "f_rest": "_features_rest", "opacity": "_opacity",
    "scaling": "_scaling_base", "rotation": "_rotation_base",
}  # fmt: skip
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def network_shapes(condition_size: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's state dict, in its order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(HIDDEN):
        inputs = ENCODED + condition_size if layer == 0 else WIDTH
        shapes[f"fcs.{layer}.weight"] = (WIDTH, inputs)
        shapes[f"fcs.{layer}.bias"] = (WIDTH,)
    return shapes | {"output_linear.weight": (OUTPUTS, WIDTH), "output_linear.bias": (OUTPUTS,)}


def check_layout(path: Path, value: Any) -> None:
    """Check the content of a checkpoint.

    Args:
        path: for messages.
        value: content of the file, on the CPU.

    Raises:
        UserError: the message names file, entry, found and expected layout.
    """
    _Layout(path).check(value)


class _Layout:
    def __init__(self, path: Path) -> None:
        self._path = path

    def _fail(self, key: str, what: str) -> NoReturn:
        raise UserError(
            f"{self._path}: {key} {what}; give a chkpntN.pth as FlashAvatar's train.py saves it"
        )

    def check(self, value: Any) -> None:
        self._tuple("the file", value, 3)
        deform, gauss, iteration = value
        self._tuple("deform", deform, 2)
        self._tuple("gauss", gauss, len(GAUSS))
        self._count("iteration", iteration)
        shapes = self._network(deform[0])
        self._adam("deform[1]", deform[1], [None], list(shapes.values()))
        self._gaussians(dict(zip(GAUSS, gauss, strict=True)))

    def _tuple(self, key: str, value: Any, length: int) -> None:
        if type(value) is not tuple or len(value) != length:
            size = f" of {len(value)}" if isinstance(value, Sequence) else ""
            self._fail(key, f"is a {type(value).__name__}{size}, expected a tuple of {length}")

    def _count(self, key: str, value: Any) -> None:
        if type(value) is not int or value < 0:
            self._fail(key, f"is {value!r:.60}, expected a count")

    def _keys(self, key: str, have: Sequence[Any], want: Sequence[Any]) -> None:
        """The same keys in the same order."""
        for name in want:
            if name not in have:
                self._fail(f"{key}[{name!r}]", "is missing")
        for name in have:
            if name not in want:
                self._fail(f"{key}[{name!r:.60}]", "is not part of the format")
        if list(have) != list(want):
            self._fail(key, f"has its keys in the order {list(have)}, expected {list(want)}")

    def _tensor(
        self, key: str, value: Any, shape: tuple[int, ...], kind: type[Tensor] = Tensor
    ) -> None:
        if type(value) is not kind:
            self._fail(key, f"is a {type(value).__name__}, expected a {kind.__name__}")
        if value.dtype != torch.float32 or value.layout != torch.strided or value.is_meta:
            self._fail(key, f"is of {value.dtype} ({value.layout}), expected torch.float32")
        if tuple(value.shape) != shape:
            self._fail(key, f"has shape {list(value.shape)}, expected {list(shape)}")
        if not torch.isfinite(value).all():
            self._fail(key, "has values that are not finite")

    def _network(self, state: Any) -> dict[str, tuple[int, ...]]:
        if type(state) is not OrderedDict:
            self._fail("deform[0]", f"is a {type(state).__name__}, expected an OrderedDict")
        self._keys("deform[0]", list(state), list(network_shapes(0)))
        first = state["fcs.0.weight"]
        columns = first.shape[1] if isinstance(first, Tensor) and first.ndim == 2 else 0
        if columns <= ENCODED:
            self._fail(
                "deform[0]['fcs.0.weight']",
                f"does not take {ENCODED} numbers of a point and a frame's code",
            )
        shapes = network_shapes(columns - ENCODED)
        for name, shape in shapes.items():
            self._tensor(f"deform[0][{name!r}]", state[name], shape)
        return shapes

    def _gaussians(self, gauss: dict[str, Any]) -> None:
        number = {name: f"gauss[{index}] ({name})" for index, name in enumerate(GAUSS)}
        degree = gauss["active_sh_degree"]
        self._count(number["active_sh_degree"], degree)
        if degree > DEGREE:
            self._fail(number["active_sh_degree"], f"is {degree}, expected at most {DEGREE}")
        first = gauss["_features_dc"]
        count = len(first) if isinstance(first, Tensor) and first.ndim else 0
        if not count:
            self._fail(number["_features_dc"], "holds no Gaussians")
        for name, (shape, kind) in _PER_GAUSSIAN.items():
            self._tensor(number[name], gauss[name], (count, *shape), kind)
        shapes = [(count, *_PER_GAUSSIAN[name][0]) for name in GROUPS.values()]
        self._adam(number["optimizer"], gauss["optimizer"], list(GROUPS), shapes)
        if not isinstance(gauss["spatial_lr_scale"], Real):
            self._fail(number["spatial_lr_scale"], "is not a number")

    def _adam(
        self,
        key: str,
        value: Any,
        names: Sequence[str | None],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """A state dict of Adam: one group per name, which share the parameters evenly."""
        if not isinstance(value, dict):
            self._fail(key, f"is a {type(value).__name__}, expected Adam's state dict")
        self._keys(key, list(value), ("state", "param_groups"))
        state, groups = value["state"], value["param_groups"]
        if not isinstance(state, dict) or not isinstance(groups, list):
            self._fail(key, "is not Adam's state dict")
        if len(groups) != len(names):
            self._fail(f"{key}['param_groups']", f"has {len(groups)} groups, expected {len(names)}")
        each = len(shapes) // len(names)
        for index, (name, group) in enumerate(zip(names, groups, strict=True)):
            where = f"{key}['param_groups'][{index}]"
            if not isinstance(group, dict):
                self._fail(where, f"is a {type(group).__name__}, expected a dict")
            numbers = list(range(index * each, (index + 1) * each))
            for entry, expected in (("name", name), ("params", numbers)):
                if group.get(entry) != expected:
                    found = repr(group.get(entry))
                    self._fail(f"{where}[{entry!r}]", f"is {found:.60}, expected {expected!r}")
        # Adam numbers its entries in the order of the parameters' first gradients.
        self._keys(f"{key}['state']", sorted(state, key=str), sorted(range(len(shapes)), key=str))
        for number, shape in enumerate(shapes):
            entry, where = state[number], f"{key}['state'][{number}]"
            if not isinstance(entry, dict):
                self._fail(where, f"is a {type(entry).__name__}, expected a dict")
            self._keys(where, list(entry), MOMENTS)
            self._step(f"{where}['step']", entry["step"])
            for moment in MOMENTS[1:]:
                self._tensor(f"{where}[{moment!r}]", entry[moment], shape)

    def _step(self, key: str, value: Any) -> None:
        """A plain number before torch 1.12, a tensor without axes since."""
        if isinstance(value, Tensor):
            self._tensor(key, value, ())
        elif not isinstance(value, Real):
            self._fail(key, f"is a {type(value).__name__}, expected a number")
