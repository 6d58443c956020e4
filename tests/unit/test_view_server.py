"""Who the viewer's server answers, and with what: real sockets, and requests that attack it."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import torch
from PIL import Image

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_json
from headsplat.runtime.system import peak_memory_mib
from headsplat.video.encode import VideoWriter
from headsplat.view.files import project_files, subject_files
from headsplat.view.security import Guard
from headsplat.view.states import AvatarStates, newest
from headsplat.web.container import read_payload
from tests.conftest import PYTHON_PATH, ROOT
from tests.unit.driven import SIZE
from tests.unit.view_subject import FRAMES, PARTS, PSNR, image_of, make_project, running

SECRET = "a-token-of-a-test-1234"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def server(project):
    with running(project) as made:
        yield made


def raw(server, text: str, seconds: float = 10) -> bytes:
    """What the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(text.encode("latin-1"))
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def request(server, target: str, *headers: str, host: str | None = None) -> str:
    name = host or f"127.0.0.1:{server.port}"
    lines = [f"GET {target} HTTP/1.1", f"Host: {name}", "Connection: close", *headers]
    return "\r\n".join(lines) + "\r\n\r\n"


def test_the_clip_has_split_times_and_errors(server):
    meta, arrays = read_payload(server.ask("/data/clip")[2])
    assert arrays["ids"].tolist() == list(range(1, FRAMES + 1))
    assert arrays["times"][3] == pytest.approx(0.12)
    names = [meta["part_names"][part] for part in arrays["parts"]]
    assert [i + 1 for i, name in enumerate(names) if name == "test"] == PARTS["test"]
    assert arrays["errors/psnr_head"].tolist() == list(PSNR)
    assert [m["name"] for m in meta["measures"]] == ["psnr_head", "ssim_head"]
    assert meta["camera"]["width"] == SIZE
    assert meta["problems"] == []


