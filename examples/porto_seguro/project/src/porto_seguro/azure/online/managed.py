"""The online endpoint of an environment, for the release machine: what is wanted of it, making it so, what it counted.

What is remembered stands in the endpoint's tags, beside its traffic: one update changes both.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from ... import clock
from ...contract import Contract
from ...errors import Fault, UsageError
from ...serving.endpoint import Deployed, Release, Seen, State, Status, alone
from ...serving.telemetry import SECONDS
from ..az import Az
from ..cloud_registry import CloudRegistry
from ..endpoint_tags import EndpointTags, Kept, pack, unpack
from ..environments import Environment
from .cloud_deployments import CloudDeployments, collects
from .traffic_log import fetch

NO_LOG = "the deployment collects no answers; `response` under data_collector in azureml/online/deployment.yml"
# What the endpoint answered since the stage began, by deployment: counts by the seconds taken are cumulative.
QUERY = """
AmlOnlineEndpointTrafficLog
| where TimeGenerated >= datetime({since}) and EndpointName == '{endpoint}' and AzureMLWorkspaceName == '{workspace}'
| extend code = toint(ResponseCode), ms = todouble(TotalDurationMs)
| summarize requests = count(), errors = countif(code >= 500), refused = countif(code between (400 .. 499)), {buckets}
  by DeploymentName
