"""Who may do what in Azure, beyond what the files of the infrastructure grant."""

from contextlib import suppress
from typing import Literal

from msgspec.structs import astuple

from ..errors import UsageError
from .az import Az, Conflict, NotFound, NoWorkspace
from .environments import Environment

# Ids of Azure's own roles.
REGISTRY_USER = "1823dd4f-9b8c-4ab6-ab4e-7397a3684615"  # AzureML Registry User
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor


def allow(az: Az, principal: str, kind: Literal["User", "Group", "ServicePrincipal"], role: str, scope: str) -> None:
    """Give somebody a role, who may have it already.

    Args:
        az: the command line.
        principal: the object id.
        kind: of the principal; an identity is a ServicePrincipal.
        role: its id.
        scope: on which resource.
    """
    who = ("--assignee-object-id", principal, "--assignee-principal-type", kind)
    with suppress(Conflict):
        az.write("role", "assignment", "create", *who, "--role", role, "--scope", scope)


def users(az: Az, environment: Environment) -> list[tuple[str, Literal["Group", "ServicePrincipal"]]]:
    """Return who works with models in an environment: its groups, and the identities of CI, jobs and endpoint.

    Raises:
        UsageError: the identities do not exist yet.
    """
    found: list[tuple[str, Literal["Group", "ServicePrincipal"]]] = [
        (group, "Group") for group in astuple(environment.groups) if group
    ]
    identities = environment.identities
    for name in (identities.pipeline, identities.jobs, identities.endpoint):
        words = ("--name", name, "--resource-group", environment.resource_group)
        try:
            told = az.read("identity", "show", *words, assume={"principalId": f"PRINCIPAL_OF_{name}"})
        except (NotFound, NoWorkspace):
            raise UsageError(
                f"There is no identity {name} yet, which is to use the registry. First: azure infra up --env "
                f"{environment.name}"
            ) from None
        found.append((told["principalId"], "ServicePrincipal"))
    return found
