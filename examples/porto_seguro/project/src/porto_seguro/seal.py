"""A model folder under seal: a manifest lists the checksum of each file, and its own digest stands for all of them."""

import hashlib
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .config import file_hash
from .errors import Fault
from .table import replacing

MANIFEST = "manifest.json"
Checksums = dict[str, str]


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST and "__pycache__" not in p.parts)


def seal(folder: Path) -> None:
    """Write the manifest of a folder."""
    _write(folder, {file.relative_to(folder).as_posix(): file_hash(file) or "" for file in _files(folder)})


def _write(folder: Path, checksums: Checksums) -> None:
    with replacing(folder / MANIFEST) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(checksums)))


def digest(folder: Path) -> str:
    """Return the SHA-256 of the manifest: it stands for the whole folder."""
    return file_hash(folder / MANIFEST) or ""


def _manifest(folder: Path, expected: str | None = None) -> Checksums:
    try:
        text = (folder / MANIFEST).read_bytes()
        wanted = msgspec.json.decode(text, type=Checksums)
    except (OSError, msgspec.MsgspecError):
        raise Fault(
            f"{folder} is no model folder, or its {MANIFEST} is broken. Roll back to another version, or train again."
        ) from None
    if expected and hashlib.sha256(text).hexdigest() != expected:
        raise Fault(
            f"The manifest in {folder} is not the one that was registered: the model was exchanged. Nothing was loaded."
        )
    return wanted


def read_sealed(folder: Path, expected: str | None, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of files of a folder, once every one of its files was compared with the manifest.

    It is the content that was compared: a file that somebody exchanges meanwhile is not read again.

    Args:
        folder: under seal.
        expected: the digest of the manifest, where it is known.
        names: files to return; one that the manifest does not know is left out.

    Raises:
        Fault: a file is missing or changed, or one is there that the manifest does not know.
    """
    wanted = _manifest(folder, expected)
    found: Checksums = {}
    content: dict[str, bytes] = {}
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        if name in names:
            content[name] = file.read_bytes()
            found[name] = hashlib.sha256(content[name]).hexdigest()
        else:
            found[name] = file_hash(file) or ""
    if wrong := sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k)):
        raise Fault(
            f"The model in {folder} was changed after it was saved ({', '.join(wrong[:3])}). Nothing was loaded."
        )
    return content


def take_out(folder: Path, name: str) -> None:
    """Remove a file, and seal the folder anew; cut off in between, it may be done again."""
    wanted = _manifest(folder)
    if wanted.pop(name, None):
        _write(folder, wanted)  # what else was changed meanwhile stays unlisted, and is refused
    (folder / name).unlink(missing_ok=True)


class Pickled(NamedTuple):
    """An object that lies pickled in a folder under seal, to be read when it is first needed."""

    folder: Path
    digest: str
    name: str

    def load(self) -> Any:
        """Return it; what is unpickled was compared with the manifest before.

        Raises:
            Fault: the folder was changed, or the object needs other libraries than there are.
        """
        return unpickled(read_sealed(self.folder, self.digest, [self.name]).get(self.name, b""))


def unpickled(content: bytes) -> Any:
    """Return what joblib wrote.

    Raises:
        Fault: it cannot be read.
    """
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:  # whatever its libraries raise
        said = f"{type(error).__name__}: {error}"
        raise Fault(f"The estimator cannot be loaded ({said}): are these the libraries it was saved with?") from None
