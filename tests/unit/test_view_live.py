"""The viewer's live stream: from a phone's packet to the page, and who may listen."""

import asyncio

import aiohttp
import pytest

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.frame import from_message
from headsplat.live.options import InputOptions
from tests.browser import Browser, needs_chromium
from tests.unit.live_packets import free_port, live_link, sender
from tests.unit.view_subject import make_project, running

PHONE = InputOptions(
    udp_host="127.0.0.1", udp_port=free_port(), calibrate=False, cutoff=0, angles="radians"
)
REFUSED = 403


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def server(project):
    with running(project, PHONE) as made:
        yield made


def connected(server, talk, query="", **headers):
    """What an asynchronous function returns for a WebSocket, or the status of its refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def run():
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{server.port}/stream{query}"
            try:
                async with session.ws_connect(address, headers=named) as socket:
                    return await asyncio.wait_for(talk(socket), 10)
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    return asyncio.run(run())


async def stays(socket):
    return "open"


def test_only_the_own_page_and_files_with_the_token_may_listen(server):
    own = f"http://127.0.0.1:{server.port}"
    cookie = server.plain(f"/?token={server.token}")[1]["Set-Cookie"].split(";")[0]
    with_token = f"?token={server.token}"
    assert connected(server, stays, Cookie=cookie, Origin=own) == "open"
    assert connected(server, stays, with_token, Origin="null") == "open"
    assert connected(server, stays, with_token) == "open"
    for origin in (
        "null", "http://evil.example", "http://127.0.0.1:1", own.replace("http", "https"),
        f"{own}.evil.example", "http://localhost",
    ):  # fmt: skip
        assert connected(server, stays, Cookie=cookie, Origin=origin) == REFUSED
    assert connected(server, stays, with_token, Origin="http://evil.example") == REFUSED
    assert connected(server, stays, Origin=own) == REFUSED
    assert connected(server, stays, with_token, Host="evil.example", Origin="null") == REFUSED


def test_large_messages_end_the_connection_and_others_are_ignored(server):
    async def large(socket):
        await socket.send_str("a" * 100_000)
        message = await socket.receive()
        return message.type, socket.close_code

    kind, code = connected(server, large, f"?token={server.token}")
    assert kind in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    async def strange(socket):
        for _ in range(2000):
            await socket.send_bytes(b"\x00\xff" * 50)
            await socket.send_str('{"calibrate": true}')
        with sender(server.live.port) as send:
            send(live_link(JawOpen=0.5))
            return (await socket.receive()).data

    frame, _, _ = from_message(connected(server, strange, f"?token={server.token}"))
    assert frame.weights[BLENDSHAPES.index("JawOpen")] == pytest.approx(0.5)


def test_without_live_there_is_no_stream(project):
    with running(project) as server:
        assert connected(server, stays, f"?token={server.token}") == 404


@needs_chromium
def test_a_phone_moves_the_avatar_of_the_page(server):
    with Browser() as browser, sender(server.live.port) as send:
        page = browser.page(server.server.address, 700, 500)
        page.until("document.getElementById('link').textContent === 'Connected.'")
        assert page.run("document.getElementById('source').value") == "stream"
        for k in range(20):
            send(live_link(JawOpen=k / 20))
            browser.wait(asyncio.sleep(0.02))
        page.until("document.getElementById('link').textContent === 'The stream moves the avatar.'")
        assert page.problems == []
