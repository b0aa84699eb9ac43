"""What lasts on disk: data versions, the inbox and the quarantine. A version is never changed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from . import clock
from .config import file_hash
from .contract import Contract
from .errors import DataError, Fault, UsageError
from .ingest import DATA, MANIFEST, SYNTHETIC, Manifest, Screen, ingest
from .parts import Rejected, source_hash
from .table import look

REASONS = "reasons.txt"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a table that was sent: such a one may come twice, and late.

    Attributes:
        checksum: of its bytes (`parts.source_hash`).
        as_of: how old its content is (UTC); empty if nobody said so.
        keep_rows, screen: see `ingest`.
    """

    checksum: str
    as_of: str = ""
    keep_rows: int = 0
    screen: Screen | None = None


class Changing(DataError):
    """A table was changed while it was read; nothing was taken in."""


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
        return sorted(found, key=lambda manifest: (manifest.sequence, manifest.as_of, manifest.created))

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
        """Take in a table that somebody names.

        Returns:
            Its manifest, and whether it is new; content that is known already makes no second version.

        Raises:
            DataError: it breaks the contract or cannot be read; a copy and the reasons are put into the quarantine.
        """
        look(source, may_be_empty=True)
        try:
            return self.take_in(source, contract, append)
        except Changing:
            raise
        except DataError as error:
            kept = self._put_aside(source, error)
            raise DataError(f"{error} The file and the reasons are in {kept}.") from None

    def take_in(
        self, source: Path, contract: Contract, append: bool = False, delivery: Delivery | None = None
    ) -> tuple[Manifest, bool]:
        """Make a version of a file or a folder of parts, which are left where they are; see `add`.

        What was sent is known if any version was made of the same bytes or rows. Somebody who appends a file of a
        version of its own means it: then only what the newest version was made of is known.

        Raises:
            DataError: it breaks the contract or cannot be read, or `delivery.screen` refuses it.
            Changing: it was changed meanwhile.
        """
        before = self.versions()
        base = before[-1] if append and before else None
        checksum = delivery.checksum if delivery else source_hash(source) if base else ""
        about = delivery or Delivery(checksum=checksum)
        candidates = before if delivery else _lineage(before) if base else []
        for known in candidates:
            if known.source_sha256 == checksum:
                return known, False
        with scratch(self._versions) as part:
            late = bool(base and about.as_of and base.as_of > about.as_of)
            path = self.path(base.version) if base else None
            manifest = ingest(source, contract, part / "new", path, late, about.keep_rows, about.screen)
            if checksum and manifest.source_sha256 != checksum:
                raise Changing(f"{source.name} was changed while it was read; nothing was taken in. Try again.")
            for known in before:
                held = known in candidates and manifest.content[:12] == (known.content or known.version)[:12]
                if held or known.version == manifest.version:
                    return known, False
            if manifest.source_sha256 in self._synthetic() and (not base or base.known_as == SYNTHETIC):
                manifest.known_as = SYNTHETIC
            manifest.based_on = base.version if base else ""
            manifest.as_of = max(about.as_of, base.as_of) if base else about.as_of
            # A late table of its own stands before those that are younger, so that it is not taken for the newest.
            younger = [m.sequence for m in before if not base and about.as_of and m.as_of > about.as_of]
            manifest.sequence = min(younger) - 1 if younger else before[-1].sequence + 1 if before else 1
            (part / "new" / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            (part / "new").replace(self._versions / manifest.version)
        return manifest, True

    def note_synthetic(self, path: Path) -> None:
        """Remember the checksum of a file with synthetic rows, so that they are known again when they are taken in."""
        self.folder.mkdir(exist_ok=True)
        self._drawn.write_text("\n".join([*self._synthetic()[-99:], file_hash(path) or ""]), "utf-8")

    def _synthetic(self) -> list[str]:
        return self._drawn.read_text("utf-8").split() if self._drawn.exists() else []

    def _put_aside(self, source: Path, error: DataError) -> Path:
        """Copy a refused file, with the reasons beside it; the copy is whole before it has its name."""
        stamp = clock.now().strftime("%Y%m%d-%H%M%S")
        with scratch(self.quarantine) as part:
            shutil.copy2(source, part / source.name)
            (part / REASONS).write_text(reasons(error), "utf-8")
            n, folder = 1, self.quarantine / f"{stamp}-{source.stem}"
            while folder.exists():
                n, folder = n + 1, self.quarantine / f"{stamp}-{source.stem}-{n}"
            part.replace(folder)
        return folder


def reasons(error: DataError) -> str:
    """Return the text that lies beside a refused file: every reason, a line each."""
    return "\n".join([str(error), *map(str, error.problems if isinstance(error, Rejected) else []), ""])


def _lineage(versions: list[Manifest]) -> list[Manifest]:
    """Return the newest version, and those that it is based on."""
    known, found = {m.version: m for m in versions}, [versions[-1]]
    while found[-1].based_on in known:
        found.append(known[found[-1].based_on])
    return found


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a temporary folder in `folder`: renaming within a file system is atomic. Left-overs are swept away."""
    folder.mkdir(parents=True, exist_ok=True)
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
