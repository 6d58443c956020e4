"""From decoded frames to 8-bit RGB: matrix, range, and tone mapping of HDR sources.

PQ is SMPTE ST 2084, HLG and its system gamma are ITU-R BT.2100, the reference white of
203 cd/m2 is ITU-R BT.2408, the display curve of the SDR result is ITU-R BT.1886.
"""

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, ColorTrc, Interpolation, VideoReformatter

PQ, HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
REFERENCE_WHITE = 203.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2 of the display that the HLG system gamma 1.2 belongs to
KNEE = 0.7  # share of reference white that stays linear; faces lie below
SDR_GAMMA = 2.4
BT601, BT709, UNSPECIFIED = 5, 1, 2  # AVColorSpace
BT2020_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
FAST = Interpolation.BILINEAR | Interpolation.BITEXACT
# Interpolates the halved colour planes instead of repeating their pixels; 15 times slower.
FINE = FAST | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def is_hdr(transfer: int) -> bool:
    """Whether a transfer characteristic (AVColorTransferCharacteristic) is PQ or HLG."""
    return transfer in (PQ, HLG)


class RgbConverter:
    """Convert decoded frames to uint8 RGB (height, width, 3) of one size.

    Sources without a tagged matrix count as BT.709 from 720 lines on and as BT.601 below,
    as players do. `fine` pictures have smooth colour edges, the others are quick to make.
    """

    def __init__(self, width: int, height: int, fine: bool) -> None:
        self._width, self._height = width, height
        self._flags = FINE if fine else FAST
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """RGB picture of one decoded frame; HDR is tone-mapped to SDR."""
        hdr = is_hdr(frame.color_trc)
        matrix = int(frame.colorspace)
        if matrix == UNSPECIFIED:
            matrix = BT709 if frame.height >= 720 else BT601
        scaled = self._scaler.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="rgb48le" if hdr else "rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=self._flags,
            threads=1,
        )
        picture = scaled.to_ndarray()
        return tone_map(picture, frame.color_trc) if hdr else picture


def tone_map(picture: np.ndarray, transfer: int) -> np.ndarray:
    """Map BT.2020 PQ or HLG code values to SDR.

    Light up to 0.7 of reference white keeps its brightness, highlights roll off towards
    white; the largest of the three channels decides, so that hues stay.

    Args:
        picture: uint16 (H, W, 3), full range.
        transfer: AVColorTransferCharacteristic of the source.

    Returns:
        uint8 (H, W, 3) for a BT.1886 display.
    """
    result = np.empty(picture.shape, np.uint8)
    encode = _sdr_table()
    # Strips bound the memory of the float intermediates for pictures of any size.
    for top in range(0, len(picture), 128):
        light = _linear_table(transfer)[picture[top : top + 128]]
        if transfer == HLG:
            luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
            scene_to_display = np.maximum(luma, 1e-6) ** 0.2 * (HLG_PEAK / REFERENCE_WHITE)
            light = light * scene_to_display[..., None]
        light = np.maximum(light @ BT2020_TO_709.T, 0)
        peak = light.max(axis=-1, keepdims=True)
        over = np.maximum(peak - KNEE, 0)
        rolled = np.minimum(peak, KNEE) + (1 - KNEE) * -np.expm1(-over / (1 - KNEE))
        light *= rolled / np.maximum(peak, 1e-9)
        index = np.rint(light * (len(encode) - 1)).astype(np.int32)
        result[top : top + 128] = encode[np.clip(index, 0, len(encode) - 1)]
    return result


@cache
def _linear_table(transfer: int) -> np.ndarray:
    """Light per 16-bit code: PQ relative to reference white, HLG scene light in [0, 1]."""
    code = np.linspace(0, 1, 65536)
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 32
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (light * 10000 / REFERENCE_WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@cache
def _sdr_table() -> np.ndarray:
    return np.rint(255 * np.linspace(0, 1, 1 << 16) ** (1 / SDR_GAMMA)).astype(np.uint8)
