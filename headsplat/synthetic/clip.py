"""Render and encode the built-in clip, and write its ground truth."""

import dataclasses
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_npz
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress
from headsplat.synthetic.parameters import (
    CAMERA,
    ClipParameters,
    animate,
    sample_identity,
    turn_matrices,
)
from headsplat.synthetic.performance import Performance, perform
from headsplat.synthetic.scene import Scene, neck_end
from headsplat.synthetic.speech import compose_speech
from headsplat.synthetic.voice import SAMPLE_RATE, synthesize
from headsplat.video.encode import VideoWriter

BATCH = 4
CRF = 13
# Focal length: field of view 27 degrees.
FOCAL_PER_SIDE = 2.1
DISTANCE = 0.82
# Height of the camera's target above the neck's end; faces are slightly above the image center.
LOOK_ABOVE_NECK = 0.135
TORSO_YAW = 0.2


def render_clip(
    head: Path,
    video: Path,
    ground_truth: Path,
    seconds: float = 12.0,
    size: int = 512,
    fps: int = 25,
) -> None:
    """Render the built-in subject talking.

    Args:
        head: file of the procedural head model, which also defines the subject's texture.
        video: the mp4 to write: H.264 images and AAC sound.
        ground_truth: the npz to write: ground truth parameters of each frame, in the video's
            pixels.
        seconds: length, at least one.
        size: side of the square image, even.
        fps: images per second.

    Raises:
        UserError: for a length or size outside what can be rendered, or an unfit head.
    """
    if not 1 <= seconds <= 600:
        raise UserError(f"built-in clip of {seconds} s: choose 1 to 600 seconds")
    if not 64 <= size <= 2048 or size % 2:
        raise UserError(f"built-in clip of {size} px: choose an even size from 64 to 2048")
    if not 10 <= fps <= 60:
        raise UserError(f"built-in clip at {fps} fps: choose 10 to 60")
    model = HeadModel.load(head)
    if model.name != "procedural":
        raise UserError(
            f"{head}: is the head '{model.name}'; the built-in subject needs 'procedural'"
        )
    shape = sample_identity(model)
    vertices = HeadGeometry(model).shaped(torch.as_tensor(shape)).numpy()
    pivot, _ = neck_end(model, vertices)
    camera_t = np.array([0.0, pivot[1] + LOOK_ABOVE_NECK, DISTANCE - pivot[2]])
    speech = compose_speech(seconds)
    performance = perform(speech, fps)
    parameters = animate(performance, model, pivot, camera_t)
    focal, middle = FOCAL_PER_SIDE * size, size / 2
    scene = Scene(model, shape, size, np.array([focal, focal, middle, middle]))
    torso = _torso_motion(performance, pivot, camera_t)
    sound = synthesize(speech), SAMPLE_RATE
    count = len(performance.times)
    with VideoWriter(video, size, size, Fraction(fps), sound, crf=CRF) as writer:
        frames = _frames(scene, parameters, torso, count)
        for frame in progress(frames, count, "render_builtin"):
            writer.write(frame)
    write_npz(
        ground_truth,
        ids=np.arange(1, count + 1, dtype=np.int32),
        K=np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]], np.float32),
        head_name=np.array(model.name),
        **dataclasses.asdict(parameters),
    )


def _frames(
    scene: Scene, parameters: ClipParameters, torso: tuple[np.ndarray, np.ndarray], count: int
) -> Iterator[np.ndarray]:
    """Render all frames in order, one batch per thread.

    Each batch is rendered by one thread. Images then do not depend on the number of cores, and
    small operations need no thread barriers.
    """

    def draw(first: int) -> np.ndarray:
        part = slice(first, first + BATCH)
        return scene.draw(parameters.frames(part), torso[0][part], torso[1][part], first).numpy()

    workers, before = available_threads(), torch.get_num_threads()
    pending: deque[Future[np.ndarray]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for first in range(0, count, BATCH):
                pending.append(pool.submit(draw, first))
                # One batch more than threads, which bounds memory.
                if len(pending) > workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
    finally:
        torch.set_num_threads(before)


def _torso_motion(
    performance: Performance, pivot: np.ndarray, camera_t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pose of the torso, which follows the neck and part of each turn: (N, 3, 3), (N, 3)."""
    angles = performance.angles * (TORSO_YAW, 0.0, 0.0)
    turn = turn_matrices(angles)
    moved = pivot + performance.shift - turn @ pivot
    return CAMERA @ turn, moved @ CAMERA.T + camera_t
