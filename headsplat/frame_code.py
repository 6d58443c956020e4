"""Frame code: expression, jaw, eyes and eyelids of a frame as one vector.

Layout: E expression coefficients | jaw, 6D | left eye, 6D, right eye, 6D | left and right eyelid.
6D is the first two rows of a rotation matrix (Zhou et al., 2019); see `headsplat.rotations`.
"""

import difflib
from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown

_JAW, _EYES, _EYELIDS = 6, 12, 2
_IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class FrameCode:
    """Codes of one frame or many; all parts are views of `vector`.

    Attributes:
        vector: (..., C) with C = E + 20.
    """

    vector: Tensor

    @staticmethod
    def size(head: HeadModel) -> int:
        """C, the length of the code for a head model."""
        return head.expression_basis.shape[2] + _JAW + _EYES + _EYELIDS

    @classmethod
    def neutral(cls, head: HeadModel, device: torch.device | str = "cpu") -> "FrameCode":
        """(C,) code of the neutral face: no expression, mouth closed, eyes open and straight."""
        vector = torch.zeros(cls.size(head), device=device)
        vector[-_JAW - _EYES - _EYELIDS : -_EYELIDS] = vector.new_tensor(_IDENTITY_6D * 3)
        return cls(vector)

    @classmethod
    def pack(cls, exp: Tensor, jaw: Tensor, eyes: Tensor, eyelids: Tensor) -> "FrameCode":
        """Codes from their parts.

        Args:
            exp: (..., E) expression coefficients.
            jaw: (..., 6) 6D; a turn about +x opens the mouth.
            eyes: (..., 12) left eye, then right eye, 6D each.
            eyelids: (..., 2) left, right; 0 open, 1 closed.
        """
        return cls(torch.cat([exp, jaw, eyes, eyelids], -1))

    def unpack(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parts `exp`, `jaw`, `eyes` and `eyelids`, as `pack` takes them."""
        return self.exp, self.jaw, self.eyes, self.eyelids

    @property
    def exp(self) -> Tensor:
        """(..., E) expression coefficients."""
        return self.vector[..., : -_JAW - _EYES - _EYELIDS]

    @property
    def jaw(self) -> Tensor:
        """(..., 6) rotation of the jaw, 6D."""
        return self.vector[..., -_JAW - _EYES - _EYELIDS : -_EYES - _EYELIDS]

    @property
    def eyes(self) -> Tensor:
        """(..., 12) rotations of the left and the right eye, 6D each."""
        return self.vector[..., -_EYES - _EYELIDS : -_EYELIDS]

    @property
    def joints(self) -> Tensor:
        """(..., 3, 6) rotations of jaw, left eye and right eye, 6D."""
        return self.vector[..., -_JAW - _EYES - _EYELIDS : -_EYELIDS].unflatten(-1, (3, 6))

    @property
    def eyelids(self) -> Tensor:
        """(..., 2) left and right eyelid, 0 open .. 1 closed."""
        return self.vector[..., -_EYELIDS:]

    def replace(
        self,
        exp: Tensor | float | None = None,
        jaw: Tensor | float | None = None,
        eyes: Tensor | float | None = None,
        eyelids: Tensor | float | None = None,
    ) -> "FrameCode":
        """A copy with some parts replaced; values are broadcast to the part's shape."""
        changed = FrameCode(self.vector.clone())
        given = (exp, jaw, eyes, eyelids)
        for part, value in zip(changed.unpack(), given, strict=True):
            if value is not None:
                part.copy_(torch.as_tensor(value))
        return changed

    def with_shapes(self, head: HeadModel, **weights: float) -> "FrameCode":
        """A copy with some expression shapes set by name, such as `browInnerUp_L=0.8`.

        Raises:
            UserError: the head model has no shape of that name, or its shapes have no names.
        """
        exp = self.exp.clone()
        for name, weight in weights.items():
            exp[..., _shape_row(head, name)] = weight
        return self.replace(exp=exp)


def _shape_row(head: HeadModel, name: str) -> int:
    if name in head.expression_names:
        return head.expression_names.index(name)
    if not head.expression_names:
        raise UserError(
            f"head model {head.name}: its expression shapes have no names; set `exp` by number"
        )
    close = difflib.get_close_matches(name, head.expression_names, n=1, cutoff=0)
    raise UserError(
        f"head model {head.name}: no expression shape '{shown(name)}'; the nearest is {close[0]}"
    )
