"""A repository of Azure DevOps as the project needs it: pipelines, policies of main, templates of work items."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import load_settings
from ..errors import UsageError
from . import collaboration
from . import people as who
from .outcome import Outcome
from .place_devops import Place
from .tool import Tool

CLOUD = f"{__package__}.cloud"
TYPES = {  # of a policy, by the name that `az repos policy` has for it
    "approver-count": "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd",
    "comment-required": "c6a1889d-b943-4856-b76f-9e46bb6b0df2",
    "merge-strategy": "fa4e907d-c16b-4a4c-9dfa-4916e5d171ab",
    "build": "0609b952-1397-4640-95ec-e00a01b2c241",
    "required-reviewer": "fd2167ab-b0be-447a-8ec8-39368250530e",
}
OPTIONS = {"filenamePatterns": "--path-filter"}  # those that are called otherwise than the setting


def bootstrap(root: Path, organization: str, project: str, repository: str, dry: bool, waived: bool) -> Outcome:
    """Make or mend everything; what is right already is left alone.

    Args:
        root: the project's folder.
        organization, project, repository: the organization's address, and two names.
        dry: show the commands of a first time, and run none.
        waived: go on without approvers, if nobody is named.

    Raises:
        UsageError: a person has to do something first; nothing was changed unless it says so.
        Fault: Azure does not do it; the same command again goes on from there.
    """
    if not (root / ".azuredevops").is_dir():
        raise UsageError(
            "This project has no .azuredevops: it was made for another CI. Answer `ci` with azure-devops, and update it."
        )
    people, outcome = who.load(root), Outcome()
    if not dry:
        who.require(people, "azure_devops", waived)
    elif empty := people.nobody("azure_devops"):
        outcome.notes.append(
            f"conf/people.yaml names nobody for {' and '.join(empty)} yet: there would be no approvals."
        )
    place, name = Place(Tool("az", dry), organization, project, repository), load_settings(root / "conf").name
    place.open()
    built = _pipelines(place, root, name, outcome)
    if find_spec(CLOUD):
        identities = import_module(f"{CLOUD}.identities").Identities(root, dry)
        import_module(f"{CLOUD}.devops_environments").make(place, name, built, people, identities, outcome)
    collaboration.make(place, root, outcome)
    _policies(place, root, name, built["ci"], people, outcome)
    return outcome


def _pipelines(place: Place, root: Path, name: str, outcome: Outcome) -> dict[str, str]:
    """Make a pipeline of each file that has a trigger; return their ids."""
    az, built = place.az, dict[str, str]()
    there = {one["name"]: one for one in az.read("pipelines", "list", *place.where, assume=[])}
    files = [
        path
        for path in sorted((root / ".azuredevops").glob("*.yml"))
        if re.search(r"(?m)^trigger:", path.read_text("utf-8"))
    ]
    if "ci" not in [path.stem for path in files]:
        raise UsageError(
            "There is no pipeline .azuredevops/ci.yml (with a `trigger:`): without it, main cannot be guarded."
        )
    for path in files:
        called, file = f"{name}-{path.stem}", f".azuredevops/{path.name}"
        known = there.get(called)
        if known:
            known = az.read("pipelines", "show", "--id", str(known["id"]), *place.where)
            present = {"file": known.get("process", {}).get("yamlFilename", "").lstrip("/")}
            if outcome.differs({"file": file}, present, f"pipeline {called}"):
                az.write("pipelines", "update", "--id", str(known["id"]), "--yml-path", file, *place.where)
        else:
            outcome.differs(file, None, f"pipeline {called}")
            known = az.write(
                "pipelines", "create", "--name", called, "--repository", place.repository, "--repository-type", "tfsgit",
                "--branch", "main", "--yml-path", file, "--skip-first-run", "true", *place.where,
                assume={"id": f"ID_OF_{called}"},
            )  # fmt: skip
        built[path.stem] = str(known["id"])
    return built


def _wanted(place: Place, root: Path, name: str, ci: str, people: who.People) -> list[tuple[str, dict[str, Any]]]:
    """The policies of main: kind and settings."""
    by_hand = bool(re.search(r"(?m)^trigger:\s*none\s*$", (root / ".azuredevops" / "ci.yml").read_text("utf-8")))
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("approver-count", {
            "minimumApproverCount": 1, "creatorVoteCounts": people.self_approval, "allowDownvotes": False,
            "resetOnSourcePush": True,
        }),
        ("comment-required", {}),
        ("merge-strategy", {
            "allowSquash": True, "allowNoFastForward": False, "allowRebase": False, "allowRebaseMerge": False,
        }),
        ("build", {
            "buildDefinitionId": ci, "displayName": f"{name}-ci", "manualQueueOnly": by_hand,
            "queueOnSourceUpdateOnly": False, "validDuration": 0,
        }),
    ]  # fmt: skip
    for title, role in people.roles.items():
        if ids := sorted(place.person(one) for one in role.azure_devops):
            paths = [f"{path}*" if path.endswith("/") else path for path in role.paths]
            settings = {"requiredReviewerIds": ids, "filenamePatterns": paths, "message": f"{title} approves this."}
            wanted.append(("required-reviewer", settings))
    return wanted


def _policies(place: Place, root: Path, name: str, ci: str, people: who.People, outcome: Outcome) -> None:
    """Come last: from then on, nobody pushes to main."""
    on_main = ("--repository-id", place.repository_id, "--branch", "main")
    told = place.az.read("repos", "policy", "list", *on_main, *place.where, assume=[])
    there = [one | {"settings": _plain(one["settings"])} for one in told if _of(place.repository_id, one)]
    for kind, settings in _wanted(place, root, name, ci, people):
        wanted: dict[str, Any] = {"isEnabled": True, "isBlocking": True, "settings": _plain(settings)}
        key = {"required-reviewer": "message", "build": "buildDefinitionId"}.get(kind, "")
        same = [
            one
            for one in there
            if one["type"]["id"] == TYPES[kind] and one["settings"].get(key) == wanted["settings"].get(key)
        ]
        what = f"policy {kind} of main" + (f": {settings[key]}" if key == "message" else "")
        if outcome.differs(wanted, same[0] if same else None, what):
            words = [word for item in settings.items() for word in _option(*item)]
            again = ("update", "--id", str(same[0]["id"])) if same else ("create",)
            sure = ("--enabled", "true", "--blocking", "true")
            place.az.write("repos", "policy", kind, *again, *on_main, *sure, *words, *place.where)


def _of(repository: str, policy: dict[str, Any]) -> bool:
    """Whether a policy is this repository's own; one for the whole project is somebody else's."""
    return all(scope.get("repositoryId") == repository for scope in policy["settings"].get("scope", []))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in a form that can be compared: a service gives numbers for texts, and lists in any order."""
    return {
        key: sorted(map(str, value))
        if isinstance(value, list)
        else value
        if isinstance(value, bool)
        else str(value).removesuffix(".0")
        for key, value in settings.items()
    }


def _option(key: str, value: Any) -> tuple[str, str]:
    name = OPTIONS.get(key) or "--" + re.sub(r"([A-Z])", r"-\1", key).lower()
    if isinstance(value, bool):
        return name, str(value).lower()
    return name, ";".join(value) if isinstance(value, list) else str(value)
