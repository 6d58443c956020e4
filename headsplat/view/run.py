"""Runs the page of a subject until it is stopped."""

import asyncio
import contextlib
import os

from headsplat.live.options import InputOptions
from headsplat.live.signals import noted
from headsplat.options import check_ranges
from headsplat.runtime.logs import log
from headsplat.view.contents import Contents
from headsplat.view.files import SubjectFiles
from headsplat.view.live import LiveStream
from headsplat.view.options import ViewOptions
from headsplat.view.server import ViewServer


def view(files: SubjectFiles, options: ViewOptions, phone: InputOptions) -> None:
    """Serve the page of a subject; prints its address and returns when a signal comes.

    Args:
        files: of the subject.
        options: where the page is served.
        phone: of the phone that drives the avatar, with `options.live`.

    Raises:
        UserError: an address that cannot be used.
    """
    check_ranges(options)
    check_ranges(phone)
    number = asyncio.run(serve(files, options, phone))
    if number:  # the caller's own handler says that it was stopped
        os.kill(os.getpid(), number)


async def serve(files: SubjectFiles, options: ViewOptions, phone: InputOptions) -> int:
    """As `view`; returns the signal's number."""
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with contextlib.AsyncExitStack() as stack:
        live = None
        if options.live:
            live = await stack.enter_async_context(LiveStream(options.live, phone))
        handler = None if live is None else live.serve
        server = await stack.enter_async_context(ViewServer(Contents(files), options, handler))
        print(f"{files.name}: {server.address}", flush=True)
        log.info("Ctrl-C ends it")
        with noted(lambda number: stopped.done() or stopped.set_result(number)):
            return await stopped
