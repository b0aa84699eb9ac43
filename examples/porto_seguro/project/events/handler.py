"""What an event leads to: a retraining, a word to people, or nothing. No Azure in here but its texts.

Event Grid delivers an event at least once, in any order, and again and again until it is answered. So every event may
come twice, late, or broken, and still leads to at most one retraining. What to train with is the same for every reason:
the newest data version and all that came into the inbox since. So no event is lost that leads to nothing by itself.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

SCOPE = "https://ml.azure.com/.default"
NEWEST = "retraining.json"  # the newest retraining, or that one is being started at this moment
PLAN = "retrain.json"  # what a retraining takes: the `azure` commands write it when data, champion or settings change
ALARM = "azureml_modelmonitor_threshold_breached"  # the tag of a run of Azure ML's own monitor that found something
VIOLATED = "has failed due to one or more features violating metric thresholds"
STARTING = timedelta(minutes=10)  # longer than a function may run: who has not finished by then never will
TIMEOUT = 60.0  # seconds for the call


class Refused(Exception):
    """An event that is not as it should be. Delivered again it would be no better."""


class Again(Exception):
    """Something did not work that may work later: Event Grid is to deliver the event again."""


@dataclass(frozen=True)
class Event:
    """An event of Event Grid, as its schema has it."""

    id: str
    kind: str
    subject: str
    time: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """What an event asks for.

    Attributes:
        do: retrain, notify people (a log entry that an alert looks for), or ignore it.
        why: the reason, a sentence.
        key: of a retraining, the same for all events that tell the same.
    """

    do: Literal["retrain", "notify", "ignore"]
    why: str
    key: str = ""


class Did(NamedTuple):
    """What was done, in words, and whether people should know."""

    text: str
    tell: bool = False


class Conflict(Exception):
    """A blob is not as it was read."""


class Blobs(Protocol):
    """A container of blobs in which a write happens only if the blob is still as it was read."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return content and etag; None if there is no such blob."""

    def write(self, name: str, content: bytes, etag: str | None) -> str:
        """Write where the etag is still the same (None: where there is no blob); return the new one, or raise Conflict."""


def wish(event: Event) -> Wish:
    """Say what an event asks for.

    Raises:
        Refused: it lacks what an event of its kind has.
    """
    kind = event.kind.rpartition(".")[2]
    if kind == "RunStatusChanged":
        return _of_run(event)
    if kind == "ModelRegistered":
        name, version = _text(event, "modelName"), _text(event, "modelVersion")
        return Wish("notify", f"Version {version} of the model {name} was registered. Next: release it.")
    if kind == "BlobCreated":
        return _of_blob(event)
    return Wish("ignore", f"{event.kind} is none of ours.")


def _of_run(event: Event) -> Wish:
    run, status = _text(event, "runId"), _text(event, "runStatus")
    tags = _value(event, "runTags") or {}
    if not isinstance(tags, Mapping):
        raise Refused(f"The tags of the run {run} are no object.")
    if VIOLATED in str(tags.get(ALARM, "")):
        return Wish("retrain", f"The monitor found drift (run {run}).", f"run/{run}")
    if status != "Failed":
        return Wish("ignore", f"The run {run} is {status}.")
    if tags.get("purpose") == "monitor" and tags.get("alarm"):
        return Wish("retrain", f"The monitor gave an alarm: {tags['alarm']} (run {run}).", f"run/{run}")
    purpose = tags.get("purpose", "no purpose given")
    return Wish("notify", f"The run {run} ({purpose}) failed. Look at it: az ml job show --name {run}")


def _of_blob(event: Event) -> Wish:
    url, container = _text(event, "url"), event.subject.partition("/containers/")[2].partition("/")[0]
    _, found, path = event.subject.partition("/blobs/")
    if not (found and container and unquote(url).endswith(f"/{container}/{path}")):
        raise Refused(f"The subject {event.subject!r} does not name the blob {url!r}.")
    folder, _, name = path.rpartition("/")
    if container != "inbox" or {"archive", "quarantine"} & set(folder.split("/")):
        return Wish("ignore", f"{container}/{path} does not lie in the inbox.")
    if not (name == "_SUCCESS" and folder) and not (name.endswith(".json") and name != ".json"):
        return Wish("ignore", f"{container}/{path} does not say that a table is complete.")
    table = path.removesuffix("/_SUCCESS").removesuffix(".json")
    return Wish("retrain", f"New data arrived: {table}.", f"blob/{url}/{_text(event, 'eTag')}")


