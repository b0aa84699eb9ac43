"""Does the endpoint of an environment do what its callers count on? The checks of `check endpoint`, over the internet."""

import time
from collections.abc import Callable

from ... import clock
from ...contract import Contract
from ...delivery.junit import Check
from ...errors import Fault
from ...serving.probe import Endpoint, check_endpoint, rows_for
from ..az import Az
from .managed import ManagedEndpoint

SCORING = "https://ml.azure.com"  # for what a token is asked, to score
PAUSE = 5.0  # seconds between two looks whether it has settled


def smoke(
    az: Az, endpoint: ManagedEndpoint, contract: Contract, latency_ms: float | None, patience: float,
    pause: Callable[[float], None] = time.sleep,
) -> list[Check]:  # fmt: skip
    """Ask for scores of synthetic rows, and send what must be refused; none where commands are only shown.

    Args:
        az: the command line, which gives the token of whoever is logged in.
        endpoint: whose live version must answer.
        contract: what is sent.
        latency_ms: budget of one row with the way there and back; None: it is not measured.
        patience: seconds until it must have settled.
        pause: waits.
    """
    url, problems = endpoint.shown()
    words = ("account", "get-access-token", "--resource", SCORING)
    token = az.read(*words, assume={"accessToken": ""})["accessToken"]
    if az.dry:
        return []
    if url is None:
        return [Check("there is an endpoint", 0.0, "nothing was deployed yet: azure deploy VERSION")]
    state = endpoint.state()
    live = state.live()
    version = str(state.deployments[live].version) if live else ""
    found = [Check("everything is as it was deployed", 0.0, "; ".join(problems))]
    service, start = Endpoint(url, token=token), clock.seconds()
    failure = _settled(service, contract, version, start + patience, pause)
    found.append(Check(f"version {version} answers", round(clock.seconds() - start, 4), failure))
    if failure:
        return found
    try:
        return found + check_endpoint(service, contract, latency_ms, managed=True)
    except Fault as error:
        return [*found, Check("it goes on answering", 0.0, str(error))]


def _settled(
    service: Endpoint, contract: Contract, version: str, end: float, pause: Callable[[float], None]
) -> str:  # fmt: skip
    """Wait until the live version answers, for traffic moves within a minute or so; return what is wrong, or nothing."""
    row = rows_for(contract)[1][0]
    while True:
        try:
            code, told = service.ask("/score", {"data": [row]})
            who = str(told.get("model_version")) if isinstance(told, dict) else ""
            wrong = f"it answers {code}: {str(told)[:300]}" if code != 200 else f"version {who} answers instead"
            if code == 200 and who == version:
                return ""
        except Fault as error:
            wrong = str(error)
        if clock.seconds() >= end:
            return wrong
        pause(PAUSE)
