"""The environments of a GitHub repository: who approves, from which branch, and whom Azure knows it as."""

from typing import Any

from ...errors import UsageError
from ..outcome import Outcome
from ..people import People
from ..tool import Missing, Tool
from .identities import Identities

ISSUER = "https://token.actions.githubusercontent.com"
MODELS = "models"  # in which a model is approved, before it is registered; nothing logs in there
ONLY_MAIN = {"protected_branches": False, "custom_branch_policies": True}


def make(gh: Tool, repository: str, people: People, identities: Identities, outcome: Outcome) -> None:
    """Make or mend dev, test, prod and models, once all that is asked for is known.

    Raises:
        UsageError: an approver or an identity does not exist, or GitHub does not tell how its tokens name the repository.
    """
    prefix, known = subject_prefix(gh, repository), identities.known
    named = dict.fromkeys(one for name in (*known, MODELS) for one in people.approvers(name, "github"))
    who = {one: reviewer(gh, one) for one in named}
    for name in (*known, MODELS):
        path = f"repos/{repository}/environments/{name}"
        number = identities.approvals(name)
        approvers = people.approvers(name, "github") if number else []
        _environment(gh, path, name, [who[one] for one in approvers], people.self_approval, outcome)
        if number and not approvers:
            outcome.notes.append(f"Nobody has to approve what goes into {name}.")
        elif number > 1:
            outcome.notes.append(
                f"{name}: at GitHub, one approval is enough; the {number} of conf/environments/{name}.yaml count in Azure DevOps."
            )
        if name == MODELS:
            continue
        outcome.variables[name] = known[name].variables
        _variables(gh, path, repository, name, known[name].variables, outcome)
        identities.trust(name, "github", ISSUER, f"{prefix}:environment:{name}", outcome)


def subject_prefix(gh: Tool, repository: str) -> str:
    """Ask how GitHub's tokens name a repository; an environment's name comes behind it.

    New repositories are named with their ids, older ones without, and a plain `use_immutable_subject: false` is said of
    both: only the prefix itself tells.

    Raises:
        UsageError: GitHub does not tell, or somebody changed which claims the subject is made of.
    """
    where = f"repos/{repository}/actions/oidc/customization/sub"
    owner, name = repository.split("/")
    assumed = {"use_default": True, "sub_claim_prefix": f"repo:{owner}@OWNER_ID/{name}@REPOSITORY_ID"}
    told = gh.read("api", where, assume=assumed)
    if told.get("use_default") is not True:
        raise UsageError(
            f"{repository} makes the subject of its tokens of claims of its own ({told.get('include_claim_keys')}). Set it "
            f"back, and run this again: gh api --method PUT {where} -F use_default=true"
        )
    if not str(told.get("sub_claim_prefix") or "").startswith("repo:"):
        raise UsageError(
            f"GitHub does not tell how its tokens name {repository}: there is no sub_claim_prefix in `gh api {where}`. "
            "Making one up could let another repository in; nothing was trusted."
        )
    return str(told["sub_claim_prefix"])


def reviewer(gh: Tool, name: str) -> dict[str, Any]:
    """Return a user `ada` or a team `acme/validators` as the API wants them: by id.

    Raises:
        UsageError: there is none.
    """
    owner, _, team = name.partition("/")
    try:
        found = gh.read(
            "api", f"orgs/{owner}/teams/{team}" if team else f"users/{name}", assume={"id": f"ID_OF_{name}"}
        )
    except Missing:
        raise UsageError(
            f"conf/people.yaml names {name}, but GitHub knows no such {'team' if team else 'user'} (or you may not see it)."
        ) from None
    return {"type": "Team" if team else "User", "id": found["id"]}


def _environment(
    gh: Tool, path: str, name: str, reviewers: list[dict[str, Any]], self_approval: bool, outcome: Outcome
) -> None:
    found = gh.find("api", path)
    present = _present(found) if found else None
    if present and not reviewers:
        reviewers = present["reviewers"]  # somebody else's decision
    wanted: dict[str, Any] = {"reviewers": _sorted(reviewers), "deployment_branch_policy": ONLY_MAIN}
    if reviewers:
        wanted["prevent_self_review"] = not self_approval
    if outcome.differs(wanted, present, f"environment {name}"):
        waiting = {"wait_timer": present["wait_timer"]} if present else {}
        gh.write("api", "--method", "PUT", path, body=wanted | waiting)
    branches = f"{path}/deployment-branch-policies"
    there = (gh.find("api", f"{branches}?per_page=100") or {}).get("branch_policies", [])
    main = [one for one in there if (one["name"], one.get("type", "branch")) == ("main", "branch")]
    if outcome.differs({"name": "main"}, main[0] if main else None, f"environment {name}, from the branch main only"):
        gh.write("api", "--method", "POST", branches, body={"name": "main", "type": "branch"})
    for one in there:
        if one not in main:
            outcome.changed.append(f"environment {name}, not from {one['name']}: mended")
            gh.write("api", "--method", "DELETE", f"{branches}/{one['id']}")


def _present(found: dict[str, Any]) -> dict[str, Any]:
    """An environment as the API tells it, in the form in which the API is told."""
    rules = {rule["type"]: rule for rule in found.get("protection_rules", [])}
    asked = rules.get("required_reviewers", {})
    reviewers = [{"type": one["type"], "id": one["reviewer"]["id"]} for one in asked.get("reviewers", [])]
    return {
        "reviewers": _sorted(reviewers),
        "prevent_self_review": asked.get("prevent_self_review", False),
        "wait_timer": rules.get("wait_timer", {}).get("wait_timer", 0),
        "deployment_branch_policy": found.get("deployment_branch_policy"),
    }


def _sorted(reviewers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(reviewers, key=lambda one: (one["type"], str(one["id"])))


def _variables(gh: Tool, path: str, repository: str, name: str, wanted: dict[str, str], outcome: Outcome) -> None:
    told = (gh.find("api", f"{path}/variables?per_page=30") or {}).get("variables", [])
    there = {one["name"]: one["value"] for one in told}
    for key, value in wanted.items():
        if outcome.differs(value, there.get(key), f"variable {key} of {name}"):
            gh.write("variable", "set", key, "--env", name, "--repo", repository, "--body", value)
