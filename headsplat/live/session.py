"""A live avatar: what arrives is posed, drawn and sent, the newest first, until it is stopped."""

import asyncio
import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import Posed
from headsplat.live.frame import to_message
from headsplat.live.outputs import OutputEnded
from headsplat.live.signals import noted
from headsplat.live.slot import Arrived, Pace
from headsplat.runtime.logs import log

REPORT_SECONDS = 10.0


class Session:
    """Runs one source into one output.

    Args:
        source: of `headsplat.live.sources`.
        output: of `headsplat.live.outputs.OUTPUTS`, not yet entered.
        fps: most frames a second.
        steady: repeat the last image while nothing comes.
        renderer: draws the images; None sends motion messages.
        rest: what is drawn before anything comes.
    """

    def __init__(
        self,
        source: Any,
        output: Any,
        fps: int,
        steady: bool = False,
        renderer: LiveRenderer | None = None,
        rest: Posed | None = None,
    ) -> None:
        self.source, self.output = source, output
        self._pace, self._steady = Pace(fps), steady
        self._renderer, self._rest = renderer, rest
        self._signal = 0
        self._drawing = ThreadPoolExecutor(1, "drawing")

    async def run(self) -> int:
        """Run until source or output ends or a signal comes; returns the signal's number, or 0."""
        stop = asyncio.Event()
        with noted(lambda number: self._stopped(stop, number)):
            await self._run(stop)
        return self._signal

    async def _run(self, stop: asyncio.Event) -> None:
        performer = getattr(self.source, "performer", None)
        if performer is not None:
            self.output.on_calibrate = performer.ask
        try:
            async with self.output, self.source:
                work = self._messages() if self._renderer is None else self._images()
                tasks = [asyncio.create_task(t) for t in (work, self._report(), stop.wait())]
                with _enter_key(performer):
                    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                stop.set()  # a signal from here on hurries the output
                for task in left:
                    task.cancel()
                for task in done:
                    with contextlib.suppress(OutputEnded):
                        task.result()
            log.info("%s", self._said())
        finally:
            self._drawing.shutdown(wait=False, cancel_futures=True)

    async def _messages(self) -> None:
        """Send every frame as a message, smoothed and calibrated."""
        sequence = 0
        while True:
            await self._pace.ready()
            arrived = await self.source.slot.take()
            if arrived is None:
                return
            frame = self.source.performer.next(arrived.value, arrived.seconds)
            message = to_message(frame, sequence, arrived.seconds)
            await self.output.send(message, arrived.seconds)
            self._pace.sent()
            sequence += 1

    async def _images(self) -> None:
        """Draw and send the newest frame; a steady output gets the last one again meanwhile."""
        loop = asyncio.get_running_loop()
        last = await loop.run_in_executor(self._drawing, self._drawn, self._rest)
        await self.output.send(last, None)
        while True:
            await self._pace.ready()
            taking = self.source.slot.take()
            try:
                patience = self._pace.patience() if self._steady else None
                arrived = await asyncio.wait_for(taking, patience)
            except TimeoutError:
                await self.output.send(last, None)
                self._pace.sent()
                continue
            if arrived is None:
                return
            last = await loop.run_in_executor(self._drawing, self._image, arrived)
            await self.output.send(last, arrived.seconds)
            self._pace.sent()

    def _image(self, arrived: Arrived) -> Any:
        return self._drawn(self.source.pose(arrived))

    def _drawn(self, posed: Posed) -> Any:
        return self.output.encode(self._renderer.draw(posed))

    async def _report(self) -> None:
        """Log rate and latency now and then, and once what may be missing."""
        told = False
        while True:
            before, start = self.output.latency.count, time.perf_counter()
            await asyncio.sleep(REPORT_SECONDS)
            rate = (self.output.latency.count - before) / (time.perf_counter() - start)
            if rate:
                log.info("%.1f frames a second; %s", rate, self._said())
            elif not told and (missing := self.source.missing()):
                told = True
                log.info("%s", missing)

    def _said(self) -> str:
        return f"in: {self.source.report()}; out: {self.output.report()}"

    def _stopped(self, stop: asyncio.Event, number: int) -> None:
        self._signal = number
        if stop.is_set():
            self.output.hurry()
        stop.set()


@contextlib.contextmanager
def _enter_key(performer: Any):
    """While it lasts, Enter in a terminal has the neutral face taken again."""
    if performer is None or sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    loop, file = asyncio.get_running_loop(), sys.stdin.fileno()

    def pressed() -> None:
        if os.read(file, 1024):
            performer.ask()
        else:
            loop.remove_reader(file)

    performer.calibration.again = "; press Enter to repeat"
    loop.add_reader(file, pressed)
    try:
        yield
    finally:
        loop.remove_reader(file)