def _value(event: Event, name: str) -> Any:
    """A value of the data. Its names are written with a small or a large letter, depending on the service's age."""
    return {key.lower(): value for key, value in event.data.items()}.get(name.lower())


def _text(event: Event, name: str) -> str:
    value = _value(event, name)
    if not isinstance(value, str) or not value:
        raise Refused(f"The event {event.id} ({event.kind}) has no {name}.")
    return value


@dataclass
class Handler:
    """Takes events.

    Attributes:
        blobs: the memory: the plan, the newest retraining, and a note of each event that was dealt with.
        token: returns an access token for Azure ML.
        url: of the batch endpoint that holds the training pipeline (`.../jobs`).
        now: the moment, in UTC.
    """

    blobs: Blobs
    token: Callable[[], str]
    url: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def take(self, event: Event) -> Did:
        """Do what an event asks for, and say what was done.

        Raises:
            Refused: the event is broken; to deliver it again helps nobody.
            Again: to deliver it again may help.
        """
        wanted = wish(event)
        if wanted.do != "retrain":
            return Did(wanted.why, wanted.do == "notify")
        seen = "events/" + hashlib.sha256(wanted.key.encode()).hexdigest()
        if self.blobs.read(seen):
            return Did(f"Known already. {wanted.why}")
        did = self._retrain(event, wanted)
        with suppress(Conflict):  # a second delivery was faster
            self.blobs.write(seen, json.dumps({"at": self.now().isoformat(), "did": did.text}).encode(), None)
        return did

    def _retrain(self, event: Event, wanted: Wish) -> Did:
        """Start a retraining, unless one was started since, or not long ago.

        Of many calls at the same time, one starts it: it says so in `retraining.json` before it calls the endpoint, and
        only one can write that. Whoever is cut off in between is disregarded after ten minutes; had the call been made
        by then, a second job starts.
        """
        plan = self._read(PLAN)[0]
        if not plan:
            raise Again(f"Nothing says what to train with: there is no {PLAN} yet. First: azure plan")
        newest, etag = self._read(NEWEST)
        if newest.get("starting") and self.now() < datetime.fromisoformat(newest["starting"]) + STARTING:
            raise Again("A retraining is being started at this moment.")
        if newest.get("job"):
            began = datetime.fromisoformat(newest["at"])
            if event.time <= began:
                return Did(f"{newest['job']} began later, and is the answer. {wanted.why}")
            if self.now() < (free := began + timedelta(days=plan["cool_down_days"])):
                until = free.isoformat(sep=" ", timespec="minutes")
                return Did(f"No retraining before {until}, to cool down. {wanted.why}")
        now = self.now().isoformat()
        etag = self._write(newest | {"starting": now}, etag)
        try:
            job = self._call(plan["inputs"], wanted.key)
        except Exception:  # no token, for example
            self._write(newest, etag)
            raise
        self._write({"at": now, "job": job, "why": wanted.why}, etag)
        return Did(f"Retraining started: {job}. {wanted.why}", tell=True)

    def _read(self, name: str) -> tuple[dict[str, Any], str | None]:
        found = self.blobs.read(name)
        return (json.loads(found[0]), found[1]) if found else ({}, None)

    def _write(self, newest: Mapping[str, Any], etag: str | None) -> str:
        try:
            return self.blobs.write(NEWEST, json.dumps(newest).encode(), etag)
        except Conflict:
            raise Again("Another event was taken at the same moment.") from None

    def _call(self, inputs: Mapping[str, Any], key: str) -> str:
        """Call the endpoint, and return the name of the job that it starts."""
        body = json.dumps({"properties": {"InputData": inputs}}).encode()
        headers = {
            "Authorization": f"Bearer {self.token()}",
            "Content-Type": "application/json",
            # The same for the same event, so that the service can tell a repetition.
            "repeatability-request-id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        }
        try:
            with urlopen(Request(self.url, body, headers), timeout=TIMEOUT) as answer:
                return str(json.load(answer)["name"])
        except HTTPError as error:
            raise Again(f"The endpoint answered {error.code}: {error.read()[:300].decode(errors='replace')}") from None
        except (OSError, ValueError, KeyError) as error:
            raise Again(f"The endpoint does not answer as it should: {type(error).__name__}: {error}") from None
