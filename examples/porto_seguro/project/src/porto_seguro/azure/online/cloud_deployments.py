"""Deployments of an online endpoint of Azure ML: making them, waiting for them, removing them."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ... import clock
from ...errors import Fault, UsageError
from ..az import Az, NotFound
from ..cloud_registry import CloudRegistry
from ..environments import Environment, Online
from ..fill import filled

WAIT = 15.0  # seconds between two looks at something that is being made
PATIENCE = 3600.0  # seconds for that
LINES = 15  # of a deployment's log that are shown where it does not start


class CloudDeployments:
    """The deployments of an environment's online endpoint."""

    def __init__(
        self,
        az: Az,
        environment: Environment,
        registry: CloudRegistry,
        root: Path,
        image: Callable[[], str],
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """Arguments as of `ManagedEndpoint`."""
        if environment.online is None:
            raise UsageError(f"The environment {environment.name} has no section `online`.")
        self._az, self._environment, self._registry = az, environment, registry
        self._online: Online = environment.online
        self._image, self._pause = image, pause or time.sleep
        self._root = root
        self._files = root / "azureml" / ("kubernetes" if self._online.kubernetes else "online")
        self._out = environment.sent(root)
        self._words = ("--endpoint-name", environment.endpoint, *environment.scope)

    def all(self) -> dict[str, dict[str, Any]]:
        """What Azure tells of each."""
        told = self._az.read("ml", "online-deployment", "list", *self._words, assume=[]) or []
        return {str(one["name"]): one for one in told}

    def holds(self, told: dict[str, Any] | None, name: str, version: int) -> bool:
        """Whether a deployment runs this version; one that is being made is waited for: its command may have died.

        Raises:
            Fault: it is still being made after an hour.
        """
        end = clock.seconds() + PATIENCE
        while told and told.get("provisioning_state") in ("Creating", "Updating", "Deleting"):
            if clock.seconds() > end:
                raise Fault(f"The deployment {name} is still being made; look at it in the portal, then try again.")
            self._pause(WAIT)
            told = self.all().get(name)
        if told is None or told.get("provisioning_state") != "Succeeded":
            return False
        found = told.get("tags") or {}
        wanted = (str(version), self._registry.get(version).digest)
        return (found.get("model_version"), found.get("digest")) == wanted

    def make_endpoint(self) -> None:
        """Make the endpoint itself, without traffic."""
        environment = self._environment
        identities = f"{self._group()}/Microsoft.ManagedIdentity/userAssignedIdentities"
        values: dict[str, Any] = {
            "name": environment.endpoint,
            "tags": environment.tags,
            "identity.user_assigned_identities": [{"resource_id": f"{identities}/{environment.identities.endpoint}"}],
        }
        if self._online.kubernetes:
            values["compute"] = f"azureml:{self._online.kubernetes}"
        elif environment.isolation != "Disabled":
            values["public_network_access"] = "disabled"
        path = filled(self._files / "endpoint.yml", self._out / "endpoint.yml", values)
        self._az.write("ml", "online-endpoint", "create", "--file", str(path), *environment.scope)

    def log(self) -> None:
        """Let the endpoint send its logs, of which `status` counts the requests; doing so again changes nothing."""
        one, categories = self._environment, self._root / "azureml" / "online" / "logs.json"
        endpoint = f"Microsoft.MachineLearningServices/workspaces/{one.workspace}/onlineEndpoints/{one.endpoint}"
        logs = f"{self._group()}/Microsoft.OperationalInsights/workspaces/{one.log_analytics}"
        self._az.write(
            "monitor", "diagnostic-settings", "create", "--name", "logs", "--resource", f"{self._group()}/{endpoint}",
            "--workspace", logs, "--logs", f"@{categories}",
        )  # fmt: skip

    def make(self, name: str, version: int) -> None:
        """Make a deployment, without traffic.

        Raises:
            Fault: it does not start; it was removed again, and the message has the end of its log.
        """
        chosen = self._registry.get(version)
        values: dict[str, Any] = {
            "name": name,
            "endpoint_name": self._environment.endpoint,
            "model": self._registry.reference(version),
            "environment": self._image(),
            "environment_variables.MODEL_DIGEST": chosen.digest,
            "environment_variables.MODEL_VERSION": str(version),
            "environment_variables.DEPLOYMENT": name,
            "tags": self._environment.tags | {"model_version": str(version), "digest": chosen.digest},
        }
        if not self._online.kubernetes:  # there, the file names an instance type of the cluster, and a range
            values |= {"instance_type": self._online.instance_type, "instance_count": self._online.instances}
        path = filled(self._files / "deployment.yml", self._out / f"{name}.yml", values)
        try:
            self._az.write("ml", "online-deployment", "create", "--file", str(path), *self._environment.scope)
        except Fault as error:
            if self.holds(self.all().get(name), name, version):  # an earlier try had arrived
                return
            if (self.all().get(name) or {}).get("provisioning_state") != "Failed":  # it was refused
                raise
            reason = f"{name} does not start (version {version}): {error} {self.last_lines(name)}".strip()
            self.remove(name)
            raise Fault(reason) from None

    def remove(self, name: str) -> None:
        """Remove a deployment, if there is one, and what scales it."""
        commands = [("ml", "online-deployment", "delete", "--name", name, *self._words, "--yes")]
        if self._scales:
            group = ("--resource-group", self._environment.resource_group)
            commands.append(("monitor", "autoscale", "delete", "--name", self._setting(name), *group))
        for command in commands:
            with contextlib.suppress(NotFound):
                self._az.write(*command)

    def scale(self, names: Iterable[str]) -> None:
        """Let the number of instances follow the load, where it does not yet; azureml/online/autoscale.json says how."""
        if not self._scales:
            return
        rules = json.loads((self._files / "autoscale.json").read_text("utf-8"))["rules"]
        one, online = self._environment, self._online
        group = ("--resource-group", one.resource_group)
        told = self._az.read("monitor", "autoscale", "list", *group, assume=[]) or []
        there = {str(setting["name"]): setting.get("profiles") or [{}] for setting in told}
        for name in names:
            setting = self._setting(name)
            known = len(there[setting][0].get("rules") or []) if setting in there else 0
            if setting not in there:
                place = f"{self._group()}/Microsoft.MachineLearningServices/workspaces/{one.workspace}"
                self._az.write(
                    "monitor", "autoscale", "create", "--name", setting, *group, "--location", one.location,
                    "--resource", f"{place}/onlineEndpoints/{one.endpoint}/deployments/{name}",
                    "--min-count", str(online.instances), "--max-count", str(online.max_instances),
                    "--count", str(online.instances),
                )  # fmt: skip
            for rule in rules[known:]:
                how = ("--condition", rule["condition"], "--scale", *rule["scale"].split())
                words = ("--autoscale-name", setting, *group, *how, "--cooldown", str(rule["cooldown"]))
                self._az.write("monitor", "autoscale", "rule", "create", *words)

    @property
    def _scales(self) -> bool:
        return not self._online.kubernetes and self._online.max_instances > self._online.instances

    def _setting(self, name: str) -> str:
        return f"{self._environment.endpoint}-{name}"

    def _group(self) -> str:
        return self._az.providers(self._environment.resource_group)

    def last_lines(self, name: str) -> str:
        """What its container said last, in a sentence; nothing where nobody knows."""
        try:
            words = ("--name", name, *self._words, "--lines", str(LINES))
            told = self._az.read("ml", "online-deployment", "get-logs", *words, assume="")
        except (Fault, UsageError):
            return ""
        lines = [line for line in str(told or "").splitlines() if line.strip()]
        return "Its log ends with: " + " | ".join(lines[-LINES:]) if lines else ""


def collects(told: dict[str, Any]) -> bool:
    """Whether a deployment collects its answers, by what Azure tells of it."""
    collector = told.get("data_collector") or {}
    response = (collector.get("collections") or {}).get("response") or {}
    return str(response.get("enabled")).lower() == "true"
