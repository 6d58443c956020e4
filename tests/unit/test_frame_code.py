"""Frame codes: packing, parts, and expression shapes by name."""

import pytest
import torch

from headsplat.frame_code import FrameCode
from headsplat.rotations import matrix_from_6d
from headsplat.runtime.errors import UserError
from tests.unit.driven import arkit_like
from tests.unit.sphere_head import sphere_head

HEAD = sphere_head()
E = HEAD.expression_basis.shape[2]


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_unpack_inverts_pack(leading):
    parts = [torch.rand(*leading, size) for size in (E, 6, 12, 2)]
    code = FrameCode.pack(*parts)
    assert code.vector.shape == (*leading, E + 20) == (*leading, FrameCode.size(HEAD))
    for part, expected in zip(code.unpack(), parts, strict=True):
        assert torch.equal(part, expected)
    joints = torch.stack([parts[1], parts[2][..., :6], parts[2][..., 6:]], -2)
    assert torch.equal(code.joints, joints)


def test_the_neutral_code_has_identity_joints():
    code = FrameCode.neutral(HEAD)
    assert code.vector.shape == (E + 20,)
    assert not code.exp.any()
    assert not code.eyelids.any()
    assert torch.equal(matrix_from_6d(code.joints), torch.eye(3).expand(3, 3, 3))


def test_replacing_a_part_leaves_the_others_and_the_original():
    code = FrameCode(torch.rand(5, E + 20))
    before = code.vector.clone()
    changed = code.replace(eyelids=1.0, exp=torch.arange(float(E)))
    assert torch.equal(code.vector, before)
    assert (changed.eyelids == 1).all()
    assert torch.equal(changed.exp, torch.arange(float(E)).expand(5, E))
    assert torch.equal(changed.joints, code.joints)


def test_shapes_are_set_by_name():
    head = arkit_like()
    code = FrameCode.neutral(head).with_shapes(head, mouthSmile_L=0.8, jawOpen=0.1)
    expected = [{"mouthSmile_L": 0.8, "jawOpen": 0.1}.get(n, 0.0) for n in head.expression_names]
    torch.testing.assert_close(code.exp, torch.tensor(expected))


def test_an_unknown_shape_is_named_with_the_nearest():
    head = arkit_like()
    with pytest.raises(UserError, match="'mouthSmileL'; the nearest is mouthSmile_L"):
        FrameCode.neutral(head).with_shapes(head, mouthSmileL=1)
    with pytest.raises(UserError, match="have no names; set `exp` by number"):
        FrameCode.neutral(HEAD).with_shapes(HEAD, smile=1)
