"""Cropping of one chunk of a video to its pack of JPEG images: the crop stage."""

from pathlib import Path

import cv2
import numpy as np

from headsplat.frames.chunks import chunk_bounds
from headsplat.frames.crop import Crop
from headsplat.frames.images import encode_jpeg
from headsplat.frames.packs import FrameZipWriter
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.progress import progress
from headsplat.video.decode import read_images
from headsplat.video.info import VideoInfo

QUALITY = 98


def crop_chunk(
    video: Path, info_path: Path, crop_path: Path, chunk: int, n_chunks: int, out: Path
) -> None:
    """Decode a chunk a second time and publish its crops as `<id:05d>.jpg` in a zip.

    Raises:
        UserError: the video is not the one that was probed, or the crop is of another one.
    """
    info, box = VideoInfo.load(info_path), Crop.load(crop_path)
    if (box.source_width, box.source_height) != (info.width, info.height):
        raise UserError(
            f"{crop_path}: made for a {box.source_width} x {box.source_height} video, {video} has "
            f"{info.width} x {info.height}; remake the crop"
        )
    first, stop = chunk_bounds(info.n_frames, n_chunks, chunk)
    cv2.setNumThreads(1)
    with publish(out) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
        images = read_images(video, info, first, stop)
        last, data = None, b""
        for frame_id, image in progress(images, stop - first, f"crop {chunk}"):
            if image is not last:
                last, data = image, encode_jpeg(crop_image(image, box), QUALITY)
            pack.add(frame_id, data)


def crop_image(image: np.ndarray, box: Crop) -> np.ndarray:
    """Crop RGB uint8 (H, W, 3) to (size, size, 3) with exact pixel geometry.

    Box and crop share their corners, so continuous coordinates map by (p - corner) * size /
    side. Shrinking averages over each target pixel's area, enlarging is bicubic.
    """
    height, width = image.shape[:2]
    x0, y0 = max(0, box.x0), max(0, box.y0)
    x1, y1 = min(width, box.x0 + box.side), min(height, box.y0 + box.side)
    part = image[y0:y1, x0:x1]
    if part.shape[:2] != (box.side, box.side):
        padded = np.zeros((box.side, box.side, 3), np.uint8)
        padded[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = part
        part = padded
    if box.side == box.size:
        return np.ascontiguousarray(part)
    way = cv2.INTER_AREA if box.side > box.size else cv2.INTER_CUBIC
    return cv2.resize(part, (box.size, box.size), interpolation=way)
