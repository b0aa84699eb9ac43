"""Images and servers of the cloud: a Dockerfile is read, and its entry point is run with a model in its place."""

import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from running import free_port

READY = 60.0  # seconds


class NoImage(Exception):
    """The Dockerfile copies what is not there."""


@dataclass
class Server:
    """A deployment: a process of the image's code, with a model."""

    process: "subprocess.Popen[bytes]"
    port: int
    held: list[http.client.HTTPConnection] = field(default_factory=list)


def build(root: Path, folder: Path) -> None:
    """Make an image: what the Dockerfile copies, with `image.json` beside it; packages are those of this Python."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", (root / "Dockerfile").read_text("utf-8"))).splitlines()
    app = folder / "app"
    shutil.rmtree(folder, ignore_errors=True)
    app.mkdir(parents=True)
    about: dict[str, Any] = {"env": {}, "entry": []}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (root / source).is_dir():
                    shutil.copytree(root / source, app / target, dirs_exist_ok=True)
                elif (root / source).is_file():
                    shutil.copy2(root / source, app / target)
                else:
                    raise NoImage(f"COPY failed: file not found in build context: {source}")
        elif word == "ENV":
            about["env"] |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "ENTRYPOINT":
            about["entry"] = json.loads(rest)
    (folder / "image.json").write_text(json.dumps(about), "utf-8")


def start(image: Path, model: Path, place: str, about: Mapping[str, str], log: Path) -> Server | None:
    """Start the server of an image with a model mounted; None where it does not become ready."""
    told = json.loads((image / "image.json").read_text("utf-8"))

    def here(text: str) -> str:
        return re.sub(rf"^{place}(?=/|$)", str(model), re.sub(r"^/app(?=/|$)", str(image / "app"), text))

    port = free_port()
    env = {key: here(text) for key, text in (told["env"] | dict(about)).items()}
    env |= {"HOST": "127.0.0.1", "PORT": str(port), "STOP_WITH_STDIN": "yes", "PATH": os.environ["PATH"]}
    words = [sys.executable if word == "python" else word for word in told["entry"]]
    with log.open("wb") as said:
        process = subprocess.Popen(
            words, cwd=image / "app", env=env, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        )
    server = Server(process, port)
    end = time.monotonic() + READY
    while process.poll() is None and time.monotonic() < end:
        try:
            if fetch(server, "GET", "/readyz", b"", {})[0] == 200:
                return server
        except OSError:
            time.sleep(0.05)
    stop(server)
    return None


def stop(server: Server) -> None:
    """End a server at once: nobody waits for an answer."""
    for line in server.held:
        line.close()
    server.process.kill()
    server.process.wait()
    if server.process.stdin:
        server.process.stdin.close()


def fetch(server: Server, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Ask a server, over a connection that is kept."""
    passed = {key: value for key, value in headers.items() if key.lower() in ("content-type", "x-request-id")}
    while True:
        old = bool(server.held)
        kept = server.held.pop() if old else http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            kept.request(method, path, body or None, passed)
            answer = kept.getresponse()
            told = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            kept.close()
            if old:  # the server had closed it meanwhile
                continue
            raise
        server.held.append(kept)
        return told
