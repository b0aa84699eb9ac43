"""The inbox: what is dropped there becomes a data version, once, or goes to the quarantine with the reasons."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from .. import clock, config
from ..contract import Contract
from ..errors import DataError, Fault, ProjectError
from ..ingest import Screen
from ..parts import source_hash
from ..store import REASONS, Changing, Delivery, Store, reasons
from .place import Drop, Place


class Taken(Struct, omit_defaults=True):
    """What became of one drop: the version that holds its rows, whether that is new; or the reason of a refusal."""

    file: str
    version: str | None
    rows: int
    new: bool
    reason: str = ""


class Inbox:
    """A folder, here or remote, into which others put tables.

    A drop is a CSV or Parquet file, or a folder of parts with `_SUCCESS` in it. Beside it may lie `NAME.json` with the
    `sha256` of its bytes and `as_of`. What begins with a dot or `_` is none. The version is made before the drop is moved
    away, so whatever is cut off is done again, and a drop that comes again, for whatever reason, is known.
    """

    def __init__(self, store: Store, conf: config.Inbox) -> None:
        """Look after the inbox that the settings name.

        Raises:
            UsageError: it cannot be opened.
        """
        self.store, self.conf = store, conf
        self.place = Place(conf.url, store.folder.parent)
        self._sums: dict[str, tuple[dict[str, str], str]] = {}  # name -> its signs and checksum when it was last read

    def waiting(self) -> list[str]:
        """Return the names of the drops that are whole, in the order in which they are taken.

        One that is too large to be read is believed.

        Raises:
            Fault: the inbox does not answer.
        """
        return [drop.name for drop in self._drops() if self._whole(drop)]

    def unfinished(self) -> list[str]:
        """Return the names of the drops that are not whole: young, without `_SUCCESS` or marker, or unlike it."""
        return [drop.name for drop in self._drops() if not self._whole(drop)]

    def lying(self) -> int:
        """Return how many drops lie there, whole or not; none of them is read."""
        return len(self._drops())

    def take(
        self, contract: Contract, *, append: bool | None = None, now: bool = False, screen: Screen | None = None
    ) -> Iterator[Taken]:
        """Take in the drops that are whole, one after the other; what is not stays. Hold `store.only_one` meanwhile.

        Args:
            contract: what a table must look like.
            append: whether rows are added to the newest version; None: as the settings say.
            now: do not wait until a file has settled.
            screen: gets the clean rows of each drop; a sentence that it returns sends the drop to the quarantine.

        Raises:
            Fault: the inbox, or this machine's disk, does not do its work. What was not taken waits there.
        """
        for drop in self._drops(finish=True):
            with suppress(FileNotFoundError):  # somebody took it away
                adding = self.conf.append if append is None else append
                if self._settled(drop, now) and (taken := self._take(drop, contract, adding, screen)):
                    yield taken

    def _drops(self, finish: bool = False) -> list[Drop]:
        """Return the drops in order; with `finish`, those whose move was cut off leave first."""
        drops = self.place.drops()
        if finish and (left := [drop for drop in drops if drop.leaving]):
            for drop in left:
                self.place.leave(drop)
            drops = self.place.drops()
        return sorted((d for d in drops if not d.leaving), key=lambda drop: (_order(drop), drop.name))

    def _settled(self, drop: Drop, now: bool = False) -> bool:
        if drop.folder or drop.marker:
            return drop.complete
        if self.conf.ready == "marker":
            return False
        age = (clock.now() - drop.modified).total_seconds()
        return now or not self.conf.settle_seconds or age >= self.conf.settle_seconds

    def _whole(self, drop: Drop) -> bool:
        if not self._settled(drop) or not drop.marker or self._too_large(drop):
            return self._settled(drop)
        try:
            signs = self.place.signs(drop)
            if drop.name not in self._sums or self._sums[drop.name][0] != signs:
                self._sums[drop.name] = signs, self.place.checksum(drop)
        except FileNotFoundError:
            return False
        return drop.marker.sha256.lower() == self._sums[drop.name][1]

    def _too_large(self, drop: Drop) -> bool:
        return drop.size > self.conf.max_mb * 1e6

    def _take(self, drop: Drop, contract: Contract, append: bool, screen: Screen | None) -> Taken | None:
        """Take in one drop; None if it turns out not to be whole."""
        signs, checksum = self.place.signs(drop), ""
        seen = self._sums.get(drop.name, ({}, ""))
        if drop.marker and seen[0] == signs and seen[1] != drop.marker.sha256.lower():
            return None  # a large one is not fetched again and again
        try:
            if self._too_large(drop):
                raise DataError(
                    f"{drop.name} has {drop.size / 1e6:.4g} MB, and inbox.max_mb in conf/project.yaml allows "
                    f"{self.conf.max_mb:.4g}. Raise it, and put the table back into the inbox."
                )
            with self.place.here(drop, self.store.folder) as path, _telling(drop, path):
                checksum = source_hash(path)
                self._sums[drop.name] = signs, checksum
                if drop.marker and checksum != drop.marker.sha256.lower():
                    return None
                delivery = Delivery(checksum=checksum, as_of=_as_of(drop), keep_rows=self.conf.keep_rows, screen=screen)
                manifest, new = self.store.take_in(path, contract, append, delivery)
        except Changing:
            return None
        except DataError as error:
            return self._refuse(drop, signs, checksum, error)
        # The name is the same whenever this is done again, and another file's if its rows were known already.
        own = "" if manifest.source_sha256 == checksum else f"{checksum[:8]}-"
        self.place.move(drop, signs, f"archive/{manifest.version}-{own}{drop.name}")
        self._sums.pop(drop.name)
        return Taken(drop.name, manifest.version, manifest.rows, new)

    def _refuse(self, drop: Drop, signs: dict[str, str], checksum: str, error: DataError) -> Taken:
        # The same folder whenever this is done again, and for no other content.
        folder = f"{drop.modified:%Y%m%d-%H%M%S}-{checksum[:8] or drop.size}-{Path(drop.name).stem}"
        self.place.write(f"quarantine/{folder}/{REASONS}", reasons(error))
        self.place.move(drop, signs, f"quarantine/{folder}/{drop.name}")
        return Taken(drop.name, None, 0, False, f"{error} The file and the reasons are in {self.place.aside}/{folder}.")


def _moment(drop: Drop) -> datetime | None:
    """When the content of a drop was true, if its marker says so."""
    if not drop.marker or not drop.marker.as_of:
        return None
    moment = datetime.fromisoformat(drop.marker.as_of)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _order(drop: Drop) -> datetime:
    with suppress(ValueError):
        return _moment(drop) or drop.modified
    return drop.modified


def _as_of(drop: Drop) -> str:
    """The same as text, to the second; texts are ordered as the moments are."""
    try:
        moment = _moment(drop)
    except ValueError:
        raise DataError(f"{drop.name}.json: as_of is no ISO date or time: {_said(drop)!r}.") from None
    if moment and moment > clock.now() + timedelta(days=1):
        raise DataError(
            f"{drop.name}.json: as_of lies in the future: {_said(drop)}. All that came after would be late."
        )
    return moment.isoformat(timespec="seconds") if moment else ""


def _said(drop: Drop) -> str:
    return drop.marker.as_of[:40] if drop.marker else ""


@contextmanager
def _telling(drop: Drop, path: Path) -> Iterator[None]:
    """Speak of a drop by its name; and let one that nobody foresaw be refused, lest it stop all that come after it."""
    try:
        yield
    except DataError as error:
        error.args = (str(error).replace(str(path), drop.name),)
        raise
    except (ProjectError, FileNotFoundError):
        raise
    except OSError as error:
        raise Fault(
            f"{drop.name} could not be taken in: {error.strerror or error}. It is still in the inbox."
        ) from None
    except Exception as error:
        text = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])[:200]
        raise DataError(f"{drop.name} cannot be taken in: {text}.") from None
