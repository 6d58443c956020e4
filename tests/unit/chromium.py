"""A real browser for tests: Debian's chromium over the DevTools protocol, without a GPU."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

BINARY = shutil.which("chromium")
FLAGS = (
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_LARGEST = 1 << 29  # bytes of a message
_START, _ANSWER = 60, 120  # seconds

try:
    import aiohttp
except ImportError:
    aiohttp = None

needs_chromium = pytest.mark.skipif(
    BINARY is None or aiohttp is None, reason="needs chromium in PATH, and aiohttp"
)


class Chromium:
    """One browser with one page.

    Attributes:
        problems: texts of console errors, warnings and uncaught exceptions.
        requests: addresses that the page asked for.
    """

    def __init__(self, *flags: str) -> None:
        self.problems, self.requests = [], []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._loop = asyncio.new_event_loop()
        self._answers, self._events, self._number = {}, [], 0
        command = [BINARY, *FLAGS, *flags, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._connect(), _START))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._process.kill()
        self._process.wait()
        self._loop.run_until_complete(self._disconnect())
        self._loop.close()
        self._profile.cleanup()

    def call(self, method, **params):
        """Call a method of the protocol; returns its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), _ANSWER))

    def open(self, path: Path | str):
        """Load a file or an address, and wait until it is loaded."""
        address = path.as_uri() if isinstance(path, Path) else path
        self.problems.clear(), self.requests.clear(), self._events.clear()
        self.call("Page.navigate", url=address)
        self.wait_for_event("Page.loadEventFired")

    def evaluate(self, script):
        """The value of an expression, after its promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise AssertionError(details.get("exception", details).get("description", details))
        return found["result"].get("value")

    def wait_for_event(self, name):
        async def wait():
            while name not in self._events:
                await asyncio.sleep(0.01)

        self._loop.run_until_complete(asyncio.wait_for(wait(), _ANSWER))

    async def _connect(self):
        file = Path(self._profile.name, "DevToolsActivePort")
        while not file.exists() or len(file.read_text().split()) < 2:
            if self._process.poll() is not None:
                raise RuntimeError(f"{BINARY} ended with status {self._process.returncode}")
            await asyncio.sleep(0.05)
        port = file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = json.loads(await answer.text())
        (address,) = [p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page"][:1]
        self._socket = await self._session.ws_connect(address, max_msg_size=_LARGEST)
        self._reader = self._loop.create_task(self._read())
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self._call(f"{domain}.enable", {})

    async def _disconnect(self):
        if hasattr(self, "_reader"):
            self._reader.cancel()
        if hasattr(self, "_session"):
            await self._session.close()

    async def _call(self, method, params):
        self._number += 1
        number = self._number
        answered = self._answers[number] = self._loop.create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await answered
        del self._answers[number]
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    async def _read(self):
        async for message in self._socket:
            data = json.loads(message.data)
            if "id" in data:
                if data["id"] in self._answers:
                    self._answers[data["id"]].set_result(data)
                continue
            name, params = data["method"], data["params"]
            self._events.append(name)
            if name == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                texts = [str(a.get("value", a.get("description"))) for a in params["args"]]
                self.problems.append(" ".join(texts))
            elif name == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", details).get("description", ""))
            elif name == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                self.problems.append(params["entry"]["text"])
            elif name == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