def test_a_mesh_is_posed_as_the_library_poses_it(server, project):
    from headsplat.heads.model import HeadModel
    from headsplat.heads.skinning import HeadGeometry
    from headsplat.rotations import matrix_from_6d
    from headsplat.track import read_track

    meta, arrays = read_payload(server.ask("/data/mesh/5")[2])
    track, head = read_track(project.files["track"]), HeadModel.load(project.listed("heads")[0])
    rows = {n: torch.from_numpy(getattr(track, n)[4:5]) for n in ("exp", "jaw", "eyes", "eyelids")}
    expected = HeadGeometry(head).vertices(
        track.identity(), rows["exp"], matrix_from_6d(rows["jaw"]),
        matrix_from_6d(rows["eyes"].reshape(1, 2, 6)), rows["eyelids"],
    )  # fmt: skip
    np.testing.assert_allclose(arrays["vertices"] * meta["scale"], expected[0], atol=1e-5)
    assert set(arrays["detected"].ravel()) == {16 * SIZE // 2}
    surface = read_payload(server.ask("/data/surface")[2])[1]
    assert len(surface["faces"]) == len(head.faces)
    assert len(np.unique(surface["edges"], axis=0)) == len(surface["edges"])


def test_images_and_ground_truth_are_those_of_the_packs(server):
    status, headers, body = server.ask("/data/image/3")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    image = np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int)
    assert np.abs(image - image_of(3)).mean() < 3
    arrays = read_payload(server.ask("/data/truth/3")[2])[1]
    matte = np.asarray(Image.open(io.BytesIO(arrays["matte"].tobytes())))
    assert matte[: SIZE // 4].max() == 0
    assert matte[SIZE // 4 :].min() == 255
    assert server.ask("/data/image/99")[0] == 404
    assert server.ask("/data/mesh/99")[0] == 404


def test_the_avatar_carries_the_clip_as_a_motion(server):
    meta, arrays = read_payload(server.ask("/data/avatar")[2])
    assert meta["name"] == "anna"
    assert [m["count"] for m in meta["motions"]] == [FRAMES]
    assert len(arrays["motions/0/rotation"]) == FRAMES


def test_the_clip_sounds_once_its_comparison_video_is_there(tmp_path):
    files = make_project(tmp_path)
    states = AvatarStates(files)
    silent = newest(files)
    assert [m["sound"] for m in read_payload(states.payload())[0]["motions"]] == [False]
    tone = np.sin(np.arange(48000 * FRAMES // 25) / 20).astype(np.float32)
    video = tmp_path / "results/anna/avatar/test.mp4"
    with VideoWriter(video, 32, 16, 25, (tone, 48000)) as made:
        for _ in range(FRAMES):
            made.write(np.zeros((16, 32, 3), np.uint8))
    assert newest(files).version != silent.version, "the page loads it"
    meta, arrays = read_payload(states.payload())
    assert [m["sound"] for m in meta["motions"]] == [True]
    assert len(arrays["motions/0/sound"]) > 1000
    video.write_bytes(b"no video")
    assert [m["sound"] for m in read_payload(states.payload())[0]["motions"]] == [False]


@pytest.mark.parametrize(
    "target",
    [
        "/../pyproject.toml", "/data/../../etc/passwd", "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd", "/data/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "//etc/passwd",
        "/data/image//etc/passwd", "/data/image/%2fetc%2fpasswd", "/data/image/../../../etc/passwd",
        "/data/image/1%00", "/data/image/+1", "/data/image/1e1", "/data/image/" + "9" * 30,
        "/data/image/%d9%a3", "/..\\..\\windows", "/view.js/", "/page/", "/work/anna/frames.tsv",
        "/data/files/1", "/index.html", "/__init__.py", "/data", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_no_address_reaches_another_file(server, target):
    mark = "&" if "?" in target else "?"
    answer = raw(server, request(server, f"{target}{mark}token={server.token}"))
    assert status_of(answer) in (400, 403, 404)
    assert b"root:" not in answer
    assert b"[project]" not in answer


def test_an_absolute_address_of_another_host_is_refused(server):
    target = f"http://evil.example/data/state?token={server.token}"
    assert status_of(raw(server, request(server, target, host="evil.example"))) == 403


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True), ("localhost:9000", True), ("[::1]:80", True), ("evil.example", False),
        ("127.0.0.1.evil.example", False), ("localhost.evil.example:80", False),
        ("192.168.1.7", False), ("127.0.0.1@evil.example", False), ("", False),
        ("evil.example#127.0.0.1", False),
        ("127.0.0.1:port", False), ("[::1", False),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(server, host, allowed):
    text = request(server, f"/data/state?token={server.token}").replace(
        f"Host: 127.0.0.1:{server.port}", f"Host: {host}"
    )
    assert status_of(raw(server, text)) in ((200,) if allowed else (400, 403))


def test_two_hosts_or_none_are_refused(server):
    target = f"/data/state?token={server.token}"
    assert status_of(raw(server, request(server, target, "Host: localhost"))) in (400, 403)
    assert status_of(raw(server, f"GET {target} HTTP/1.0\r\n\r\n")) in (400, 403)


def test_without_the_token_nothing_is_answered(server):
    for path in ("/", "/view.js", "/data/state", "/data/clip", "/stream", "/nothing"):
        for given in ("", "?token=", "?token=wrong", f"?token={server.token[:-1]}", "?token=%ff"):
            assert server.plain(path + given)[0] == 403


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(server):
    status, headers, _ = server.plain(f"/?token={server.token}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert server.token not in cookie
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
    value = cookie.split(";")[0]
    assert server.plain("/", Cookie=value)[0] == 200
    assert server.plain("/", Cookie=value + "x")[0] == 403


def test_answers_allow_no_other_site(server):
    for path in ("/data/state", "/nothing", "/view.js"):
        headers = server.ask(path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]
        assert not [name for name in headers if name.startswith("Access-Control")]
    assert server.ask("/data/state", Sec_Fetch_Site="cross-site")[0] == 403
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert server.ask("/", **link)[0] == 303
    assert server.ask("/data/state", "POST")[0] == 405
    assert server.ask("/data/state", "OPTIONS", Origin="http://evil.example")[0] == 405


def test_large_requests_are_refused(server):
    target = f"/data/state?token={server.token}"
    for text in (
        request(server, target + "&x=" + "a" * 100_000),
        request(server, target, "X: " + "a" * 100_000),
        request(server, target, *(f"X-{k}: {'a' * 1000}" for k in range(2000))),
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 100,
    ):
        answer = raw(server, text, 5)
        assert answer == b"" or status_of(answer) >= 400
    assert server.state()["tracked"]


def test_what_is_no_http_leaves_no_trace(server, caplog):
    for text in ("nothing\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nA b\r\n\r\n"):
        answer = raw(server, text)
        assert status_of(answer) == 400
        assert b"default-src 'none'" in answer
        assert b"aiohttp" not in answer
        assert b"Python" not in answer
    assert caplog.records == []


def test_a_flood_leaves_the_server_and_its_memory_as_they_were(server):
    async def flood() -> list[int]:
        url = f"http://127.0.0.1:{server.port}"
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(k: int) -> int:
                target = f"{url}/data/mesh/{k % FRAMES + 1}?token={server.token}"
                try:
                    async with session.get(target) as answer:
                        await answer.read()
                        return answer.status
                except aiohttp.ClientError:
                    return 0

            found = []
            for _ in range(3):
                found += await asyncio.gather(*(one(k) for k in range(200)))
            return found

    before = server.state()
    asyncio.run(flood())
    memory = peak_memory_mib()
    statuses = asyncio.run(flood())
    assert set(statuses) <= {0, 200, 503}
    assert statuses.count(200) > 50
    assert peak_memory_mib() - memory < 32
    assert answered(server) == before


def answered(server):
    """The state, as soon as the connections of a flood have ended."""
    for _ in range(50):
        try:
            return server.state()
        except ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer any more")


def test_a_link_out_of_the_project_is_refused(tmp_path):
    files = make_project(tmp_path / "project")
    secret = tmp_path / "secret.tsv"
    work = tmp_path / "project/work/anna"
    secret.write_bytes((work / "frames.tsv").read_bytes())
    for name, target in (("frames.tsv", secret), ("frames/000.zip", tmp_path / "outside.zip")):
        (work / name).rename(target)
        (work / name).symlink_to(target)
    with running(files) as server:
        for path in ("/data/clip", "/data/image/1"):
            status, _, body = server.ask(path)
            assert status == 404
            assert b"link out of the project" in body
            assert b"\n" not in body


@pytest.mark.parametrize("name", ["state.pt", "key.json"])
def test_a_link_of_a_training_out_of_the_project_is_refused(tmp_path, name):
    files = make_project(tmp_path / "project")
    folder = tmp_path / "project/scratch/anna/train_avatar/0123456789abcdef"
    folder.mkdir(parents=True)
    for file in ("state.pt", "key.json"):
        (folder / file).write_text("{}")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match="link out of the project"):
        AvatarStates(project_files(files.roots[0].parent, "anna")).payload()


@pytest.mark.parametrize("step", [float("inf"), float("nan"), "many", None])
def test_a_damaged_state_of_a_training_is_one_line(tmp_path, step):
    make_project(tmp_path)
    folder = tmp_path / "scratch/anna/train_avatar/0123456789abcdef"
    folder.mkdir(parents=True)
    torch.save({"step": step, "model": {}}, folder / "state.pt")
    write_json(folder / "key.json", {"parameters": {}})
    with pytest.raises(UserError, match="cannot be read now"):
        AvatarStates(project_files(tmp_path, "anna")).payload()


def test_damaged_files_are_told_in_one_line(tmp_path):
    files = make_project(tmp_path)
    (tmp_path / "work/anna/track/track.npz").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "work/anna/split.json").write_text("[" * 10_000)
    with running(files) as server:
        meta, arrays = read_payload(server.ask("/data/clip")[2])
        assert len(arrays["ids"]) == FRAMES  # of the table
        assert not meta["tracked"]
        assert len(meta["problems"]) == 2
        status, _, body = server.ask("/data/mesh/1")
        assert status == 404
        assert b"Traceback" not in body


def test_an_early_run_has_a_page(tmp_path):
    (tmp_path / "work/anna").mkdir(parents=True)
    with running(subject_files(str(tmp_path / "work/anna"))) as server:
        assert server.state()["avatar"] is None
        assert server.ask("/data/clip")[0] == 404
        status, headers, _ = server.ask("/?x=1")
        assert status == 303
        assert server.plain("/", Cookie=headers["Set-Cookie"].split(";")[0])[0] == 200


def test_other_addresses_need_a_token_of_some_length():
    for host, token in (
        ("0.0.0.0", ""), ("192.168.1.7", "short"), ("127.0.0.1", "short"),
        ("127.0.0.1", "a secret & a reader"), ("127.0.0.1", "x" * 201),
    ):  # fmt: skip
        with pytest.raises(UserError, match="--token"):
            Guard(host, token)
    assert Guard("0.0.0.0", SECRET).access.token == SECRET


@pytest.mark.parametrize("given", ["nobody", "results/nobody", "/etc", "results/../../etc", ""])
def test_an_unknown_subject_is_told(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no subject"):
        subject_files(given)


def test_subjects_are_found_by_folder_name_and_avatar(project, monkeypatch):
    root = project.roots[0].parent
    for given in ("results/anna", "work/anna", "results/anna/avatar", "anna", "work/anna/track"):
        monkeypatch.chdir(root)
        assert subject_files(given).files["track"] == root / "work/anna/track/track.npz"


def test_ctrl_c_ends_the_command_within_a_second(project):
    root = project.roots[0].parent
    command = [sys.executable, "-m", "headsplat.command.main", "view", str(root / "results/anna")]
    process = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": PYTHON_PATH}, cwd=ROOT,
    )  # fmt: skip
    line = process.stdout.readline()
    assert line.startswith("anna: http://127.0.0.1:")
    port = int(line.split(":")[3].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        time.sleep(0.2)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert time.monotonic() - start < 1
    assert process.returncode == 130
    assert "Traceback" not in said
    assert Path(root / "results/anna").is_dir()
