"""Boxes around the eyes, and frames with shut ones."""

from dataclasses import replace

import numpy as np
import torch

from headsplat.evaluate.eyes import box_masks, eye_boxes, eyes_closed
from headsplat.heads.model import HeadModel
from headsplat.track import read_track
from tests.unit.tiny_clip import make_clip


def test_boxes_enclose_the_eyes(tmp_path):
    clip = make_clip(tmp_path)
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    ahead = np.flatnonzero(head.template[:, 2] > 0.8 * head.template[:, 2].max()).astype(np.int32)
    left = ahead[head.template[ahead, 0] > 0]
    boxes = eye_boxes(replace(head, regions={**head.regions, "left_eyeball": left}), track)
    assert boxes.shape == (len(track.ids), 2, 4)
    size = boxes[:, 0, 2:] - boxes[:, 0, :2]
    assert size.min() > 2
    assert size.max() < 40
    # The subject's left is at the right of the image of a frontal head.
    assert boxes[:, 0, [0, 2]].mean() > track.width / 2 - 4
    masks = box_masks(boxes, track.width, track.height)
    assert torch.allclose(masks.sum((1, 2)), size.prod(1), rtol=0.5)
    assert box_masks(eye_boxes(head, track), 48, 48).sum() == 0  # this head has no eyeballs


def test_a_pixel_is_inside_by_its_center():
    boxes = torch.tensor([[[1.0, 2.0, 3.0, 4.4], [-9.0, -9.0, -5.0, -5.0]]])
    expected = torch.zeros(1, 6, 5)
    expected[:, 2:4, 1:3] = 1
    assert torch.equal(box_masks(boxes, 5, 6), expected)


def test_one_shut_lid_is_enough(tmp_path):
    track = read_track(make_clip(tmp_path).track)
    lids = np.zeros((len(track.ids), 2), np.float32)
    lids[1] = 0.4, 0.9
    assert eyes_closed(replace(track, eyelids=lids)).nonzero()[0].tolist() == [1]
