"""FlashAvatar's network reduced to bases for browsers: its error, and when it is refused."""

import logging

import numpy as np
import pytest
import torch

from headsplat.drive.limits import DrivingLimits
from headsplat.runtime.errors import UserError
from headsplat.web import bake, baked_arrays
from headsplat.web.payload import avatar_payload
from tests.unit.web_avatar import COUNT, web_avatar, web_head, web_track

HEAD = web_head()
TRACK = web_track(HEAD)


@pytest.fixture(scope="module")
def avatar():
    return web_avatar("flashavatar", HEAD, torso=False)


@pytest.fixture(autouse=True)
def _few_codes(monkeypatch):
    monkeypatch.setattr(bake, "_CODES", 300)
    monkeypatch.setattr(bake, "_STEPS", 100)
    monkeypatch.setattr(bake, "_POINTS", 64)


def test_the_error_of_the_reduction_is_measured_and_logged(avatar, caplog):
    with caplog.at_level(logging.INFO):
        meta, arrays = avatar_payload("anna", avatar, TRACK, bases=16)
    (line,) = [r.getMessage() for r in caplog.records if "network reduced" in r.getMessage()]
    assert line.startswith("network reduced to 16 bases: ")
    assert float(line.split(": ")[1].split()[0]) >= baked_arrays.LEAST
    assert meta["counts"]["bases"] == len(arrays["gaussians/bases"]) == 16
    assert arrays["gaussians/base"].shape == (10 * COUNT,)


def test_more_bases_are_closer_to_the_network(avatar):
    limits = DrivingLimits.from_track(TRACK).codes.float()
    held_out = baked_arrays._held_out(len(TRACK))
    codes = TRACK.codes().vector[~held_out]
    some = TRACK[np.flatnonzero(~held_out.numpy())[::12]]
    errors = [
        baked_arrays.measured(avatar, bake.bake(avatar.deformation, codes, count, limits), some)
        for count in (2, 12)
    ]
    assert errors[1] > errors[0] + 3


def test_all_bases_and_exact_weights_give_the_network_back(avatar):
    codes = TRACK.codes().vector[:12]
    limits = DrivingLimits.from_track(TRACK).codes.float()
    baked = bake.bake(avatar.deformation, codes, 11, limits)
    values = bake._evaluated(avatar.deformation, codes)
    rows = baked.bases.flatten(1)
    weights = torch.linalg.lstsq(rows.T, (values - baked.mean).flatten(1).T).solution.T
    rebuilt = baked.mean + (weights @ rows).unflatten(1, baked.mean.shape)
    assert (rebuilt - values).abs().max() < 1e-3


def test_a_reduction_that_is_too_coarse_is_refused(avatar, monkeypatch):
    monkeypatch.setattr(baked_arrays, "LEAST", 90.0)
    with pytest.raises(UserError, match=r"dB from the exact one, a web page needs 90"):
        avatar_payload("anna", avatar, TRACK, bases=4)


def test_a_short_track_is_refused(avatar):
    with pytest.raises(UserError, match="12 frames in the track, a web page of this model needs"):
        avatar_payload("anna", avatar, TRACK[:12])
