"""Run a server for as long as something needs it."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], url: str, cwd: Path, env: Mapping[str, str], body: bytes | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Args:
        command: its words.
        url: what it must answer with 200 within a minute; a POST, if there is a body.
        cwd, env: where and with what it runs.
        body: JSON.

    Raises:
        RuntimeError: it ended at once, or does not answer.
    """
    with tempfile.TemporaryFile() as said:
        # A session of its own: some servers leave the work to processes that they start.
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=said, stderr=said, start_new_session=True)
        try:
            for _ in range(600):
                request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
                with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.status == 200:
                        break
                if process.poll() is not None:
                    said.seek(0)
                    raise RuntimeError(f"{list(command)[:4]} ended: {said.read()[-1000:].decode()}")
                time.sleep(0.1)
            else:
                raise RuntimeError(f"{list(command)[:4]} does not answer")
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM) if hasattr(os, "killpg") else process.terminate()
            process.wait(30)
