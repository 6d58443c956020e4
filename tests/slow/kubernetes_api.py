"""A local stand-in for the part of the Kubernetes API that the executor uses.

Jobs are stored as posted. The commands of their containers run as local processes, each in an empty
folder, so that a job with missing inputs fails.
"""

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

JOBS = re.compile(r"/apis/batch/v1/namespaces/([\w-]+)/jobs(?:/([\w-]+)(?:/status)?)?")
SECRETS = re.compile(r"/api/v1/namespaces/([\w-]+)/secrets(?:/([\w-]+))?")
PODS = re.compile(r"/api/v1/namespaces/([\w-]+)/pods")


class KubernetesApi:
    """The server, the posted jobs, and their processes.

    Attributes:
        jobs: name -> job as posted.
        unknown: requests that the stand-in does not implement.
    """

    def __init__(self, folder: Path, run: bool = True):
        self.folder, self.run = folder, run
        self.jobs: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.unknown: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "KubernetesApi":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for process in self.processes.values():
            process.kill()
            process.wait()

    def write_config(self, path: Path) -> None:
        """Write a kubeconfig with this server's address."""
        server = f"http://127.0.0.1:{self._server.server_port}"
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }  # fmt: skip
        path.write_text(json.dumps(content))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a request; None for 404."""
        if found := JOBS.fullmatch(path):
            return self._answer_job(method, found[2], body)
        if SECRETS.fullmatch(path) and method in ("POST", "DELETE"):
            return {"kind": "Secret" if method == "POST" else "Status", "apiVersion": "v1"}
        if PODS.fullmatch(path) and method == "GET":
            return {"kind": "PodList", "apiVersion": "v1", "items": []}
        self.unknown.append(f"{method} {path}")
        return None

    def _answer_job(
        self, method: str, name: str | None, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        if method == "POST":
            name = body["metadata"]["name"]
            self.jobs[name] = body
            if self.run:
                self._start(name, body["spec"]["template"]["spec"]["containers"][0])
        if name not in self.jobs:
            return None
        status = self.processes[name].poll() if self.run else None
        state = {"active": 1} if status is None else {"failed" if status else "succeeded": 1}
        return self.jobs[name] | {"status": state}

    def _start(self, name: str, container: dict[str, Any]) -> None:
        folder = self.folder / name
        folder.mkdir()
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                container["command"] + container["args"],
                cwd=folder, env=container_environment(), stdout=log, stderr=log,
            )  # fmt: skip

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size) or b"{}")
                answer = api.answer(self.command, self.path.split("?")[0], body)
                content = json.dumps(answer or {"kind": "Status", "status": "Failure"}).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _reply  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def container_environment() -> dict[str, str]:
    """Environment of a container: only pip's and the system's variables of this process."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
