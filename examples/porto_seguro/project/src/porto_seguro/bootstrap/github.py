"""A GitHub repository as the project needs it: settings, labels, the rules of main, owners of files."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from . import people as who
from .outcome import Outcome
from .tool import Tool

CLOUD = f"{__package__}.cloud"
ACTIONS = 15368  # the id of GitHub Actions among the apps: a check named `ci` of another one does not count
SETTINGS = {
    "delete_branch_on_merge": True,
    "allow_squash_merge": True,
    "allow_merge_commit": False,
    "allow_rebase_merge": False,
}
TOKEN = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
RULES: list[dict[str, Any]] = [
    {"type": "deletion"},
    {"type": "non_fast_forward"},
    {
        "type": "pull_request",
        "parameters": {
            "required_approving_review_count": 1,
            "require_code_owner_review": True,
            "dismiss_stale_reviews_on_push": True,
            "require_last_push_approval": False,
            "required_review_thread_resolution": True,
            "allowed_merge_methods": ["squash"],
        },
    },
    {
        "type": "required_status_checks",
        "parameters": {
            "strict_required_status_checks_policy": True,
            "required_status_checks": [{"context": "ci", "integration_id": ACTIONS}],
        },
    },
]
RULESET: dict[str, Any] = {
    "name": "main",
    "target": "branch",
    "enforcement": "active",
    "bypass_actors": [],
    "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
}


def bootstrap(root: Path, repository: str, dry: bool, waived: bool) -> Outcome:
    """Make or mend everything; what is right already is left alone.

    Args:
        root: the project.
        repository: OWNER/REPOSITORY.
        dry: show the commands of a first time, and run none.
        waived: go on without approvers, if nobody is named.

    Raises:
        UsageError: a person has to do something first; nothing was changed unless it says so.
        Fault: GitHub or Azure does not do it; the same command again goes on from there.
    """
    if not (root / ".github").is_dir():
        raise UsageError(
            "This project has no .github: it was made for another CI. Answer `ci` with github, and update it."
        )
    people, outcome, gh = who.load(root), Outcome(), Tool("gh", dry)
    if not dry:
        who.require(people, "github", waived)
    elif empty := people.nobody("github"):
        outcome.notes.append(
            f"conf/people.yaml names nobody for {' and '.join(empty)} yet: there would be no approvals."
        )
    found = _repository(gh, repository)
    if find_spec(CLOUD):
        identities = import_module(f"{CLOUD}.identities").Identities(root, dry)
        import_module(f"{CLOUD}.github_environments").make(gh, repository, people, identities, outcome)
    _settings(gh, repository, found, outcome)
    _labels(gh, repository, root, outcome)
    _owners(gh, repository, root, people, outcome)
    _ruleset(gh, repository, outcome)
    return outcome


def _repository(gh: Tool, repository: str) -> dict[str, Any]:
    assumed = {"default_branch": "main", "permissions": {"admin": True}}
    found: dict[str, Any] = gh.read("api", f"repos/{repository}", assume=assumed)
    if not found.get("permissions", {}).get("admin"):
        raise UsageError(f"Whoever `gh auth status` tells is no administrator of {repository}; only one may do this.")
    if found["default_branch"] != "main":
        raise UsageError(
            f"The default branch of {repository} is {found['default_branch']}, but the pipelines run on main: "
            f"gh api --method POST repos/{repository}/branches/{found['default_branch']}/rename -f new_name=main"
        )
    return found


def _settings(gh: Tool, repository: str, found: dict[str, Any], outcome: Outcome) -> None:
    path = f"repos/{repository}"
    if outcome.differs(SETTINGS, found, "settings of the repository"):
        gh.write("api", "--method", "PATCH", path, body=SETTINGS)
    told = gh.find("api", f"{path}/actions/permissions/workflow")
    if outcome.differs(TOKEN, told, "token of workflows, which reads only"):
        gh.write("api", "--method", "PUT", f"{path}/actions/permissions/workflow", body=TOKEN)


def _labels(gh: Tool, repository: str, root: Path, outcome: Outcome) -> None:
    """GitHub leaves out the labels of an issue form that do not exist."""
    forms = sorted((root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    wanted = dict[str, str]()
    for form in (yaml.safe_load(path.read_text("utf-8")) for path in forms if path.name != "config.yml"):
        wanted |= dict.fromkeys(form.get("labels", []), form["description"])
    there = {one["name"]: one for one in gh.find("api", f"repos/{repository}/labels?per_page=100") or []}
    for label, description in wanted.items():
        if outcome.differs({"name": label}, there.get(label), f"label {label}"):
            body = {"name": label, "description": description[:100]}
            gh.write("api", "--method", "POST", f"repos/{repository}/labels", body=body)


def _owners(gh: Tool, repository: str, root: Path, people: who.People, outcome: Outcome) -> None:
    path, text = root / ".github" / "CODEOWNERS", who.codeowners(people)
    if not path.is_file() or path.read_text("utf-8") != text:
        outcome.changed.append(".github/CODEOWNERS: written from conf/people.yaml; commit it")
        if not gh.dry:
            path.write_text(text, "utf-8")
    told = gh.find("api", f"repos/{repository}/codeowners/errors") or {}
    outcome.notes += [
        f".github/CODEOWNERS at GitHub, line {one['line']}: {one['message'].splitlines()[0]}"
        for one in told.get("errors", [])
    ]


def _ruleset(gh: Tool, repository: str, outcome: Outcome) -> None:
    """Comes last: from then on, a change of main needs a review."""
    path = f"repos/{repository}/rulesets"
    named = [one for one in gh.find("api", f"{path}?includes_parents=false") or [] if one["name"] == RULESET["name"]]
    found = gh.read("api", f"{path}/{named[0]['id']}") if named else None
    ours = {rule["type"]: rule for rule in RULES}
    there = {rule["type"]: rule for rule in found["rules"]} if found else {}
    present = (found | {"rules": there}) if found else None
    if outcome.differs(RULESET | {"rules": ours}, present, "rules of main"):
        body = RULESET | {"rules": list((there | ours).values())}  # further rules of somebody else's stay
        if found:
            gh.write("api", "--method", "PUT", f"{path}/{found['id']}", body=body)
        else:
            gh.write("api", "--method", "POST", path, body=body)
