"""What bootstrap makes for a project on Azure: environments, approvals, trust, service connections."""

from pathlib import Path

import pytest
from bootstrap_helpers import Drift, State, Typed, mended, named, outcome
from bootstrap_stand_in import Service

pytest_plugins = ["bootstrap_fixtures"]


def reviewers(environment: State) -> list[int]:
    rules = {rule["type"]: rule for rule in environment["protection_rules"]}
    return sorted(one["reviewer"]["id"] for one in rules.get("required_reviewers", {}).get("reviewers", []))


def test_github_asks_who_decides_and_azure_trusts_what_github_says_it_is(github: Typed, service: Service) -> None:
    said = outcome(github("--json")[1])
    there = service.state["environments"]
    assert {name: reviewers(one) for name, one in there.items()} == {
        "dev": [],
        "test": [1, 2],
        "prod": [1, 2],
        "models": [3],
    }
    for name, one in there.items():
        assert [(branch["name"], branch["type"]) for branch in one["_branches"]] == [("main", "branch")], name
    asked = [rule for one in there.values() for rule in one["protection_rules"] if rule["type"] == "required_reviewers"]
    assert all(rule["prevent_self_review"] for rule in asked), "nobody approves what they began themselves"
    assert there["models"]["_variables"] == {}, "nothing logs in there"
    for name in ("dev", "test", "prod"):
        expected = {
            "AZURE_CLIENT_ID": f"client-{name}",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_SUBSCRIPTION_ID": "subscription",
        }
        assert there[name]["_variables"] == expected == said["variables"][name]
    trusted = {key.split("-")[2]: [c["subject"] for c in there] for key, there in service.state["trusted"].items()}
    assert trusted == {name: [f"repo:acme@11/porto@22:environment:{name}"] for name in ("dev", "test", "prod")}
    assert any("prod: at GitHub, one approval is enough" in note for note in said["notes"])


def unguarded(state: State) -> None:
    rules = state["environments"]["prod"]["protection_rules"]
    rules[:] = [rule for rule in rules if rule["type"] != "required_reviewers"]


DRIFTS: dict[str, Drift] = {
    "no approval": (unguarded, "environment prod: mended"),
    "a variable": (
        lambda s: s["environments"]["test"]["_variables"].update(AZURE_CLIENT_ID="another"),
        "variable AZURE_CLIENT_ID of test: mended",
    ),
    "another branch": (
        lambda s: s["environments"]["prod"]["_branches"].append({"name": "try/*", "type": "branch", "id": 7}),
        "environment prod, not from try/*: mended",
    ),
    "another repository is trusted": (
        lambda s: next(iter(s["trusted"].values()))[0].update(subject="repo:evil/porto:environment:dev"),
        "porto@22:environment:dev: mended",
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_github_what_drifted_is_mended_and_nothing_else(github: Typed, service: Service, drift: str) -> None:
    mended(github, service, DRIFTS[drift])


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"use_default": True, "sub_claim_prefix": "repo:acme/porto"}, "repo:acme/porto:environment:dev"),
        ({"use_default": True, "use_immutable_subject": False}, "Making one up"),
        ({"use_default": False, "include_claim_keys": ["job_workflow_ref"]}, "Set it back"),
    ],
)
def test_the_subject_is_what_github_tells_or_nothing_is_trusted(
    github: Typed, service: Service, subject: State, expected: str
) -> None:
    service.state["subject"] = subject
    code, said = github()
    if expected.startswith("repo:"):
        assert (code, service.state["trusted"]["id-{{ cookiecutter.base_name }}-dev-pipeline"][0]["subject"]) == (0, expected), said
    else:
        assert (code, expected in said, service.state["trusted"]) == (2, True, {}), said


def test_a_trust_that_the_infrastructure_made_is_kept_and_a_stale_one_is_told(github: Typed, service: Service) -> None:
    github_issuer = {
        "issuer": "https://token.actions.githubusercontent.com",
        "audiences": ["api://AzureADTokenExchange"],
    }
    ours, old = "repo:acme@11/porto@22:environment:dev", "repo:acme/porto:environment:dev"
    identity = "id-{{ cookiecutter.base_name }}-dev-pipeline"
    service.state["trusted"][identity] = [github_issuer | {"name": "ci-dev", "subject": ours}]
    service.state["trusted"][identity] += [github_issuer | {"name": "old", "subject": old}]
    code, said = github()
    assert (code, f"trust of {identity}" in " ".join(service.writes)) == (0, False), said
    assert f"also trusts {old}" in said


