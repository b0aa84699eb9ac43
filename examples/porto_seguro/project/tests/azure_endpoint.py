"""The online endpoint of Azure ML where releases are tried: the real adapters, over the stand-in for `az`."""

import copy
import functools
import json
import shutil
from pathlib import Path
from typing import Any

from azure_stand_in import NETWORK, Cloud
from conftest import ROOT, made_up
from msgspec import structs
from release_places import Crash, Fake, seen

from porto_seguro import clock
from porto_seguro.azure.az import Az
from porto_seguro.azure.cloud_registry import CloudRegistry
from porto_seguro.azure.endpoint_tags import Kept, pack
from porto_seguro.azure.environments import Environment, Online, load
from porto_seguro.azure.online.managed import ManagedEndpoint
from porto_seguro.contract import Contract
from porto_seguro.infer import infer
from porto_seguro.registry import Version
from porto_seguro.serving.endpoint import Seen, State, Status
from porto_seguro.serving.telemetry import SECONDS

NAME = "shop"


@functools.cache
def dev() -> Environment:
    """The environment dev of this project, with deployments of one instance."""
    found = load(ROOT, "dev")
    return structs.replace(found, online=Online(instance_type="Standard_DS3_v2", instances=1, max_instances=1))


@functools.cache
def shop(folder: Path) -> Contract:
    """A contract, whatever the team predicts."""
    made_up(500, 1).write_csv(folder / "rows.csv")
    return infer(folder / "rows.csv", "bought", NAME).contract


def registered(version: int) -> dict[str, Any]:
    """A model as `az ml model list` shows it."""
    tags = {"run": f"job{version}", "line": "one" if version < 9 else "two", "digest": f"{version:064x}"}
    tags |= {"data_version": "d", "reason": "better"}
    return {"name": NAME, "version": str(version), "type": "custom_model", "tags": tags}


def deployed(version: int) -> dict[str, Any]:
    """A deployment as Azure tells of it."""
    tags = {"model_version": str(version), "digest": f"{version:064x}"}
    collector = {"collections": {"response": {"enabled": "true"}}}
    return {"name": "blue", "tags": tags, "provisioning_state": "Succeeded", "data_collector": collector}