"""
BUCKETS = ", ".join(f"s{n} = countif(ms <= {1000 * bound:g})" for n, bound in enumerate(SECONDS))


class ManagedEndpoint:
    """A managed (or Kubernetes) online endpoint of Azure ML."""

    def __init__(
        self,
        az: Az,
        environment: Environment,
        registry: CloudRegistry,
        root: Path,
        contract: Contract,
        image: Callable[[], str],
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """Look after the endpoint of an environment.

        Args:
            az: the command line.
            environment: names and sizes.
            registry: knows the versions.
            root: the project's folder.
            contract: of the rows, for the prediction log.
            image: names the Azure ML environment that holds the serving image (`azureml:NAME:VERSION`).
            pause: waits for so many seconds.
        """
        self._az, self._environment, self._root, self._contract = az, environment, root, contract
        self._tags = EndpointTags(az, environment, "online")
        self._kubernetes = bool(environment.online and environment.online.kubernetes)
        self._places = CloudDeployments(az, environment, registry, root, image, pause)

    @contextmanager
    def only_one(self, patient: bool = False) -> Iterator[None]:
        """One command at a time on this machine; across machines, the CI's concurrency group sees to it.

        Raises:
            Fault: another one is at work.
        """
        with alone(self._root / f".azure-{self._environment.name}.lock", patient):
            yield

    def state(self) -> State:
        """What is wanted, by its tags; the traffic as it is, so that a hand's doing shows.

        Raises:
            Fault: something else than these commands deployed what has traffic.
        """
        return self._state(self._tags.show())

    def _state(self, told: dict[str, Any] | None) -> State:
        kept = unpack((told or {}).get("tags") or {})
        shares, mirrors = _shares(told, "traffic"), _shares(told, "mirror_traffic")
        names = kept.deployments if kept else {}
        if foreign := [name for name, share in (shares | mirrors).items() if share and name not in names]:
            raise Fault(
                f"{foreign[0]} gets requests, but was not deployed by these commands, so nobody knows its version. Give "
                f"its traffic back: az ml online-endpoint update --name {self._tags.name} --traffic ..."
            )
        places = {name: Deployed(n, shares.get(name, 0), mirrors.get(name, 0)) for name, n in names.items()}
        release = msgspec.convert(kept.release, Release) if kept and kept.release else None
        return State(places, release, kept.serial if kept else 0)

    def apply(self, state: State) -> None:
        """Deploy what is missing, change traffic, copies and tags in one update, then remove what nobody wants any more.

        Raises:
            UsageError: there is no endpoint yet, or it cannot do that.
            Fault: a deployment does not start; it was removed, and what was before goes on.
        """
        state.check()
        if self._kubernetes and any(place.mirror for place in state.deployments.values()):
            raise UsageError("Endpoints on Kubernetes get no copies: take `mirror` out of rollout.stages.")
        told = self._tags.show()
        if told is None and not self._az.dry:
            raise UsageError(f"There is no endpoint {self._tags.name} yet: azure deploy VERSION")
        before = self._state(told)
        there = self._places.all()
        for name, place in state.deployments.items():
            if not self._places.holds(there.get(name), name, place.version):
                if name in there:
                    self._clear(name, before.deployments.get(name))
                self._places.make(name, place.version)
        self._places.scale(state.deployments)
        self._update(state, before, there.keys() | state.deployments.keys())
        for name in there.keys() - state.deployments.keys():
            self._places.remove(name)

    def _clear(self, name: str, before: Deployed | None) -> None:
        """Remove a deployment that is not what it shall be; it must have no traffic."""
        if before and before.traffic:
            raise Fault(
                f"{name} answers {before.traffic} % of the requests, but does not run version {before.version}."
            )
        if before and before.mirror:
            self._tags.update({}, "--mirror-traffic", f"{name}=0")
        self._places.remove(name)

    def serve_only(self, version: int) -> None:
        """Give all of the traffic to a version; where there is no endpoint yet, make it.

        Raises:
            UsageError: a release is under way.
            Fault: the version does not start; what was before goes on.
        """
        state = self.state()
        if running := state.under_way():
            raise UsageError(f"Version {running.version} is being released; first: azure release abort")
        if self._tags.show() is None:
            self._places.make_endpoint()
        if state.live() is None:
            self._places.log()
        self.apply(state.swap(version))

    def _update(self, state: State, before: State, names: Any) -> None:
        places = state.deployments
        release = msgspec.to_builtins(state.release)
        numbers = {name: place.version for name, place in places.items()}
        tags = pack(Kept(deployments=numbers, release=release, serial=before.serial + 1))
        shares = " ".join(f"{name}={places[name].traffic if name in places else 0}" for name in sorted(names))
        copied = [name for name, place in places.items() if place.mirror]
        stopped = [name for name, place in before.deployments.items() if place.mirror and name not in copied]
        copies = [f"{name}={places[name].mirror}" for name in copied] or [f"{name}=0" for name in stopped]
        more = ["--mirror-traffic", " ".join(copies)] if copies else []
        self._tags.update(tags, "--traffic", shares, *more)

    def status(self) -> Status:
        """What was counted since the stage of the release began, and what does not run; also fills the prediction log.

        Raises:
            Fault: there is no such endpoint, or Azure cannot be reached.
        """
        told = self._tags.show()
        if told is None:
            raise Fault(f"There is no endpoint {self._tags.name} yet: azure deploy VERSION")
        state, there = self._state(told), self._places.all()
        release = state.release
        since = release.since if release else clock.stamp()
        stages = {name: str((there.get(name) or {}).get("provisioning_state")) for name in state.deployments}
        failed = {}
        for name, stage in stages.items():
            if name not in there:
                failed[name] = f"{name} was removed, though not by these commands"
            elif stage in ("Failed", "Canceled"):
                failed[name] = (
                    f"{name} does not start: its provisioning state is {stage}. {self._places.last_lines(name)}".strip()
                )
        itself = str(told.get("provisioning_state"))
        live = state.live()
        logged = live is None or collects(there.get(live) or {})
        if logged and release and state.under_way():
            fetch(self._az, self._environment, self._contract, self._root, datetime.fromisoformat(release.began))
        return Status(
            seen=self._seen(since, list(state.deployments)),
            settled=not {itself, *stages.values()} & {"Creating", "Updating", "Deleting"},
            refused=f"the endpoint {self._tags.name} refused its last change"
            if itself in ("Failed", "Canceled")
            else "",
            failed=failed,
            logged=logged,
            no_log=NO_LOG,
        )

    def _seen(self, since: str, names: list[str]) -> dict[str, Seen]:
        """Counts begin anew with each stage: lines reach Log Analytics minutes late, and belong to the stage they were
        answered in, not to the one in which they arrive."""
        environment = self._environment
        group = ("--resource-group", environment.resource_group)
        logs = self._az.read(
            "monitor", "log-analytics", "workspace", "show", *group, "--workspace-name", environment.log_analytics
        )
        query = QUERY.format(
            since=since, endpoint=self._tags.name, workspace=environment.workspace, buckets=BUCKETS
        ).replace("\n", " ")  # fmt: skip
        words = ("--workspace", str(logs["customerId"]), "--analytics-query", query.strip())
        rows = self._az.read("monitor", "log-analytics", "query", *words) or []
        found = {name: Seen(0, 0, 0, [0] * (len(SECONDS) + 1), since) for name in names}
        for row in rows:
            sums = [int(row[f"s{n}"]) for n in range(len(SECONDS))] + [int(row["requests"])]
            counts = [sums[0]] + [after - before for before, after in pairwise(sums)]
            if row["DeploymentName"] in found:
                requests, errors, refused = (int(row[key]) for key in ("requests", "errors", "refused"))
                found[row["DeploymentName"]] = Seen(requests, errors, refused, counts, since)
        return found

    def shown(self) -> tuple[str | None, list[str]]:
        """Where it answers, and what is not as it shall be."""
        told = self._tags.show()
        if told is None:
            return None, []
        there, state = self._places.all(), self._state(told)
        live = state.live()
        tidy = f": azure promote {state.deployments[live].version} removes it" if live and not state.under_way() else ""
        more, fewer = there.keys() - state.deployments.keys(), state.deployments.keys() - there.keys()
        problems = [f"{name} runs, though nothing asks for it{tidy}" for name in sorted(more)]
        problems += [f"{name} is wanted, but does not exist" for name in sorted(fewer)]
        for name, one in there.items():
            if one.get("provisioning_state") != "Succeeded":
                problems.append(f"{name} is {one.get('provisioning_state')}")
        return told.get("scoring_uri"), problems


def _shares(told: dict[str, Any] | None, key: str) -> dict[str, int]:
    return {name: int(share) for name, share in ((told or {}).get(key) or {}).items()}
