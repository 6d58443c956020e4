"""FlashAvatar checkpoints: all versions are read, ours load in the original, bad ones refused."""

import copy
import os
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from headsplat.formats.flashavatar.checkpoint import (
    adam_state,
    load_parameters,
    make_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.runtime.errors import UserError
from tests.unit import published_checkpoint as official

COUNT, CODE = 30, 120


@pytest.fixture(scope="module")
def value():
    return official.published(COUNT, CODE)


def load(path: Path):
    return torch.load(path, map_location="cpu", weights_only=True)


FORMS = {
    "today's": (lambda v: v, {}),
    "1.12": (official.aged, {"on_gpu": True}),
    "1.4": (lambda v: official.aged(v, True), {"on_gpu": True, "legacy": True}),
    "numpy": (official.with_numpy_rates, {"on_gpu": True}),
    "numpy, 1.4": (official.with_numpy_rates, {"legacy": True}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_and_written_back_the_same(value, tmp_path, form):
    change, how = FORMS[form]
    expected = change(value)
    checkpoint = read_checkpoint(official.write(tmp_path / "x.pth", expected, **how))
    assert (checkpoint.count, checkpoint.condition_size) == (COUNT, CODE)
    again = read_checkpoint(write_checkpoint(tmp_path, checkpoint))
    for got in (checkpoint, again):
        gauss = tuple(got.gauss.values())
        official.assert_same(((got.network, got.network_adam), gauss, got.iteration), expected)


def resumed(value, tmp_path):
    """Our model and its one Adam, with a checkpoint's values."""
    checkpoint = read_checkpoint(official.write(tmp_path / "x.pth", value))
    model = FlashAvatarDeformation(COUNT, CODE, 0)
    load_parameters(model, checkpoint)
    adam = torch.optim.Adam(model.parameter_groups(8), fused=True)
    adam.load_state_dict(adam_state(checkpoint, adam.state_dict()["param_groups"]))
    return checkpoint, model, adam


@pytest.mark.parametrize("plain_steps", [False, True])
def test_round_trip_is_bit_equal(value, tmp_path, plain_steps):
    """Reads into a model and optimizer, and writes them again."""
    checkpoint, model, adam = resumed(official.aged(value, plain_steps), tmp_path)
    made = make_checkpoint(model, checkpoint.gauss["_xyz"], adam.state_dict(), 5000, True)
    official.assert_same(load(write_checkpoint(tmp_path, made)), official.aged(value))


def test_both_adams_continue_equally(value, tmp_path):
    _, model, adam = resumed(value, tmp_path)
    for group, rate in zip(adam.param_groups, model.parameter_groups(1), strict=True):
        group["lr"] = rate["lr"]
    network, rest = restored(value)
    ours = [p for group in adam.param_groups for p in group["params"]]
    theirs = [p for a in (network, rest) for group in a.param_groups for p in group["params"]]
    for a, b in zip(ours, theirs, strict=True):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
    for optimizer in (adam, network, rest):
        optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def restored(value):
    """The two optimizers as the original's `restore` makes them."""
    (state, network_adam), gauss, _ = value
    network = official.Network(51 + CODE)
    network.load_state_dict(state)
    _, _, dc, rest, scaling, rotation, opacity, *_ = gauss
    assert all(isinstance(p, nn.Parameter) for p in (dc, rest, scaling, rotation, opacity))
    own = [nn.Parameter(p.detach().clone()) for p in (dc, rest, opacity, scaling, rotation)]
    adams = official.network_adam(network), official.gaussian_adam(*own)
    for adam, loaded in zip(adams, copy.deepcopy((network_adam, gauss[10])), strict=True):
        adam.load_state_dict(loaded)
    return adams


def test_the_original_restores_ours_and_trains_on_at_its_own_rates(value, tmp_path):
    checkpoint, model, adam = resumed(value, tmp_path)
    for group in adam.param_groups:
        group["lr"] = torch.tensor(1e-9)  # where a schedule has come to
    made = make_checkpoint(model, checkpoint.gauss["_xyz"], adam.state_dict(), 7)
    ours = load(write_checkpoint(tmp_path, made))
    network, rest = restored(ours)
    assert not made.centered
    assert "principal_point" in ours[0][0]._metadata[""], "said, and no hindrance"
    rates = [group["lr"] for group in network.param_groups + rest.param_groups]
    assert rates == [1e-4, 0.0025, 0.000125, 0.05, 0.005, 0.001]
    for optimizer in (network, rest):
        official.step(optimizer)
        for entry in optimizer.state.values():
            assert entry["step"] == 3


def test_file_names_only_what_torch_1_12_has_and_lies_on_the_gpu(value, tmp_path):
    path = write_checkpoint(
        tmp_path, read_checkpoint(official.write(tmp_path / "x.pth", official.aged(value)))
    )
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        ops = list(pickletools.genops(archive.read(name)))
    assert ops[0][1] == 2, "the protocol"
    named = {argument for op, argument, _ in ops if op.name == "GLOBAL"}
    assert named == {
        "collections OrderedDict", "torch FloatStorage", "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
    }  # fmt: skip
    assert {op.name for op, _, _ in ops}.isdisjoint({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"})
    strings = [argument for _, argument, _ in ops if isinstance(argument, str)]
    assert strings.count("cuda:0") == 1, "said once, then remembered"
    tensors = []
    places: list[str] = []

    def noted(storage, location):
        places.append(location)
        tensors.append(storage)
        return storage

    torch.load(path, map_location=noted, weights_only=True)
    counts = sum(len(adam["state"]) for adam in official.adams_of(value))
    assert places.count("cpu") == counts == 19
    assert places.count("cuda:0") == len(places) - counts > 50


class Shell:
    """Runs a command when it is unpickled freely."""

    def __reduce__(self):
        return os.system, ("touch SHELL_RAN",)


def changed(value, change):
    """A copy in lists, altered by `change`, and made tuples again."""
    (network, adam), gauss, iteration = official.aged(value)
    parts = {"network": OrderedDict(network), "adam": adam, "gauss": list(gauss), "n": iteration}
    change(parts)
    return (parts["network"], parts["adam"]), tuple(parts["gauss"]), parts["n"]


BAD = {
    "missing key": (lambda p: p["network"].pop("fcs.3.bias"), r"deform\[0\]\['fcs.3.bias'\] is m"),
    "extra key": (lambda p: p["network"].update(x=1), r"deform\[0\]\['x'\] is not part"),
    "order": (lambda p: p["network"].move_to_end("fcs.0.weight"), r"deform\[0\] has its keys in"),
    "dtype": (
        lambda p: p["network"].update({"fcs.1.bias": torch.zeros(256).double()}),
        r"deform\[0\]\['fcs.1.bias'\] is of torch.float64",
    ),
    "width": (
        lambda p: p["network"].update({"fcs.2.weight": torch.zeros(128, 256)}),
        r"'fcs.2.weight'\] has shape \[128, 256\], expected \[256, 256\]",
    ),
    "encoding": (
        lambda p: p["network"].update({"fcs.0.weight": torch.zeros(256, 49)}),
        r"'fcs.0.weight'\] does not take 51",
    ),
    "moment": (
        lambda p: p["adam"]["state"][13].pop("exp_avg_sq"),
        r"deform\[1\]\['state'\]\[13\]\['exp_avg_sq'\] is missing",
    ),
    "class": (
        lambda p: p["gauss"].__setitem__(5, p["gauss"][5].detach()),
        r"gauss\[5\] \(_rotation_base\) is a Tensor, expected a Parameter",
    ),
    "number": (
        lambda p: p["gauss"].__setitem__(6, nn.Parameter(torch.zeros(7, 1))),
        rf"gauss\[6\] \(_opacity\) has shape \[7, 1\], expected \[{COUNT}, 1\]",
    ),
    "NaN": (
        lambda p: p["gauss"].__setitem__(4, nn.Parameter(torch.full((COUNT, 3), torch.nan))),
        r"gauss\[4\] \(_scaling_base\) has values that are not finite",
    ),
    "groups": (
        lambda p: p["gauss"][10]["param_groups"].reverse(),
        r"\(optimizer\)\['param_groups'\]\[0\]\['name'\] is 'rotation', expected 'f_dc'",
    ),
    "degree": (lambda p: p["gauss"].__setitem__(0, 4), r"gauss\[0\] \(active_sh_degree\) is 4"),
    "gauss": (lambda p: p["gauss"].pop(), r"gauss is a tuple of 11, expected a tuple of 12"),
    "iteration": (lambda p: p.update(n="5000"), r"iteration is '5000'"),
    "foreign": (
        lambda p: p["adam"].update(extra=Shell()),
        r"refused, it names (posix|nt)\.system",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "legacy"), [(what, False) for what in BAD] + [("missing key", True), ("foreign", True)]
)
def test_bad_files_are_named_in_one_line(value, tmp_path, monkeypatch, what, legacy):
    monkeypatch.chdir(tmp_path)
    change, message = BAD[what]
    path = official.write(tmp_path / "chkpnt5.pth", changed(value, change), legacy=legacy)
    with pytest.raises(UserError, match=message) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not Path("SHELL_RAN").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_files_are_named(value, tmp_path, legacy, share):
    path = official.write(tmp_path / "chkpnt5.pth", value, legacy=legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"chkpnt5\.pth: not a whole file of torch\.save") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_other_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: cannot be read \(No such file"):
        read_checkpoint(tmp_path / "none.pth")
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html>sign in</html>")
    with pytest.raises(UserError, match="not a whole file of torch.save"):
        read_checkpoint(page)
    torch.save({"fcs.0.weight": torch.zeros(1)}, page)
    with pytest.raises(UserError, match="the file is a dict, expected a tuple of 3"):
        read_checkpoint(page)
