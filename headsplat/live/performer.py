"""A performer: frames as they are received to frames from a neutral face, smoothed, in radians."""

from collections.abc import Callable

from headsplat.live.calibration import Calibration
from headsplat.live.frame import ArkitFrame
from headsplat.live.options import AS_SENT, REVERSED, InputOptions
from headsplat.live.protocols import AUTO, Protocol
from headsplat.live.smoothing import FrameFilter
from headsplat.runtime.logs import log

_SIGNS = {AS_SENT: False, REVERSED: True}


class Performer:
    """Calibrates and smooths the frames of one person; `ask` may be called from any thread.

    Args:
        protocol: that the frames come from, which tells unit and signs where they are settled.
        options: of the input.
        say: tells the performer what to do.
    """

    def __init__(
        self, protocol: Protocol, options: InputOptions, say: Callable[[str], None] = log.info
    ) -> None:
        unit = protocol.angles if options.angles == AUTO else options.angles
        flip = _SIGNS.get(options.turns, False if protocol.signs else None)
        self.calibration = Calibration(unit, flip, options.calibrate, say)
        self._filter = FrameFilter(options.cutoff, options.gain)
        self._asked = False

    def ask(self) -> None:
        """Have the neutral face taken again."""
        self._asked = True

    def next(self, frame: ArkitFrame, seconds: float) -> ArkitFrame:
        """The frame from the neutral face, smoothed, with angles in radians."""
        if self._asked:
            self._asked = False
            self.calibration.restart()
        return self._filter.next(self.calibration.next(frame, seconds), seconds)
