"""What lasts on disk: data versions, the inbox and the quarantine. A version is never changed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from . import clock
from .clean import Problem
from .config import file_hash
from .contract import Contract
from .errors import DataError, Fault, UsageError
from .ingest import DATA, MANIFEST, SYNTHETIC, Manifest, Rejected, ingest
from .table import look


class Store:
    """The data folder of a project."""

    def __init__(self, root: Path) -> None:
        """Look after `root/data`; nothing is made before it is needed."""
        self.folder = root / "data"
        self.inbox, self.archive, self.quarantine = (self.folder / name for name in ("inbox", "archive", "quarantine"))
        self._versions, self._drawn = self.folder / "versions", self.folder / ".synthetic"

    def versions(self) -> list[Manifest]:
        """Return the manifests of all versions, oldest first."""
        found = [
            msgspec.json.decode(path.read_bytes(), type=Manifest) for path in self._versions.glob(f"[!.]*/{MANIFEST}")
        ]
        return sorted(found, key=lambda manifest: (manifest.sequence, manifest.created))

    def path(self, version: str) -> Path:
        """Return the Parquet file of a version.

        Raises:
            UsageError: there is no such version.
        """
        path = self._versions / version / DATA
        if not path.is_file():
            known = ", ".join(m.version for m in self.versions()) or "none yet"
            raise UsageError(
                f"There is no data version (and no file) {version}; known: {known}. Take in a file first: ingest FILE"
            )
        return path

    def manifest(self, version: str) -> Manifest:
        """Return what is known of a version."""
        return msgspec.json.decode(self.path(version).with_name(MANIFEST).read_bytes(), type=Manifest)

    def latest(self) -> Manifest:
        """Return the newest version.

        Raises:
            UsageError: there is none.
        """
        versions = self.versions()
        if not versions:
            raise UsageError(
                "There is no data version yet. Take in what waits in data/inbox: ingest. Or name a file: run --data FILE"
            )
        return versions[-1]

    def add(self, source: Path, contract: Contract, append: bool = False) -> tuple[Manifest, bool]:
        """Take in a table.

        Returns:
            Its manifest, and whether it is new; content that is known already makes no second version.

        Raises:
            DataError: it breaks the contract or cannot be read; a copy and the reasons are put into the quarantine.
        """
        before = self.versions()
        base = self.path(before[-1].version) if append and before else None
        look(source, may_be_empty=True)
        self._versions.mkdir(parents=True, exist_ok=True)
        with _scratch(self._versions) as scratch:
            try:
                manifest = ingest(source, contract, scratch / "new", base)
            except DataError as error:
                raise DataError(f"{error} The file and the reasons are in {self._put_aside(source, error)}.") from None
            for known in before:
                if known.version == manifest.version:
                    return known, False
            if manifest.source_sha256 in self._synthetic() and (not base or before[-1].known_as == SYNTHETIC):
                manifest.known_as = SYNTHETIC
            manifest.sequence = before[-1].sequence + 1 if before else 1
            manifest.based_on = before[-1].version if base else ""
            (scratch / "new" / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            (scratch / "new").replace(self._versions / manifest.version)
        return manifest, True

    def note_synthetic(self, path: Path) -> None:
        """Remember the checksum of a file with synthetic rows, so that they are known again when they are taken in."""
        self.folder.mkdir(exist_ok=True)
        self._drawn.write_text("\n".join([*self._synthetic()[-99:], file_hash(path) or ""]), "utf-8")

    def _synthetic(self) -> list[str]:
        return self._drawn.read_text("utf-8").split() if self._drawn.exists() else []

    def take_inbox(self, contract: Contract, append: bool = False) -> Iterator[tuple[Path, Manifest | None, bool, str]]:
        """Take in the files of the inbox by name, one after the other.

        Yields:
            The file, its manifest (None if refused), whether it is new, and the reason of a refusal. A file that was
            taken in moves to the archive, a refused one to the quarantine.
        """
        for path in sorted(p for p in self.inbox.glob("[!.]*") if p.is_file()):
            try:
                manifest, new = self.add(path, contract, append)
            except DataError as error:
                path.unlink()  # `add` has put a copy into the quarantine
                yield path, None, False, str(error)
            else:
                self.archive.mkdir(exist_ok=True)
                path.replace(self.archive / f"{manifest.version}-{path.name}")
                yield path, manifest, new, ""

    def _put_aside(self, source: Path, error: DataError) -> Path:
        """Copy a refused file, with the reasons beside it; the copy is whole before it has its name."""
        stamp = clock.now().strftime("%Y%m%d-%H%M%S")
        self.quarantine.mkdir(parents=True, exist_ok=True)
        with _scratch(self.quarantine) as scratch:
            shutil.copy2(source, scratch / source.name)
            problems: list[Problem] = error.problems if isinstance(error, Rejected) else []
            (scratch / "reasons.txt").write_text("\n".join([str(error), *map(str, problems), ""]), "utf-8")
            n, folder = 1, self.quarantine / f"{stamp}-{source.stem}"
            while folder.exists():
                n, folder = n + 1, self.quarantine / f"{stamp}-{source.stem}-{n}"
            kept = scratch.with_name(folder.name)
            scratch.replace(kept)
        return kept


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the final one: renaming within a file system is atomic. Left-overs are swept away."""
    for old in folder.glob(".part-*"):
        shutil.rmtree(old, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the project's lock: one command at a time changes data, models or the champion. It ends with the process.

    Raises:
        Fault: another command holds it.
    """
    try:
        lock = filelock.FileLock(root / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise Fault(
            "Another command is changing this project right now; nothing was done. Try again when it has finished."
        ) from None
    except OSError as error:
        raise Fault(f"{root} cannot be written: {error.strerror or error}.") from None
    try:
        yield
    finally:
        lock.release()
