"""Where drops lie: a folder of this machine, or one that fsspec reaches; what is in it, and how it goes away again."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import msgspec
from fsspec.implementations.local import LocalFileSystem
from msgspec import Struct

from ..errors import Fault, ProjectError, UsageError
from ..parts import BLOCK, HIDDEN
from ..store import scratch

SUCCESS, LEAVING = "_SUCCESS", "_LEAVING"
MARKER_BYTES = 1 << 16
# What tells, in the words of one file system or another, whether a file is still the same.
SIGNS = ("size", "etag", "ETag", "generation", "last_modified", "LastModified", "updated", "mtime", "created", "ino")


class Marker(Struct):
    """What a sender says about a drop: the SHA-256 of its bytes, and how old its content is (an ISO date or time)."""

    sha256: str
    as_of: str = ""


class Drop(Struct):
    """A file, or a folder of parts.

    Attributes:
        files: all paths that go with it; those with rows first, the marker last.
        rows: how many of them may hold rows, in the order of their names.
        size: bytes of them all.
        complete: of a folder, whether `_SUCCESS` is in it.
        leaving: of a folder, whether it was copied away already, and is only to be deleted.
        marker: what `NAME.json` beside it says; without a checksum, if that cannot be read.
    """

    name: str
    path: str
    files: list[str]
    rows: int
    size: int
    modified: datetime
    folder: bool = False
    complete: bool = True
    leaving: bool = False
    marker: Marker | None = None


class Place:
    """A folder with drops in it. What leaves it goes below `area`: the data folder, or the remote folder itself."""

    def __init__(self, url: str, root: Path) -> None:
        """Find out what `url` means; a path is one from the folder `root`.

        Raises:
            UsageError: nothing reaches such a place yet.
        """
        self.shown = re.sub(r"//[^/@]*:[^/@]*@", "//", url.partition("?")[0]).rstrip("/")
        try:
            self.fs, self.path = fsspec.core.url_to_fs(url if "://" in url else str((root / url).absolute()))
        except ImportError as error:
            wanted = "pip install -r requirements/blob.txt" if "adlfs" in str(error) else str(error)
            raise UsageError(f"The inbox {self.shown} needs a package that is not installed: {wanted}") from None
        except Exception as error:  # of each file system its own kind; its text may hold what is secret
            raise UsageError(
                f"The inbox {self.shown} cannot be opened ({type(error).__name__}). Look at inbox.url in "
                "conf/project.yaml, and at the account in the environment (AZURE_STORAGE_CONNECTION_STRING for abfs)."
            ) from None
        self.local: Path | None = None
        self.area, self.aside = self.path, f"{self.shown}/quarantine"
        if isinstance(self.fs, LocalFileSystem):
            self.local = Path(self.path) if "://" in url else root / url
            self.area, self.shown = (root / "data").absolute().as_posix(), str(self.local)
            self.aside = str(root / "data" / "quarantine")

    def drops(self) -> list[Drop]:
        """Return what lies there, whole or not.

        Raises:
            Fault: the place does not answer.
        """
        with self._reached():
            self.fs.invalidate_cache()
            found = {
                name: entry
                for entry in self._entries()
                if not (name := PurePosixPath(entry["name"]).name).startswith(HIDDEN)
                and not (self.local is None and name in ("archive", "quarantine"))
            }
            markers = {
                n for n in found if n.endswith(".json") and (n[:-5] in found or self._marker(found[n]["name"]).sha256)
            }
            drops = []
            for name in found.keys() - markers:
                with suppress(FileNotFoundError):  # it has gone meanwhile
                    drops.append(self._drop(name, found[name], found.get(f"{name}.json")))
            return [drop for drop in drops if drop]

    def _entries(self) -> list[dict[str, Any]]:
        try:
            return list(self.fs.ls(self.path, detail=True))
        except FileNotFoundError:
            first = "/".join(self.path.split("/")[: 1 + self.path.startswith("/")])
            if self.local is None and not self.fs.exists(first):
                raise Fault(f"The inbox {self.shown} is not there: make {first} first.") from None
            return []

    def _drop(self, name: str, entry: dict[str, Any], marker: dict[str, Any] | None) -> Drop | None:
        path = str(entry["name"])
        folder = entry["type"] == "directory"
        inside = self.fs.find(path, detail=True) if folder else {path: entry}
        if not inside:
            return None
        rows = sorted(p for p in inside if not folder or not p[len(path) + 1 :].startswith(HIDDEN))
        drop = Drop(
            name, path, [*rows, *sorted(inside.keys() - {*rows})], len(rows), sum(e["size"] or 0 for e in inside.values()),
            max(map(self._modified, inside)), folder, not folder or f"{path}/{SUCCESS}" in inside,
            f"{path}/{LEAVING}" in inside,
        )  # fmt: skip
        if marker:
            drop.files.append(str(marker["name"]))
            drop.marker = self._marker(drop.files[-1])
        return drop

    def _modified(self, path: str) -> datetime:
        when: datetime = self.fs.modified(path)
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def _marker(self, path: str) -> Marker:
        try:
            return msgspec.json.decode(self.fs.cat_file(path, end=MARKER_BYTES), type=Marker)
        except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            return Marker("")

    def signs(self, drop: Drop) -> dict[str, str]:
        """Return for each file of a drop what changes when the file does; FileNotFoundError: it is not the same drop."""
        with self._reached():
            self.fs.invalidate_cache()
            if drop.folder and {*self.fs.find(drop.path)} ^ {*drop.files} - {f"{drop.path}.json"}:
                raise FileNotFoundError(drop.path)
            return {path: self._sign(path) for path in drop.files}

    def _sign(self, path: str) -> str:
        about = self.fs.info(path)
        return repr([about.get(sign) for sign in SIGNS])

    def checksum(self, drop: Drop) -> str:
        """Return the SHA-256 of the bytes of a drop; of a folder, of its parts in the order of their names."""
        total = hashlib.sha256()
        with self._reached():
            for path in drop.files[: drop.rows]:
                with self.fs.open(path, "rb") as file:
                    while block := file.read(BLOCK):
                        total.update(block)
        return total.hexdigest()

    @contextmanager
    def here(self, drop: Drop, folder: Path) -> Iterator[Path]:
        """Give the path of a drop on this machine; what is remote is fetched into a temporary folder in `folder`."""
        if self.local is not None:
            yield self.local / drop.name
            return
        with scratch(folder) as part:
            with self._reached():
                for path in drop.files if drop.folder else drop.files[:1]:
                    target = part / (drop.name + path.removeprefix(drop.path))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self.fs.get_file(path, str(target))
            yield part / drop.name

    def write(self, name: str, text: str) -> None:
        """Write a text below `area`."""
        with self._reached():
            self.fs.makedirs(f"{self.area}/{name}".rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(f"{self.area}/{name}", text.encode())

    def move(self, drop: Drop, signs: dict[str, str], to: str) -> None:
        """Move a drop, and its marker, to the name `to` below `area`; what has changed since `signs` stays.

        A move that is cut off at any moment may be done again, to the same name.
        """
        target = f"{self.area}/{to}"
        with self._reached(), suppress(FileNotFoundError):  # somebody took it away
            if self.signs(drop) != signs:
                return
            self._move(drop.path, target, drop.files[: len(drop.files) - bool(drop.marker)], signs, drop.folder)
            if drop.marker:
                self._move(drop.files[-1], f"{target}.json", drop.files[-1:], signs)

    def _move(self, path: str, target: str, files: list[str], signs: dict[str, str], folder: bool = False) -> None:
        self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self.local is not None:
            with suppress(OSError):  # another file system, or a folder that is there already: it must be copied
                Path(path).replace(target)
                return
        for file in files:
            to = target + file.removeprefix(path)
            self.fs.makedirs(to.rpartition("/")[0], exist_ok=True)
            with self.fs.open(file, "rb") as source, self.fs.open(to, "wb") as copy:
                shutil.copyfileobj(source, copy, BLOCK)
        if folder:  # with some of its parts it would still look whole
            self.fs.pipe_file(f"{path}/{LEAVING}", msgspec.json.encode({file: signs[file] for file in files}))
            self._leave(path)
        else:
            self._delete({file: signs[file] for file in files})

    def leave(self, drop: Drop) -> None:
        """Finish the move of a folder that was copied, but not all deleted."""
        with self._reached(), suppress(FileNotFoundError):
            self._leave(drop.path)

    def _leave(self, folder: str) -> None:
        with suppress(msgspec.DecodeError):  # not written whole: nothing was deleted yet
            self._delete(msgspec.json.decode(self.fs.cat_file(f"{folder}/{LEAVING}"), type=dict[str, str]))
        self.fs.rm_file(f"{folder}/{LEAVING}")
        self.fs.invalidate_cache()
        with suppress(OSError):  # somebody put another file there; or it is gone with its last file
            self.fs.rmdir(folder)

    def _delete(self, signs: dict[str, str]) -> None:
        self.fs.invalidate_cache()
        for path, sign in signs.items():
            with suppress(FileNotFoundError):
                if self._sign(path) == sign:
                    self.fs.rm_file(path)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Say in a sentence, and without what may be secret, that a place does not answer."""
        try:
            yield
        except (ProjectError, FileNotFoundError):
            raise
        except Exception as error:  # of each file system its own kind
            code = getattr(error, "error_code", None) or getattr(error, "strerror", None)
            what = f"{type(error).__name__}: {getattr(code, 'value', code)}" if code else type(error).__name__
            says = "cannot be used" if self.local else "does not answer as it should"
            advice = "" if self.local else " Look at its account in the environment, and at the network."
            raise Fault(f"The inbox {self.shown} {says} ({what}).{advice} No drop was lost.") from None
