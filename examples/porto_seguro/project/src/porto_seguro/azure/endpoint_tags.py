"""What is remembered with an endpoint of Azure ML, in its tags: which deployment holds which version, champions so far."""

import base64
import zlib
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ..errors import Fault
from .az import Az
from .environments import Environment

# What Azure Resource Manager lets tags be: 50 of them, 256 characters each. Some belong to the environment.
CHUNKS, LENGTH = 36, 250
STATE, CHAMPIONS = "state", "champions"


class Kept(Struct, kw_only=True):
    """What the tags say: the version of each deployment, and the newest release as it was encoded."""

    deployments: dict[str, int] = {}
    release: dict[str, Any] | None = None
    serial: int = 0


def pack(kept: Kept) -> dict[str, str]:
    """Return the tags that hold it.

    Compressed and in letters that no shell changes: on Windows, az is a batch file, which spoils quotes and percent signs.

    Raises:
        Fault: it is too long, even without the release's history.
    """
    text = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(kept), 9)).decode()
    parts = [text[n : n + LENGTH] for n in range(0, len(text), LENGTH)]
    if len(parts) > CHUNKS:
        history = (kept.release or {}).get("history", [])
        if len(history) < 3:
            raise Fault(f"The state of the endpoint needs {len(parts)} tags; {CHUNKS} is the most there may be.")
        shorter = (kept.release or {}) | {"history": [history[0], *history[len(history) // 2 :]]}
        return pack(msgspec.structs.replace(kept, release=shorter))
    return {STATE: str(len(parts))} | {f"{STATE}{n}": part for n, part in enumerate(parts)}


def unpack(tags: dict[str, str]) -> Kept | None:
    """Return what the tags hold; None if nothing was ever kept. Chunks of a longer state from before are not read.

    Raises:
        Fault: they were changed by hand.
    """
    if STATE not in tags:
        return None
    try:
        text = "".join(tags[f"{STATE}{n}"] for n in range(int(tags[STATE])))
        return msgspec.json.decode(zlib.decompress(base64.urlsafe_b64decode(text)), type=Kept)
    except (KeyError, ValueError, zlib.error) as error:
        raise Fault(f"The endpoint's tags {STATE}, {STATE}0, ... were changed and cannot be read: {error}.") from None


class EndpointTags:
    """An endpoint of a workspace with what its tags remember."""

    def __init__(self, az: Az, environment: Environment, kind: Literal["online", "batch"]) -> None:
        """Look after the online or the batch endpoint of an environment."""
        self.az, self.environment = az, environment
        self.name = environment.endpoint if kind == "online" else environment.batch_endpoint
        self.group = ("ml", f"{kind}-endpoint")
        self.words = ("--name", self.name, *environment.scope)

    def show(self) -> dict[str, Any] | None:
        """Return what Azure tells of the endpoint, None if there is none."""
        found: dict[str, Any] | None = self.az.find(*self.group, "show", *self.words)
        return found

    def update(self, tags: dict[str, str], *more: str) -> None:
        """Write tags, and whatever `more` says, at once: after a crash all of it is there or nothing."""
        told = [f"tags.{key}={text}" for key, text in tags.items()]
        kept = ["--set", *told, "--force-string"] if told else []
        self.az.write(*self.group, "update", *self.words, *more, *kept)

    def champions(self, told: dict[str, Any] | None = None) -> list[int]:
        """Return the champions so far, the present one last; `told` is what `show` gave."""
        told = told if told is not None else self.show()
        text = ((told or {}).get("tags") or {}).get(CHAMPIONS, "")
        return [int(number) for number in text.split("-") if number.isdigit()]

    def note_champions(self, history: list[int]) -> None:
        """Write the champions so far."""
        text = "-".join(map(str, history))
        while len(text) > LENGTH:
            text = text.split("-", 1)[1]
        self.update({CHAMPIONS: text})
