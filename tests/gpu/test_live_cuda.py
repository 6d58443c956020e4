"""Live images on a GPU, drawn in a thread as a session does, equal the avatar's own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import LiveDriver, resting
from headsplat.live.frame import checked_frame
from tests.unit.driven import arkit_like, make_avatar, make_driven_subject, make_track

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_images_of_a_drawing_thread_equal_the_avatars_own():
    head = arkit_like()
    track = make_track(head)
    subject, host = make_driven_subject(head, track), make_avatar(head, np.asarray(track.shape))
    device = torch.device("cuda")
    avatar = Avatar(head, host.shape, host.anchors, host.deformation, device)
    renderer = LiveRenderer(avatar, track, 0, (1.0, 1.0, 1.0))
    driver = LiveDriver(avatar, subject)
    poses = [resting(avatar, subject)]
    for k in range(30):
        frame = checked_frame([0.02 * k] * 52, [0.1 * np.sin(k)] * 9, pose=True)
        poses.append(driver.pose(frame, k / 60))
    with ThreadPoolExecutor(1) as thread:
        drawn = [thread.submit(renderer.draw, posed).result() for posed in poses]
    camera = track.intrinsics(), track.width, track.height, torch.ones(3)
    for image, posed in zip(drawn, poses, strict=True):
        color, _ = avatar.render_codes(*posed.moves(), *camera)
        expected = (color[0] * 255).round().byte().cpu().numpy()
        assert np.abs(image.astype(int) - expected).max() <= 1
    assert len({image.tobytes() for image in drawn}) > 10
