"""The environments and service connections of Azure DevOps: who approves, one run at a time, and whom Azure trusts."""

from typing import Any

from ...errors import UsageError
from ..outcome import Outcome
from ..people import People
from ..place_devops import Place
from .identities import Identities, Identity

MODELS = "models"  # in which a model is approved, before it is registered; nothing logs in there
USERS = ("train", "release")  # the pipelines that may use them
MONTH = 43_200  # minutes that an approval or a lock is waited for; the longest there is
APPROVAL = {"id": "8C6F20A7-A545-4486-9777-F762FAFE0D4D", "name": "Approval"}
LOCK = {"id": "2EF31AD6-BAA0-403A-8B45-2CBC9B4E5563", "name": "ExclusiveLock"}
TASK = {"id": "FE1DE3EE-A436-41B4-BB20-F6EB4CB879A7", "name": "Task Check"}
ONLY_MAIN: dict[str, Any] = {
    "displayName": "Branch control",
    "definitionRef": {
        "id": "86b05a0c-73e6-4f7d-b3cf-e38f3b39a75b",
        "name": "evaluatebranchProtection",
        "version": "0.0.1",
    },
    "inputs": {
        "allowedBranches": "refs/heads/main",
        "ensureProtectionOfBranch": "true",
        "allowUnknownStatusBranch": "false",
    },
}


def make(
    place: Place, project: str, built: dict[str, str], people: People, identities: Identities, outcome: Outcome
) -> None:
    """Make or mend environments and service connections, once all that is asked for is known.

    Their names begin with the project's.

    Raises:
        UsageError: an approver or an identity does not exist, or too few people could approve.
    """
    pipelines = [built[name] for name in USERS if name in built]
    there = {one["name"]: one for one in place.listed("distributedtask", "environments")}
    known = identities.known
    wanted = {name: _checks(place, name, people, identities, outcome) for name in (*known, MODELS)}
    for name, checks in wanted.items():
        full = f"{project}-{name}"
        found = there.get(full)
        if outcome.differs({"name": full}, found, f"environment {full}"):
            found = place.invoke(
                "distributedtask", "environments", method="POST", body={"name": full, "description": ""}
            )
        environment = str((found or {"id": f"ID_OF_{full}"})["id"])
        _guard(place, full, environment, checks, outcome)
        _permit(place, "environment", full, environment, pipelines, outcome)
    connections = {
        one["name"]: one for one in place.az.read("devops", "service-endpoint", "list", *place.where, assume=[])
    }
    for name, identity in known.items():
        full = f"{project}-{name}"
        endpoint = _connection(place, full, identity, connections.get(full), outcome)
        told = endpoint["authorization"]["parameters"]
        issuer, subject = (told.get(f"workloadIdentityFederation{key}") for key in ("Issuer", "Subject"))
        if not issuer or not subject:
            raise UsageError(
                f"The service connection {full} tells no issuer and subject; delete it, and run this again."
            )
        identities.trust(name, "azure-devops", issuer, subject, outcome)
        _permit(place, "endpoint", full, str(endpoint["id"]), pipelines, outcome)
        outcome.connections.append(full)


