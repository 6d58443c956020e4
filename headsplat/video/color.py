"""From decoded frames to 8-bit RGB: matrix, range, primaries, and tone mapping of HDR sources.

PQ is SMPTE ST 2084, HLG and its system gamma are ITU-R BT.2100, the reference white of
203 cd/m2 is ITU-R BT.2408, the display curve of the SDR result is ITU-R BT.1886.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

PQ, HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
SRGB, GAMMA22, GAMMA28 = (
    int(ColorTrc.IEC61966_2_1),
    int(ColorTrc.GAMMA22),
    int(ColorTrc.GAMMA28),
)
BT2020, DCI_P3, DISPLAY_P3 = (
    int(ColorPrimaries.BT2020),
    int(ColorPrimaries.SMPTE431),
    int(ColorPrimaries.SMPTE432),
)
REFERENCE_WHITE = 203.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2 of the display that the HLG system gamma 1.2 belongs to
KNEE = 0.7  # share of reference white that stays linear; faces lie below
SDR_GAMMA = 2.4
BT601, BT709, UNSPECIFIED = 5, 1, 2  # AVColorSpace; 2 says the same of primaries and transfer
_P3_TO_709 = np.array(
    [[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0197, -0.0786, 1.0983]], np.float32
)
# Light of wide primaries to light of BT.709's, both of white D65. The white of cinema's P3 is
# taken as D65, because that is how players show it.
TO_709 = {
    BT2020: np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
        np.float32,
    ),
    DCI_P3: _P3_TO_709,
    DISPLAY_P3: _P3_TO_709,
}
# How bright each primary is.
LUMA = {
    BT2020: np.array([0.2627, 0.6780, 0.0593], np.float32),
    DCI_P3: np.array([0.2290, 0.6917, 0.0793], np.float32),
    DISPLAY_P3: np.array([0.2290, 0.6917, 0.0793], np.float32),
}
_NAMES = {PQ: "PQ", HLG: "HLG", BT2020: "BT.2020", DCI_P3: "DCI-P3", DISPLAY_P3: "Display P3"}
FAST = Interpolation.BILINEAR | Interpolation.BITEXACT
# Interpolates the halved color planes instead of repeating their pixels; 15 times slower.
FINE = FAST | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Colors:
    """How code values are meant, in FFmpeg's numbers.

    Attributes:
        matrix: AVColorSpace.
        primaries: AVColorPrimaries.
        transfer: AVColorTransferCharacteristic.
        full: code values use the full range; None where nobody says.
    """

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full: bool | None = None

    @classmethod
    def of(cls, source: VideoFrame | VideoCodecContext, container: "Colors") -> "Colors":
        """What the stream says of itself, and where it is silent what its container says."""
        spread = {ColorRange.MPEG: False, ColorRange.JPEG: True}.get(source.color_range)

        def said(own: int, other: int) -> int:
            return other if own == UNSPECIFIED else int(own)

        return cls(
            said(source.colorspace, container.matrix),
            said(source.color_primaries, container.primaries),
            said(source.color_trc, container.transfer),
            container.full if spread is None else spread,
        )

    @property
    def hdr(self) -> bool:
        """Whether the transfer curve is PQ or HLG."""
        return self.transfer in (PQ, HLG)

    @property
    def wide(self) -> bool:
        """Whether the primaries are wider than BT.709's, which HDR's are unless it says others."""
        return self.primaries in TO_709 or (self.hdr and self.primaries == UNSPECIFIED)

    def conversion(self) -> str | None:
        """What is done to the light, in words; None if nothing is."""
        primaries = BT2020 if self.hdr and self.primaries == UNSPECIFIED else self.primaries
        name = _NAMES.get(primaries, "BT.709")
        if self.hdr:
            return f"HDR ({_NAMES[self.transfer]}, {name}) to SDR BT.709"
        return f"SDR {name} to SDR BT.709" if self.wide else None


class RgbConverter:
    """Convert decoded frames to uint8 RGB (height, width, 3) of a given size.

    Sources without a tagged matrix count as BT.709 from 720 lines on and as BT.601 below,
    as players do. `fine` images have smooth color edges, the others are quick to make.

    Args:
        fine: see above.
        container: what the container says of the colors.
    """

    def __init__(self, fine: bool, container: Colors) -> None:
        self._flags = FINE if fine else FAST
        self._container = container
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        """RGB image of one decoded frame; HDR and wide colors become SDR BT.709."""
        colors = Colors.of(frame, self._container)
        matrix = colors.matrix
        if matrix == UNSPECIFIED:
            matrix = BT709 if frame.height >= 720 else BT601
        full = colors.full and frame.color_range == ColorRange.UNSPECIFIED
        scaled = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            # Packed 16-bit RGB overflows in strong colors where color planes are interpolated.
            format="gbrp16le" if colors.hdr or colors.wide else "rgb24",
            src_colorspace=matrix,
            src_color_range=ColorRange.JPEG if full else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=self._flags,
            threads=1,
        )
        image = scaled.to_ndarray()
        if colors.hdr:
            return tone_map(image, colors.transfer, colors.primaries)
        return narrow(image, colors) if colors.wide else image


def tone_map(image: np.ndarray, transfer: int, primaries: int = BT2020) -> np.ndarray:
    """Map PQ or HLG code values to SDR of BT.709's primaries.

    Light up to 0.7 of reference white keeps its brightness, highlights roll off towards
    white; the largest of the three channels decides, so that hues stay.

    Args:
        image: uint16 (H, W, 3), full range.
        transfer: AVColorTransferCharacteristic of the source.
        primaries: AVColorPrimaries of the source; BT.2020's where they are unspecified.

    Returns:
        uint8 (H, W, 3) for a BT.1886 display.
    """
    if primaries == UNSPECIFIED:
        primaries = BT2020
    luma = LUMA.get(primaries, np.array([0.2126, 0.7152, 0.0722], np.float32))
    result = np.empty(image.shape, np.uint8)
    encode = _sdr_table(SDR_GAMMA)
    # Strips bound the memory of the float intermediates for images of any size.
    for top in range(0, len(image), 128):
        light = _linear_table(transfer)[image[top : top + 128]]
        if transfer == HLG:
            scene = light @ luma
            scene_to_display = np.maximum(scene, 1e-6) ** 0.2 * (HLG_PEAK / REFERENCE_WHITE)
            light = light * scene_to_display[..., None]
        if primaries in TO_709:
            light = np.maximum(light @ TO_709[primaries].T, 0)
        peak = light.max(axis=-1, keepdims=True)
        over = np.maximum(peak - KNEE, 0)
        rolled = np.minimum(peak, KNEE) + (1 - KNEE) * -np.expm1(-over / (1 - KNEE))
        light *= rolled / np.maximum(peak, 1e-9)
        index = np.rint(light * (len(encode) - 1)).astype(np.int32)
        result[top : top + 128] = encode[np.clip(index, 0, len(encode) - 1)]
    return result


def narrow(image: np.ndarray, colors: Colors) -> np.ndarray:
    """SDR of wide primaries to the same curve with BT.709's; what lies outside is clipped.

    Args:
        image: uint16 (H, W, 3), full range.
        colors: of the source.

    Returns:
        uint8 (H, W, 3).
    """
    gamma = {GAMMA22: 2.2, GAMMA28: 2.8, SRGB: 2.2}.get(colors.transfer, SDR_GAMMA)
    result = np.empty(image.shape, np.uint8)
    encode, matrix = _sdr_table(gamma), TO_709[colors.primaries]
    for top in range(0, len(image), 128):
        light = _power_table(gamma)[image[top : top + 128]] @ matrix.T
        index = np.rint(np.clip(light, 0, 1) * (len(encode) - 1)).astype(np.int32)
        result[top : top + 128] = encode[index]
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
def _power_table(gamma: float) -> np.ndarray:
    """Light per 16-bit code of a display with a plain power curve."""
    return (np.linspace(0, 1, 65536) ** gamma).astype(np.float32)


@cache
def _sdr_table(gamma: float) -> np.ndarray:
    """8-bit code per light; fine steps, because dark codes lie close together in light."""
    return np.rint(255 * np.linspace(0, 1, 1 << 20) ** (1 / gamma)).astype(np.uint8)
