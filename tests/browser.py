"""Chromium without a window, over its DevTools protocol, for tests of pages.

Debian's chromium, which draws WebGL on the CPU (SwiftShader). Tests skip where it is not installed.
"""

import asyncio
import base64
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--hide-scrollbars", "--mute-audio", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--disable-dev-shm-usage", "--autoplay-policy=user-gesture-required",
    "--remote-debugging-port=0",
)  # fmt: skip
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
_SECONDS = 60.0
_LARGEST_MESSAGE = 1 << 28

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class PageProblem(AssertionError):
    """A script of the page threw; the message is the browser's."""


class Browser:
    """A browser process; use it in a `with` statement.

    Args:
        flags: further command line flags.
    """

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._flags = (*FLAGS, *flags)
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        self._pages: dict[str, Page] = {}
        self._answers: dict[int, asyncio.Future] = {}
        self._number = 0

    def __enter__(self) -> Self:
        self.wait(self._start())
        return self

    def __exit__(self, *_: Any) -> None:
        self.wait(self._stop())
        self._loop.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def wait(self, task: Any, seconds: float = _SECONDS) -> Any:
        """The result of a coroutine; servers and pages of this browser run meanwhile."""
        return self._loop.run_until_complete(asyncio.wait_for(task, seconds))

    def serve(self, application: web.Application) -> str:
        """Start a server on loopback; its address without a slash at the end."""

        async def start() -> str:
            runner = web.AppRunner(application, shutdown_timeout=0.2)
            await runner.setup()
            self._runners.append(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        return self.wait(start())

    def page(self, address: str, width: int = 1280, height: int = 800, **media: str) -> "Page":
        """Open an address; `media` are features such as `prefers_color_scheme="dark"`."""
        return self.wait(self._open(address, width, height, media))

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer = self._answers[self._number] = self._loop.create_future()
        await self._socket.send_str(json.dumps(message))
        return await answer

    async def _start(self) -> None:
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._process = await asyncio.create_subprocess_exec(
            CHROMIUM, *self._flags, f"--user-data-dir={self._profile}", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        while True:
            line = (await self._process.stderr.readline()).decode(errors="replace")
            if not line:
                raise RuntimeError("chromium ended before it listened")
            if "DevTools listening on " in line:
                break
        self._drain = asyncio.create_task(self._process.stderr.read())
        self._client = aiohttp.ClientSession()
        address = line.split("DevTools listening on ")[1].strip()
        self._socket = await self._client.ws_connect(address, max_msg_size=_LARGEST_MESSAGE)
        self._reading = asyncio.create_task(self._read())

    async def _stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._reading.cancel()
        await self._socket.close()
        await self._client.close()
        self._process.terminate()
        await self._process.wait()
        await self._drain

    async def _read(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            answer = self._answers.pop(content.get("id"), None)
            if answer is None:
                page = self._pages.get(content.get("sessionId"))
                if page is not None:
                    page.note(content["method"], content["params"])
            elif "error" in content:
                answer.set_exception(PageProblem(str(content["error"])))
            elif not answer.done():
                answer.set_result(content["result"])

    async def _open(self, address: str, width: int, height: int, media: dict[str, str]) -> "Page":
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self, attached["sessionId"])
        self._pages[page.session] = page
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        await page.resize(width, height)
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        await page.call("Emulation.setEmulatedMedia", features=features)
        await page.go(address)
        return page


class Page:
    """A tab.

    Attributes:
        problems: errors and warnings that the page wrote to the console or did not catch.
        requests: addresses that it asked for.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._loaded = browser._loop.create_future()

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol in this tab."""
        return await self.browser.call(method, self.session, **parameters)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Keep an event."""
        if method == "Page.loadEventFired" and not self._loaded.done():
            self._loaded.set_result(None)
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.problems.append(f"{details['text']} {thrown}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            values = [str(v.get("value", v.get("description"))) for v in params["args"]]
            self.problems.append(" ".join(values))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])

    async def go(self, address: str) -> None:
        """Open an address and wait until it has loaded."""
        self._loaded = self.browser._loop.create_future()
        await self.call("Page.navigate", url=address)
        await self._loaded

    async def resize(self, width: int, height: int) -> None:
        """Give the tab a size in pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    def close(self) -> None:
        """Close the tab."""
        self.browser.wait(self.call("Page.close"))

    def run(self, script: str, seconds: float = _SECONDS) -> Any:
        """The JSON value of an expression, after its promise is kept.

        Raises:
            PageProblem: it threw.
        """
        calling = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        answer = self.browser.wait(calling, seconds)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageProblem(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = _SECONDS) -> None:
        """Wait until an expression is true."""
        self.run(
            f"new Promise((done) => {{ const look = () => ({condition}) ? done(true) : "
            "setTimeout(look, 20); look(); })",
            seconds,
        )

    def press(self, key: str, times: int = 1) -> None:
        """Press a key, in whatever has the focus."""
        code = KEYS.get(key, ord(key.upper()[0]))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        event = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        for _ in range(times):
            down = "keyDown" if text else "rawKeyDown"
            self.browser.wait(self.call("Input.dispatchKeyEvent", type=down, **event))
            self.browser.wait(self.call("Input.dispatchKeyEvent", type="keyUp", **event))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event: `mousePressed`, `mouseMoved`, `mouseReleased` or `mouseWheel`."""
        event = {"type": kind, "x": x, "y": y} | more
        if kind in ("mousePressed", "mouseReleased"):
            event = {"button": "left", "clickCount": 1} | event
        if kind == "mouseMoved" and more.get("buttons"):
            event = {"button": "left"} | event
        self.browser.wait(self.call("Input.dispatchMouseEvent", **event))

    def choose(self, selector: str, *files: Path | str) -> None:
        """Give files to an `<input type=file>`."""

        async def give() -> None:
            root = await self.call("DOM.getDocument")
            node = await self.call(
                "DOM.querySelector", nodeId=root["root"]["nodeId"], selector=selector
            )
            await self.call(
                "DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node["nodeId"]
            )

        self.browser.wait(give())

    def screenshot(self) -> bytes:
        """What the tab shows, as a PNG."""
        shot = self.browser.wait(self.call("Page.captureScreenshot", format="png"))
        return base64.b64decode(shot["data"])
