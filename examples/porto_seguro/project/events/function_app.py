"""The functions to which infra/events.json sends events; what they do stands in handler.py.

A function that returns has taken its event; one that raises gets it again, later and later, for a day at most. Then it
goes to the container `dead-letters`, and an alert tells.
"""

import logging
import os
from datetime import UTC
from functools import cache

import azure.functions as func
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient
from handler import SCOPE, Conflict, Event, Handler, Refused

CONTAINER = "functions"
app = func.FunctionApp()


class Container:
    """The container of the functions, as handler.Blobs wants it."""

    def __init__(self, client: ContainerClient) -> None:
        """Use a container, which exists."""
        self._client = client

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return content and etag; None if there is no such blob."""
        try:
            found = self._client.download_blob(name)
            return found.readall(), found.properties.etag
        except ResourceNotFoundError:
            return None

    def write(self, name: str, content: bytes, etag: str | None) -> str:
        """Write where the etag is still the same, or (None) where there is no blob."""
        blob = self._client.get_blob_client(name)
        try:
            if etag is None:
                return str(blob.upload_blob(content, overwrite=False)["etag"])
            kept = MatchConditions.IfNotModified
            return str(blob.upload_blob(content, overwrite=True, etag=etag, match_condition=kept)["etag"])
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
            raise Conflict(name) from None


@cache
def handler() -> Handler:
    """Put the handler together from the settings of the function app."""
    identity = DefaultAzureCredential()
    if local := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):  # the emulator, on a developer's machine
        client = ContainerClient.from_connection_string(local, CONTAINER)
    else:
        client = ContainerClient(f"https://{os.environ['STORAGE_ACCOUNT']}.blob.core.windows.net", CONTAINER, identity)
    return Handler(Container(client), lambda: identity.get_token(SCOPE).token, os.environ["BATCH_ENDPOINT"])


def take(event: func.EventGridEvent) -> None:
    """Take an event. Of what people should know, a warning is logged, which an alert of infra/alerts.json finds.

    One that is broken is told and done with, for it would come broken again.
    """
    try:
        data, time = event.get_json(), event.event_time
        if not isinstance(data, dict) or time is None:
            raise Refused(f"The event {event.id} ({event.event_type}) has no data or no time.")
        moment = time if time.tzinfo else time.replace(tzinfo=UTC)
        did = handler().take(Event(event.id, event.event_type, event.subject, moment, data))
        logging.log(logging.WARNING if did.tell else logging.INFO, "%s", did.text)
    except Refused as error:
        logging.error("Refused: %s", error)


@app.event_grid_trigger("event")
def drift(event: func.EventGridEvent) -> None:
    """Azure ML's own monitor found drift."""
    take(event)


@app.event_grid_trigger("event")
def run_failed(event: func.EventGridEvent) -> None:
    """A job failed; an alarm of our own monitor is a failed job, too."""
    take(event)


@app.event_grid_trigger("event")
def model_registered(event: func.EventGridEvent) -> None:
    """There is a new version."""
    take(event)


@app.event_grid_trigger("event")
def file_arrived(event: func.EventGridEvent) -> None:
    """A table in the inbox is complete."""
    take(event)
