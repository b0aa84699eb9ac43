"""How people and pipelines of Azure DevOps talk: templates of work items, and comments on pull requests."""

import json
from pathlib import Path

from .outcome import Outcome
from .place_devops import Place

GIT = "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87"  # the namespace of rights over repositories
COMMENT = 16_384  # in it, the bit of "Contribute to pull requests"


def make(place: Place, root: Path, outcome: Outcome) -> None:
    """Make or mend both."""
    _templates(place, root, outcome)
    _comments(place, outcome)


def _templates(place: Place, root: Path, outcome: Outcome) -> None:
    """Make the templates that .azuredevops/work_items.json describes, for the project's team."""
    path = root / ".azuredevops" / "work_items.json"
    if not path.is_file():
        return
    route = (f"team={place.team}",)
    there = {one["name"]: one for one in place.listed("wit", "templates", *route)}
    for wanted in json.loads(path.read_text("utf-8")):
        known = there.get(wanted["name"])
        one = (*route, f"templateId={known['id']}") if known else route
        found = place.invoke("wit", "templates", *one) if known else None
        if outcome.differs(wanted, found, f"work item template {wanted['name']}"):
            place.invoke("wit", "templates", *one, method="PUT" if known else "POST", body=wanted)


def _comments(place: Place, outcome: Outcome) -> None:
    """Let pipelines comment on pull requests of this repository: as the identity under which they run."""
    builder = f"{place.project} Build Service ({place.organization.rpartition('/')[2]})"
    found = place.listed("IMS", "identities", query=("searchFilter=General", f"filterValue={builder}"))
    if not found and not place.az.dry:
        outcome.notes.append(
            f"There is no {builder} yet: it comes with the first run. Run the pipeline ci once and this command again; "
            "until then it cannot comment on pull requests."
        )
        return
    who = found[0]["descriptor"] if found else f"DESCRIPTOR_OF_{builder}"
    token, route = f"repoV2/{place.project_id}/{place.repository_id}", (f"securityNamespaceId={GIT}",)
    lists = place.listed("Security", "AccessControlLists", *route, query=(f"token={token}", f"descriptors={who}"))
    rights = [one["acesDictionary"][who]["allow"] for one in lists if who in one.get("acesDictionary", {})]
    may = any(allowed & COMMENT for allowed in rights)
    if outcome.differs(True, may or None, f"right of {builder} to comment on pull requests"):
        entry = {"descriptor": who, "allow": COMMENT, "deny": 0}
        body = {"token": token, "merge": True, "accessControlEntries": [entry]}
        place.invoke("Security", "AccessControlEntries", *route, method="POST", body=body)