def test_without_people_nobody_is_asked_and_who_was_asked_before_still_is(
    github: Typed, service: Service, root: Path
) -> None:
    named(root, ml_engineer={"github": []})
    code, said = github("--without-reviewers")
    assert code == 0, said
    assert "Nobody has to approve what goes into prod" in said
    service.state["environments"]["prod"]["protection_rules"].append(
        {
            "type": "required_reviewers",
            "prevent_self_review": True,
            "reviewers": [{"type": "User", "reviewer": {"id": 1}}],
        }
    )
    assert github("--without-reviewers")[0] == 0
    assert reviewers(service.state["environments"]["prod"]) == [1], "another's decision is not undone"
    named(root, ml_engineer={"github": ["nobody"]})
    code, said = github()
    assert (code, "GitHub knows no such user" in said) == (2, True), said


def test_without_an_identity_the_command_that_makes_it_is_told(github: Typed, service: Service) -> None:
    service.state["identities"].remove("prod")
    code, said = github()
    assert (code, "azure infra up --env prod" in said, service.writes) == (2, True, []), said
    service.state["identities"].append("prod")
    assert github()[0] == 0, "it goes on from there"


def test_azure_devops_has_approvals_locks_and_connections_that_azure_trusts(
    devops: Typed, service: Service, root: Path
) -> None:
    code, said = devops("--json")
    assert code == 0, said
    state, slug = service.state, "{{ cookiecutter.project_slug }}"
    ids = {str(place["id"]): name for name, place in state["places"].items()}
    approvals = {
        ids[c["resource"]["id"]].removeprefix(f"{slug}-"): (
            c["settings"]["minRequiredApprovers"],
            len(c["settings"]["approvers"]),
        )
        for c in state["checks"]
        if c["type"]["name"] == "Approval"
    }
    assert approvals == {"test": (1, 2), "prod": (2, 2), "models": (1, 1)}
    own = [c["settings"]["requesterCannotBeApprover"] for c in state["checks"] if c["type"]["name"] == "Approval"]
    assert all(own), "nobody approves what they began themselves"
    for kind in ("ExclusiveLock", "Task Check"):
        assert sum(c["type"]["name"] == kind for c in state["checks"]) == 4, kind
    names = [f"{slug}-{name}" for name in ("dev", "test", "prod")]
    assert outcome(said)["connections"] == names == list(state["endpoints"])
    for name in names:
        told = state["endpoints"][name]["authorization"]["parameters"]
        trusted = state["trusted"][f"id-{{ cookiecutter.base_name }}-{name.rpartition('-')[2]}-pipeline"]
        assert [(c["issuer"], c["subject"]) for c in trusted] == [
            (told["workloadIdentityFederationIssuer"], told["workloadIdentityFederationSubject"])
        ]
    assert len(state["permitted"]) == 7, "four environments and three connections wait for no click"
    named(root, ml_engineer={"azure_devops": ["ada@acme.com"]})
    code, said = devops()
    assert (code, "asks for 2 approvals" in said) == (2, True), said
    named(root, ml_engineer={"azure_devops": ["ada@acme.com", "Nobody"]})
    code, said = devops()
    assert (code, "knows no such group" in said) == (2, True), said


DEVOPS_DRIFTS: dict[str, Drift] = {
    "an approval is enough": (
        lambda s: next(c for c in s["checks"] if c["settings"].get("minRequiredApprovers") == 2)["settings"].update(
            minRequiredApprovers=1
        ),
        "-prod, Approval: mended",
    ),
    "any branch": (
        lambda s: next(c for c in s["checks"] if "inputs" in c["settings"])["settings"]["inputs"].update(
            allowedBranches="*"
        ),
        "-dev, Task Check: mended",
    ),
    "another identity": (
        lambda s: s["endpoints"]["{{ cookiecutter.project_slug }}-test"]["authorization"]["parameters"].update(serviceprincipalid="x"),
        "service connection {{ cookiecutter.project_slug }}-test: mended",
    ),
    "no permission": (lambda s: s["permitted"].pop(next(iter(s["permitted"]))), "train and release may use it: made"),
}


@pytest.mark.parametrize("drift", DEVOPS_DRIFTS)
def test_azure_devops_what_drifted_is_mended_and_nothing_else(devops: Typed, service: Service, drift: str) -> None:
    mended(devops, service, DEVOPS_DRIFTS[drift])
