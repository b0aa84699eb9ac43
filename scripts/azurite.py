"""Azurite, the emulator of Azure Blob Storage, for as long as something needs it.

npm (`apt-get install nodejs npm`) brings it; it is installed once, beside the kit's other tools.
"""

import base64
import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tools
from running import free_port

VERSION = "3.35.0"


def emulator() -> list[str]:
    """Return the command of the emulator, installed on first use.

    Raises:
        RuntimeError: it cannot be installed.
    """
    name, options = f"azurite-{VERSION}", ("--no-audit", "--no-fund", "--prefix")
    folder = tools.installed(name, lambda folder: [["npm", "install", *options, str(folder), f"azurite@{VERSION}"]])
    return ["node", str(folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js")]


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[Callable[[str], str]]:
    """Run an emulator with an account and a key of its own.

    Args:
        folder: where it keeps its blobs.

    Yields:
        A function that gives the connection string with another key, or with the right one for an empty text.

    Raises:
        RuntimeError: it cannot be installed, or does not answer.
    """
    name, key, port = "a" + secrets.token_hex(8), base64.b64encode(secrets.token_bytes(64)).decode(), free_port()
    options = (
        f"--silent --skipApiVersionCheck --disableTelemetry --blobHost 127.0.0.1 --blobPort {port} --location {folder}"
    )
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*emulator(), *options.split()],
            stdout=said,
            stderr=said,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{name}:{key}"},
        )
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if process.poll() is not None:
                    raise RuntimeError(f"Azurite ended: {(folder / 'said').read_text()}")
                time.sleep(0.1)
            else:
                raise RuntimeError("Azurite does not answer")
            yield (
                lambda other: (
                    f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={other or key};"
                    f"BlobEndpoint=http://127.0.0.1:{port}/{name};"
                )
            )
        finally:
            process.terminate()
            process.wait(30)