def _checks(
    place: Place, name: str, people: People, identities: Identities, outcome: Outcome
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """What has to be so before a job enters an environment: type and settings of each check."""
    number, wanted = identities.approvals(name), [(TASK, ONLY_MAIN), (LOCK, {})]
    approvers = people.approvers(name, "azure_devops") if number else []
    if number and not approvers:
        outcome.notes.append(f"Nobody has to approve what goes into {name}.")
    if approvers:
        if len(approvers) < number and not place.az.dry:
            raise UsageError(
                f"conf/environments/{name}.yaml asks for {number} approvals, but conf/people.yaml names {len(approvers)} who could "
                "give one (a group counts as one)."
            )
        approval = {
            "approvers": [{"id": one} for one in sorted(place.person(one) for one in approvers)],
            "minRequiredApprovers": number,
            "executionOrder": "anyOrder",
            "requesterCannotBeApprover": not people.self_approval,
            "instructions": "Look at the run's summary first.",
            "blockedApprovers": [],
        }
        wanted.insert(0, (APPROVAL, approval))
    return wanted


def _guard(
    place: Place, full: str, environment: str, wanted: list[tuple[dict[str, str], dict[str, Any]]], outcome: Outcome
) -> None:
    query = ("resourceType=environment", f"resourceId={environment}", "$expand=settings")
    there = place.listed("PipelinesChecks", "configurations", query=query)
    for kind, settings in wanted:
        same = [one for one in there if _fits(kind, settings, one)]
        present = _comparable(same[0].get("settings") or {}) if same else None
        if not outcome.differs(_comparable(settings), present, f"environment {full}, {kind['name']}"):
            continue
        resource = {"type": "environment", "id": environment, "name": full}
        body = {"type": kind, "settings": settings, "resource": resource, "timeout": MONTH}
        if same:
            place.invoke("PipelinesChecks", "configurations", f"id={same[0]['id']}", method="PATCH", body=body)
        else:
            place.invoke("PipelinesChecks", "configurations", method="POST", body=body)


def _fits(kind: dict[str, str], settings: dict[str, Any], found: dict[str, Any]) -> bool:
    if found["type"]["id"].upper() != kind["id"]:
        return False
    told = (found.get("settings") or {}).get("definitionRef", {}).get("id", "")
    return kind is not TASK or bool(told.lower() == settings["definitionRef"]["id"])


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide, with approvers in one order."""
    if "approvers" not in settings:
        return {key: settings[key] for key in ("inputs",) if key in settings}
    approvers = sorted(one["id"] for one in settings["approvers"])
    kept = ("minRequiredApprovers", "executionOrder", "requesterCannotBeApprover")
    return {"approvers": approvers} | {key: settings.get(key) for key in kept}


def _permit(place: Place, kind: str, full: str, resource: str, pipelines: list[str], outcome: Outcome) -> None:
    """Let our pipelines use something; without that, the first run waits for a click."""
    route = (f"resourceType={kind}", f"resourceId={resource}")
    told = place.invoke("pipelinePermissions", "pipelinePermissions", *route) or {}
    there = {str(one["id"]) for one in told.get("pipelines", []) if one.get("authorized")}
    if outcome.differs(True, set(pipelines) <= there or None, f"{kind} {full}: train and release may use it"):
        body = {"pipelines": [{"id": int(one) if one.isdigit() else one, "authorized": True} for one in pipelines]}
        place.invoke("pipelinePermissions", "pipelinePermissions", *route, method="PATCH", body=body)


def _connection(place: Place, full: str, identity: Identity, found: Any, outcome: Outcome) -> dict[str, Any]:
    """Make or mend a service connection; what it tells of issuer and subject is what Azure shall trust."""
    wanted: dict[str, Any] = {
        "name": full,
        "type": "azurerm",
        "url": "https://management.azure.com/",
        "authorization": {
            "scheme": "WorkloadIdentityFederation",
            "parameters": {"tenantid": identity.tenant, "serviceprincipalid": identity.client},
        },
        "data": {
            "environment": "AzureCloud",
            "scopeLevel": "Subscription",
            "subscriptionId": identity.subscription,
            "subscriptionName": identity.subscription_name,
            "creationMode": "Manual",
        },
    }
    decisive = {key: wanted[key] for key in ("type", "authorization")} | {
        "data": {"subscriptionId": identity.subscription}
    }
    if not outcome.differs(decisive, found, f"service connection {full}"):
        return dict(found)
    project = {"id": place.project_id, "name": place.project}
    wanted["serviceEndpointProjectReferences"] = [{"projectReference": project, "name": full, "description": ""}]
    if found:
        body = found | wanted | {"data": found["data"] | wanted["data"]}
        made = place.invoke("serviceendpoint", "endpoints", f"endpointId={found['id']}", method="PUT", body=body)
    else:
        words = ("devops", "service-endpoint", "create", *place.where)
        told = {"workloadIdentityFederationIssuer": "ITS_ISSUER", "workloadIdentityFederationSubject": "ITS_SUBJECT"}
        assumed = {"id": f"ID_OF_{full}", "authorization": {"parameters": told}}
        made = place.az.write(
            *words,
            body=wanted | {"isShared": False, "isReady": True},
            option="--service-endpoint-configuration",
            assume=assumed,
        )
    if not made["authorization"]["parameters"].get("workloadIdentityFederationSubject"):  # it is told a little later
        made = place.az.read("devops", "service-endpoint", "show", "--id", str(made["id"]), *place.where)
    return dict(made)
