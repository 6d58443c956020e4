"""The WebSocket of a live avatar: who may connect, what is sent, slow clients, and its end."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import numpy as np
import pytest

from headsplat.frames.images import decode_image
from headsplat.live.access import Access
from headsplat.live.clients import CALIBRATE
from headsplat.live.options import JPEG, RAW, OutputOptions
from headsplat.live.websocket import WebSocketOutput
from headsplat.runtime.errors import UserError

SIZE = (32, 16)


def run(case) -> None:
    asyncio.run(asyncio.wait_for(case, 30))


def output(**options) -> WebSocketOutput:
    return WebSocketOutput(OutputOptions(port=0, **options), SIZE)


@asynccontextmanager
async def connected(address: str, **headers: str):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, headers=headers, max_msg_size=1 << 20) as socket,
    ):
        yield socket


def test_every_client_gets_the_newest_message():
    async def case():
        async with output() as given, connected(given.address) as a, connected(given.address) as b:
            await given.send(b"one", time.perf_counter())
            assert (await a.receive_bytes(), await b.receive_bytes()) == (b"one", b"one")
            async with connected(given.address) as late:
                assert await late.receive_bytes() == b"one"
            await asyncio.sleep(0.05)
            assert given.latency.count == 2
            assert 0 < given.latency.percentiles()[0] < 1

    run(case())


def test_a_client_that_does_not_read_costs_no_memory_and_delays_nobody():
    async def case():
        async with (
            output(send=RAW) as given,
            connected(given.address) as quick,
            connected(given.address) as slow,
        ):
            await quick.receive_str()
            for k in range(400):
                await given.send(bytes([k % 256]) * 400_000, None)
                assert (await quick.receive_bytes())[0] == k % 256
            seen = []
            await slow.receive_str()
            while not seen or seen[-1] != 399 % 256:
                seen.append((await slow.receive_bytes())[0])
            assert len(seen) < 60  # the rest was replaced by newer ones

    run(case())


@pytest.mark.parametrize("send", [JPEG, RAW])
def test_images_come_with_their_size(send):
    async def case():
        rng = np.random.default_rng(0)
        image = np.repeat(np.repeat(rng.integers(0, 255, (2, 4, 3), np.uint8), 8, 0), 8, 1)
        async with output(send=send, quality=95) as given, connected(given.address) as socket:
            facts = json.loads(await socket.receive_str())
            assert facts == {"send": send, "width": 32, "height": 16}
            await given.send(given.encode(image), time.perf_counter())
            data = await socket.receive_bytes()
        if send == RAW:
            np.testing.assert_array_equal(np.frombuffer(data, np.uint8).reshape(16, 32, 3), image)
        else:
            assert np.abs(decode_image(data).astype(int) - image).max() < 20

    run(case())


GOOD = ("Origin", "null")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("Origin", "null", True),
        ("Origin", "http://127.0.0.1:8000", True),
        ("Origin", "http://localhost:5173", True),
        ("Origin", "http://[::1]:80", True),
        ("Origin", "https://evil.example", False),
        ("Origin", "http://127.0.0.1.evil.example", False),
        ("Origin", "http://localhost.evil.example:80", False),
        ("Origin", "http://[::1", False),
        ("Origin", "", False),
        ("Host", "localhost:1234", True),
        ("Host", "evil.example", False),
        ("Host", "evil.example:8765", False),
        ("Host", "192.168.1.5", False),
    ],
)
def test_only_pages_and_programs_of_this_machine_connect(name, value, allowed):
    async def case():
        async with output() as given:
            if allowed:
                async with connected(given.address, **{name: value}) as socket:
                    await given.send(b"x", None)
                    assert await socket.receive_bytes() == b"x"
                return
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connected(given.address, **{name: value}):
                    pass
            assert caught.value.status == 403

    run(case())


@pytest.mark.parametrize("ending", ["", "?token=", "?token=wrong", "?token=%ff%00", "?TOKEN=x"])
def test_the_token_is_needed(ending):
    async def case():
        async with output() as given:
            base = given.address.partition("?")[0]
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connected(base + ending):
                    pass
            assert caught.value.status == 403

    run(case())


def test_nothing_else_is_served():
    async def case():
        async with output() as given, aiohttp.ClientSession() as session:
            base = given.address.partition("/stream")[0].replace("ws", "http", 1)
            for path in ("/", "/../etc/passwd", "/stream/../../etc/passwd", "/index.html"):
                async with session.get(base + path) as answer:
                    assert answer.status in (403, 404)

    run(case())


def test_clients_are_few_and_their_texts_short():
    async def case():
        asked = []
        async with output() as given, aiohttp.ClientSession() as session:
            given.on_calibrate = lambda: asked.append(1)
            sockets = [await session.ws_connect(given.address) for _ in range(8)]
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(given.address)
            assert caught.value.status == 503
            await sockets[0].send_str(CALIBRATE)
            await sockets[1].send_str("anything")
            await sockets[2].send_bytes(bytes(100))
            await sockets[3].send_str("x" * 100_000)
            assert (await sockets[3].receive()).data == 1009  # too big
            await given.send(b"alive", None)
            assert await sockets[0].receive_bytes() == b"alive"
            assert asked == [1]

    run(case())


def test_it_ends_within_a_second_with_clients():
    async def case():
        given = output()
        async with given, aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(given.address) for _ in range(3)]
            await given.send(b"x", None)
            begin = time.monotonic()
            await given.__aexit__()
            assert time.monotonic() - begin < 1.5
            assert (await sockets[0].receive_bytes()) == b"x"
            assert (await sockets[0].receive()).type is aiohttp.WSMsgType.CLOSE

    run(case())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"host": "0.0.0.0"}, "others can reach it; give a secret with --token"),
        ({"token": "short"}, "--token: give 16 to 200 letters"),
    ],
)
def test_unsafe_options_are_one_line(options, line):
    with pytest.raises(UserError, match=line):
        output(**options)


@pytest.mark.parametrize(
    ("host", "address", "own"),
    [
        ("127.0.0.1", "//localhost:8765", True),
        ("127.0.0.1", "//[::1]:80", True),
        ("127.0.0.1", "//192.168.1.5", False),
        ("Studio-PC", "//studio-pc:8765", True),
        ("Studio-PC", "//studio-pc.evil.example", False),
        ("0.0.0.0", "//192.168.1.5:99", True),
        ("0.0.0.0", "//evil.example", False),
        ("127.0.0.1", "//evil.example@127.0.0.1", False),
        ("127.0.0.1", "//127.0.0.1/evil.example", False),
        ("127.0.0.1", "//127.0.0.1:99999", False),
        ("127.0.0.1", "//", False),
    ],
)
def test_names_of_a_server(host, address, own):
    assert Access(host, "s" * 20).is_own(address) is own


def test_all_addresses_are_served_by_number_only():
    async def case():
        async with output(host="0.0.0.0", token="s" * 20) as given:
            address = given.address.replace("0.0.0.0", "127.0.0.1")
            async with connected(address, Host="192.168.1.5:99", Origin="http://192.168.1.5"):
                pass
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    async with connected(address, **headers):
                        pass

    run(case())


def test_what_is_no_http_leaves_no_trace_and_connections_are_few(caplog):
    async def case():
        async with output() as given:
            port = int(given.address.rpartition(":")[2].partition("/")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"nothing\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.0 400")
            assert b"aiohttp" not in answer
            writer.close()
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
            reader = idle[-1][0]
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            for _, writer in idle:
                writer.close()

    run(case())
    assert caplog.records == []


def test_localhost_is_printed_as_pages_may_open_it(caplog):
    caplog.set_level("INFO", "headsplat")

    async def case():
        async with output(host="localhost") as given:
            assert given.address.startswith("ws://127.0.0.1:")
        assert len(caplog.records) == 1
        async with output(host="127.0.0.2") as given:
            assert given.address.startswith("ws://127.0.0.2:")

    run(case())
    assert caplog.records[-1].getMessage() == "an avatar's page opens addresses of 127.0.0.1 only"


def test_a_port_in_use_is_one_line():
    async def case():
        async with output() as given:
            port = int(given.address.rpartition(":")[2].partition("/")[0])
            with pytest.raises(UserError, match=f"TCP port {port} of 127.0.0.1 cannot be"):
                async with WebSocketOutput(OutputOptions(port=port), SIZE):
                    pass

    run(case())