class OnAzure(Fake):
    """As `Fake`, but all of it is done by commands for Azure, and a crash may come before or after each that writes."""

    FIRST = 1  # the deployment is made before
    DOWN, NO_LOG = "cannot be reached", "collects no answers"

    def __init__(
        self, root: Path, crash_at: int = -1, after: bool = False, environment: Environment | None = None
    ) -> None:
        environment = environment or dev()
        root.mkdir(exist_ok=True)
        self.root, self.told, self.states = root, Status(seen={}), []
        self.counts, self._counted = {"blue": seen(0), "green": seen(0)}, dict[str, Seen]()
        shutil.copytree(ROOT / "azureml" / "online", root / "azureml" / "online", dirs_exist_ok=True)
        self.cloud = Cloud(self._die)
        self.cloud.crash_at, self.cloud.after, self.cloud.asked = crash_at, after, self._count
        state, name = self.cloud.state, dev().endpoint
        state["models"] = {str(n): registered(n) for n in (1, 2, 3, 9)}
        state["environments"] = {f"{NAME}-serving:1": {}}
        state["endpoints"][name] = {
            "name": name, "traffic": {"blue": 100}, "mirror_traffic": {}, "provisioning_state": "Succeeded",
            "tags": {"owner": "us", "champions": "1"} | pack(Kept(deployments={"blue": 1})), "scoring_uri": "https://x",
        }  # fmt: skip
        state["deployments"][name] = {"blue": deployed(1)}
        self.az = Az(runner=self.cloud, sleep=lambda seconds: None, tell=lambda text: None)
        self.registry = CloudRegistry(self.az, environment, NAME)
        contract = shop(root if (root / "conf").exists() else root.parent)
        self.endpoint = ManagedEndpoint(
            self.az, environment, self.registry, root, contract, lambda: f"azureml:{NAME}-serving:1", lambda seconds: None,
        )  # fmt: skip

    @staticmethod
    def _die() -> None:
        raise Crash

    @property
    def here(self) -> dict[str, Any]:
        """The endpoint as Azure knows it."""
        found: dict[str, Any] = self.cloud.state["endpoints"][dev().endpoint]
        return found

    @property
    def stored(self) -> State:  # type: ignore[override]
        return self.endpoint.state()

    @property
    def champions(self) -> list[int]:  # type: ignore[override]
        return self.registry.history()

    @property
    def writes(self) -> int:  # type: ignore[override]
        return self.cloud.writes

    @property
    def down(self) -> bool:  # type: ignore[override]
        return any(fault["times"] for fault in self.cloud.state["faults"])

    @down.setter
    def down(self, down: bool) -> None:
        self.cloud.state["faults"] = []
        if down:
            self.cloud.fail("monitor log-analytics query", NETWORK, times=1000)

    def state(self) -> State:
        return self.endpoint.state()

    def apply(self, state: State) -> None:
        self.endpoint.apply(copy.deepcopy(state))
        self.states.append(copy.deepcopy(state))

    def status(self) -> Status:
        return self.endpoint.status()

    def get(self, version: int) -> Version:
        return self.registry.get(version)

    def promote(self, version: int) -> None:
        self.registry.promote(version)

    def champion(self) -> Version:
        found = self.registry.champion()
        assert found
        return found

    def unsettled(self) -> None:
        self.here["provisioning_state"] = "Updating"

    def refuse(self) -> str:
        self.here["provisioning_state"] = "Failed"
        return f"the endpoint {dev().endpoint} refused its last change"

    def fail(self, name: str) -> str:
        self.cloud.state["deployments"][dev().endpoint][name]["provisioning_state"] = "Failed"
        return f"{name} does not start: its provisioning state is Failed."

    def unlogged(self) -> None:
        del self.cloud.state["deployments"][dev().endpoint]["blue"]["data_collector"]

    def by_hand(self, name: str, mirror: int) -> None:
        self.here["mirror_traffic"][name] = mirror

    def clear(self) -> None:
        self.cloud.state["endpoints"].clear()

    def _count(self) -> None:
        """Write the requests since the last look into Azure's log of traffic."""
        lines: list[Any] = self.cloud.state["traffic"]
        for name, now in self.counts.items():
            before = self._counted.get(name, Seen(seconds=[0] * len(now.seconds)))
            if before.counter != now.counter:  # the test begins anew
                lines[:] = [line for line in lines if line[2] != name]
                before = Seen(seconds=[0] * len(now.seconds))
            bad, refused = now.errors - before.errors, now.refused - before.refused
            for bucket, (old, new) in enumerate(zip(before.seconds, now.seconds, strict=True)):
                ms = 1000 * SECONDS[bucket] if bucket < len(SECONDS) else 5000
                left = new - old
                for code, times in ((500, min(bad, left)), (404, min(refused, left)), (200, left)):
                    times = min(times, left)
                    if times > 0:
                        lines.append([clock.stamp(), dev().endpoint, name, code, ms, times])
                        left -= times
                        bad, refused = bad - times * (code == 500), refused - times * (code == 404)
            self._counted[name] = copy.deepcopy(now)


class Collecting(OnAzure):
    """As `OnAzure`; scores come by what the endpoint collects of its answers."""

    def note(self, name: str, version: int, asked: list[tuple[str, list[str], list[float]]]) -> None:
        hour = clock.now().strftime("%Y/%m/%d/%H")
        key = f"modelDataCollector/{dev().endpoint}/{name}/response/{hour}/instance.jsonl"
        lines = [
            json.dumps({
                "specversion": "1.0", "type": "azureml.inference.response", "time": clock.stamp(), "correlationid": request,
                "data": {"result": scores, "ids": ids, "request_id": request, "model_version": str(version), "deployment": name},
            })
            for request, ids, scores in asked
        ]  # fmt: skip
        blobs = self.cloud.state["blobs"]
        blobs[key] = blobs.get(key, "") + "".join(line + "\n" for line in lines)
