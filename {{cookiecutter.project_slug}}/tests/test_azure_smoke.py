"""Delivery to an endpoint on Azure: the first version, and functional tests of what answers there."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
import uvicorn
from azure_endpoint import dev, registered
from azure_stand_in import TOKEN, Cloud
from conftest import ROOT, Command, decoded, new_project
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.azure import az
from {{ cookiecutter.__package }}.config import TOKEN as VARIABLE
from {{ cookiecutter.__package }}.config import Serving
from {{ cookiecutter.__package }}.pipeline import Project
from {{ cookiecutter.__package }}.serving.app import make_app
from {{ cookiecutter.__package }}.serving.service import Deployment

Typed = Callable[..., tuple[int, str]]


class Managed:
    """The real service behind what a managed endpoint does: only /score, and every refusal becomes a 424."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.broken, self.busy, self.asked = app, False, 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        assert scope["path"] == "/score"
        self.asked += 1
        busy = self.asked <= self.busy

        async def through(message: Any) -> None:
            if message["type"] == "http.response.start" and (message["status"] >= 400 or self.broken or busy):
                message["status"] = 424 if not busy else 503
            await send(message)

        await self.app(scope, receive, through)


@pytest.fixture
def answering(lived: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Managed]]:
    """A version 1 that answers; its address, and what stands before it."""
    monkeypatch.setenv(VARIABLE, TOKEN)
    champion, model = Project(lived).model(threads=1)
    served = Managed(make_app(Deployment(model=model, version="1", digest=champion.digest), Serving()))
    monkeypatch.delenv(VARIABLE)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(served, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/score", served
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def cloud() -> Cloud:
    """Azure with two versions and an image, but no endpoint."""
    return Cloud()


@pytest.fixture
def typed(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Typed:
    """Run a command of `azure` as a user types it, over the stand-in."""
    root = new_project(tmp_path / "project")
    for folder in ("azureml", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Dockerfile", root)
    name = Project(root).settings.name
    cloud.state["models"] = {str(n): registered(n) | {"name": name} for n in (1, 2)}
    monkeypatch.setattr(az, "process", cloud)
    assert command(root, "azure", "image")[0] == 0
    return lambda *words: command(root, "azure", *words)


@pytest.mark.parametrize("words", [("promote", 1), ("release", "start", 1)])
def test_where_nothing_is_served_yet_the_first_version_is_served_at_once(
    typed: Typed, cloud: Cloud, words: tuple[Any, ...]
) -> None:
    code, said = typed(*words)
    assert code == 0, said
    assert cloud.state["endpoints"][dev().endpoint]["traffic"] == {"blue": 100}
    assert decoded(typed("models", "--json")[1])["champion"] == 1
    code, said = typed("release", "start", 2, "--wait", 0)
    assert code == 3, "the next one comes in stages"


def test_a_version_that_is_none_is_served_nowhere(typed: Typed, cloud: Cloud) -> None:
    assert typed("release", "start", 7)[0] == 2
    assert not cloud.state["endpoints"]


def smoked(typed: Typed, junit: Path, *words: Any) -> tuple[int, str, dict[str, str]]:
    """Run the checks; return exit code, what was said, and each check with what was wrong."""
    code, said = typed("smoke", "--junit", junit, "--patience", 0, *words)
    cases = list(xml.parse(junit).getroot())
    return code, said, {c.get("name", ""): (c[0].get("message", "") if len(c) else "") for c in cases}


def test_what_answers_as_it_should_passes(
    typed: Typed, cloud: Cloud, answering: tuple[str, Managed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.state["scoring_uri"], served = answering
    assert typed("promote", 1)[0] == 0
    code, said, checks = smoked(typed, tmp_path / "smoke.xml")
    assert (code, [text for text in checks.values() if text]) == (0, []), said
    assert "a missing column is refused" in checks
    assert TOKEN not in said
    monkeypatch.setattr("{{ cookiecutter.__package }}.azure.online.smoke.PAUSE", 0.01)
    served.asked, served.busy = 0, 3  # traffic takes a moment to move
    assert typed("smoke", "--patience", 60)[0] == 0
    code, said = typed("smoke", "--dry-run")
    assert (code, "az account get-access-token --resource https://ml.azure.com" in said) == (0, True)


def test_what_fails_is_rolled_back_if_that_was_asked_for(
    typed: Typed, cloud: Cloud, answering: tuple[str, Managed], tmp_path: Path
) -> None:
    cloud.state["scoring_uri"], served = answering
    for version in (1, 2):
        assert typed("promote", version)[0] == 0
    code, said, checks = smoked(typed, tmp_path / "smoke.xml")  # what answers still is version 1
    assert (code, checks["version 2 answers"]) == (1, "version 1 answers instead"), said
    assert cloud.state["endpoints"][dev().endpoint]["traffic"]["green"] == 100, "it was only told"
    code, said, _ = smoked(typed, tmp_path / "smoke.xml", "--rollback")
    assert (code, "version 1 is the champion again" in said) == (1, True), said
    assert cloud.state["endpoints"][dev().endpoint]["traffic"] == {"blue": 100, "green": 0}
    assert smoked(typed, tmp_path / "smoke.xml")[0] == 0
    served.broken = True
    code, said, checks = smoked(typed, tmp_path / "smoke.xml", "--rollback")
    assert (code, "It was not rolled back: There is no previous champion" in said) == (1, True), said
    assert checks["version 1 answers"].startswith("it answers 424")


def test_where_nothing_was_deployed_or_nobody_is_logged_in_it_is_red(
    typed: Typed, cloud: Cloud, tmp_path: Path
) -> None:
    code, _, checks = smoked(typed, tmp_path / "smoke.xml")
    assert (code, list(checks)) == (1, ["there is an endpoint"])
    cloud.state["scoring_uri"] = "http://127.0.0.1:9/score"
    assert typed("promote", 1)[0] == 0
    code, _, checks = smoked(typed, tmp_path / "smoke.xml")
    assert (code, "does not answer" in checks["version 1 answers"]) == (1, True)
    cloud.fail("account get-access-token", "ERROR: AADSTS700082: The refresh token has expired.")
    assert typed("smoke")[0] == 2
