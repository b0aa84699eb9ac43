"""The identity by which a pipeline acts in an environment, and whom it trusts."""

from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from ...azure.az import Az, NotFound
from ...azure.environments import Environment, load_all
from ...errors import UsageError
from ..outcome import Outcome

AUDIENCE = "api://AzureADTokenExchange"


class Identity(Struct, frozen=True):
    """Whom a pipeline logs in as; none of it is secret."""

    client: str
    tenant: str
    subscription: str
    subscription_name: str

    @property
    def variables(self) -> dict[str, str]:
        """As the workflows of GitHub read it."""
        names = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID")
        return dict(zip(names, (self.client, self.tenant, self.subscription), strict=True))


class Identities:
    """The identities `identities.pipeline` of conf/environments."""

    def __init__(self, root: Path, dry: bool) -> None:
        """Read dev, test and prod."""
        self._az = Az(dry=dry)
        self._environments: dict[str, Environment] = {one.name: one for one in load_all(root)}

    def approvals(self, name: str) -> int:
        """How many people approve, before something is deployed; a model needs one."""
        return self._environments[name].approvals if name in self._environments else 1

    @cached_property
    def _account(self) -> dict[str, Any]:
        assumed = {"id": "SUBSCRIPTION_ID", "name": "SUBSCRIPTION", "tenantId": "TENANT_ID"}
        found: dict[str, Any] = self._az.read("account", "show", assume=assumed)
        return found

    @cached_property
    def known(self) -> dict[str, Identity]:
        """The identity of each environment.

        Raises:
            UsageError: one does not exist yet, or Azure does not know who asks.
        """
        return {name: self._identity(name) for name in self._environments}

    def _identity(self, name: str) -> Identity:
        one = self._environments[name]
        words = ("identity", "show", "--name", one.identities.pipeline, "--resource-group", one.resource_group)
        assumed = {"clientId": f"CLIENT_ID_OF_{one.identities.pipeline}", "tenantId": "TENANT_ID"}
        try:
            found = self._az.read(*words, assume=assumed)
        except NotFound:
            raise UsageError(
                f"There is no identity {one.identities.pipeline} in {one.resource_group} yet: azure infra up --env {name}"
            ) from None
        account = self._account
        return Identity(found["clientId"], found["tenantId"], account["id"], account["name"])

    def trust(self, name: str, credential: str, issuer: str, subject: str, outcome: Outcome) -> None:
        """Let an identity trust the tokens that a service issues for a subject; once, under whatever name."""
        one = self._environments[name]
        place = ("--identity-name", one.identities.pipeline, "--resource-group", one.resource_group)
        there = self._az.read("identity", "federated-credential", "list", *place, assume=[])
        other = [c for c in there if c["issuer"] == issuer and c["subject"] != subject and c["name"] != credential]
        for c in other:
            outcome.notes.append(
                f"{one.identities.pipeline} also trusts {c['subject']} ({c['name']}). If that is no longer right: "
                f"az identity federated-credential delete --name {c['name']} {' '.join(place)}"
            )
        wanted = {"issuer": issuer, "subject": subject, "audiences": [AUDIENCE]}
        if any(c["issuer"] == issuer and c["subject"] == subject and AUDIENCE in c["audiences"] for c in there):
            outcome.kept += 1
            return
        ours = next((c for c in there if c["name"] == credential), None)
        outcome.differs(wanted, ours, f"trust of {one.identities.pipeline} in {subject}")
        self._az.write(
            "identity", "federated-credential", "update" if ours else "create", "--name", credential, *place,
            "--issuer", issuer, "--subject", subject, "--audiences", AUDIENCE,
        )  # fmt: skip
