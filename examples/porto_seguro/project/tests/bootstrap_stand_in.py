"""Stand-ins for GitHub and Azure DevOps behind `gh` and `az`: the words, answers and refusals of the real ones.

They refuse options, routes and keys that the real ones do not know.
"""

import json
import re
from pathlib import Path
from typing import Any

# What each command takes; ! must be there.
WHERE = "--organization! --project!"
POLICY = f"--repository-id! --branch! --enabled! --blocking! --id --branch-match-type {WHERE}"
OPTIONS = {
    "gh api": "--method --input --field --raw-field",
    "gh variable set": "--env --repo! --body! --org --visibility",
    "az account show": "--name",
    "az identity show": "--name! --resource-group!",
    "az identity federated-credential list": "--identity-name! --resource-group!",
    "az identity federated-credential create": "--name! --identity-name! --resource-group! --issuer! --subject! --audiences!",
    "az identity federated-credential update": "--name! --identity-name! --resource-group! --issuer --subject --audiences",
    "az devops project show": "--organization! --project!",
    "az devops user show": "--user! --organization!",
    "az devops security group list": f"--scope --subject-types {WHERE}",
    "az devops service-endpoint list": WHERE,
    "az devops service-endpoint show": f"--id! {WHERE}",
    "az devops service-endpoint create": f"--service-endpoint-configuration! {WHERE}",
    "az devops invoke": "--area! --resource! --http-method --api-version --organization! --route-parameters "
    "--query-parameters --in-file --out-file",
    "az repos show": f"--repository! {WHERE}",
    "az repos policy list": f"--repository-id --branch {WHERE}",
    "az repos policy approver-count create": f"{POLICY} --minimum-approver-count! --creator-vote-counts! "
    "--allow-downvotes! --reset-on-source-push!",
    "az repos policy comment-required create": POLICY,
    "az repos policy merge-strategy create": f"{POLICY} --allow-squash --allow-rebase --allow-rebase-merge "
    "--allow-no-fast-forward",
    "az repos policy build create": f"{POLICY} --build-definition-id! --display-name! --manual-queue-only! "
    "--queue-on-source-update-only! --valid-duration! --path-filter",
    "az repos policy required-reviewer create": f"{POLICY} --required-reviewer-ids! --message! --path-filter",
    "az pipelines list": f"--name {WHERE}",
    "az pipelines show": f"--id! {WHERE}",
    "az pipelines create": f"--name! --repository! --repository-type! --branch! --yml-path! --skip-first-run {WHERE}",
    "az pipelines update": f"--id! --yml-path --branch {WHERE}",
}
for _name in [name for name in OPTIONS if "policy" in name and name.endswith("create")]:
    OPTIONS[_name.replace("create", "update")] = OPTIONS[_name]
MANY = {"--route-parameters", "--query-parameters", "--audiences"}
POLICIES = {
    "approver-count": "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd",
    "comment-required": "c6a1889d-b943-4856-b76f-9e46bb6b0df2",
    "merge-strategy": "fa4e907d-c16b-4a4c-9dfa-4916e5d171ab",
    "build": "0609b952-1397-4640-95ec-e00a01b2c241",
    "required-reviewer": "fd2167ab-b0be-447a-8ec8-39368250530e",
}
CHECKS = {
    "8C6F20A7-A545-4486-9777-F762FAFE0D4D",
    "2EF31AD6-BAA0-403A-8B45-2CBC9B4E5563",
    "FE1DE3EE-A436-41B4-BB20-F6EB4CB879A7",
}
BUILDER = "Microsoft.TeamFoundation.ServiceIdentity;1:Build:2"


class Refused(Exception):
    """What a service says no to; the text is what the program prints."""


class Service:
    """Both services and the identities in Azure.

    Attributes:
        state: what there is.
        commands: all that were run.
        writes: those that change something.
        faults: begin of a command -> how it fails.
    """

    def __init__(self) -> None:
        """A new repository, its identities, two people and a team; nothing else."""
        self.state: dict[str, Any] = {
            "repository": {
                "full_name": "acme/porto", "default_branch": "main", "permissions": {"admin": True},
                "delete_branch_on_merge": False, "allow_squash_merge": True, "allow_merge_commit": True, "allow_rebase_merge": True,
            },
            "subject": {"use_default": True, "use_immutable_subject": False, "sub_claim_prefix": "repo:acme@11/porto@22"},
            "token": {"default_workflow_permissions": "write", "can_approve_pull_request_reviews": False},
            "users": {"ada": 1, "grace": 2}, "teams": {"acme/ml": 3}, "labels": [], "environments": {}, "rulesets": {}, "owners": [],
            "identities": ["dev", "test", "prod"], "trusted": {},
            "people": {"ada@acme.com": "a-1", "grace@acme.com": "g-2"}, "groups": {"Validators": "v-3"},
            "pipelines": {}, "policies": [], "endpoints": {}, "places": {}, "checks": [], "permitted": {}, "templates": {}, "rights": 0,
        }  # fmt: skip
        self.commands: list[str] = []
        self.writes: list[str] = []
        self.faults: dict[str, str] = {}

    def gh_or_az(self, words: list[str], seconds: float) -> tuple[int, str, str]:
        """Run a command that begins with the program's name."""
        line = " ".join(words)
        self.commands.append(line)
        try:
            if fault := next((text for start, text in self.faults.items() if line.startswith(start)), None):
                raise Refused(fault)
            name, free, one = parsed(words)
            method = "_" + re.sub(r"\W", "_", name)
            if name.startswith("az repos policy") and not name.endswith("list"):
                told = self._policy(name.split()[3], one)
            else:
                told = getattr(self, method)(free, one)
        except Refused as error:
            return 1, "", f"{error}\n"
        return 0, "" if told is None else json.dumps(told), ""

    def az(self, words: list[str], seconds: float) -> tuple[int, str, str]:
        """Run a command of `az`."""
        return self.gh_or_az(["az", *words], seconds)

    def _wrote(self, what: str) -> None:
        self.writes.append(what)

    # GitHub
    def _gh_api(self, free: list[str], one: dict[str, Any]) -> Any:
        path, _, _ = free[0].partition("?")
        method = one.get("--method", "GET")
        body = json.loads(Path(one["--input"]).read_text("utf-8")) if "--input" in one else None
        if method != "GET":
            self._wrote(f"{method} {path}")
        if match := re.fullmatch(r"users/(\w+)|orgs/(\w+)/teams/(\w+)", path):
            return {"id": found({**self.state["users"], **self.state["teams"]}, match[1] or f"{match[2]}/{match[3]}")}
        if not path.startswith("repos/acme/porto"):
            raise Refused("gh: Not Found (HTTP 404)")
        rest = path.removeprefix("repos/acme/porto").strip("/")
        for pattern, function in {
            "": self._repository, "labels": self._labels, "actions/permissions/workflow": self._token,
            "actions/oidc/customization/sub": lambda *_: self.state["subject"],
            "codeowners/errors": lambda *_: {"errors": self.state["owners"]},
            r"environments/(\w+)": self._environment, r"environments/(\w+)/variables": self._variables,
            r"environments/(\w+)/deployment-branch-policies": self._branches,
            r"environments/(\w+)/deployment-branch-policies/(\d+)": self._branch,
            "rulesets": self._rulesets, r"rulesets/(\d+)": self._ruleset,
        }.items():  # fmt: skip
            if match := re.fullmatch(pattern, rest):
                return function(method, body, *match.groups())
        raise Refused("gh: Not Found (HTTP 404)")

    def _repository(self, method: str, body: Any) -> Any:
        allowed(method, "GET", "PATCH")
        return updated(self.state["repository"], body or {})

    def _token(self, method: str, body: Any) -> Any:
        allowed(method, "GET", "PUT")
        return updated(self.state["token"], body or {})

    def _labels(self, method: str, body: Any) -> Any:
        if method == "POST":
            if body["name"] in [one["name"] for one in self.state["labels"]]:
                raise Refused("gh: Validation Failed (HTTP 422)")
            self.state["labels"].append(body)
        return self.state["labels"]

    def _environment(self, method: str, body: Any, name: str) -> Any:
        allowed(method, "GET", "PUT")
        if method == "GET":
            return found(self.state["environments"], name)
        keys(body, "reviewers", "prevent_self_review", "deployment_branch_policy", "wait_timer")
        rules: list[Any] = [{"type": "branch_policy"}]
        if body["reviewers"]:
            asked = [{"type": one["type"], "reviewer": {"id": one["id"]}} for one in body["reviewers"]]
            rules.append({
                "type": "required_reviewers", "reviewers": asked, "prevent_self_review": body.get("prevent_self_review", False),
            })  # fmt: skip
        there = self.state["environments"].setdefault(name, {"name": name, "_variables": {}, "_branches": []})
        there |= {"protection_rules": rules, "deployment_branch_policy": body["deployment_branch_policy"]}
        return there

    def _variables(self, method: str, body: Any, name: str) -> Any:
        held = found(self.state["environments"], name)["_variables"]
        return {"variables": [{"name": key, "value": value} for key, value in held.items()]}

    def _gh_variable_set(self, free: list[str], one: dict[str, Any]) -> Any:
        self._wrote(f"variable {free[0]} of {one['--env']}")
        found(self.state["environments"], one["--env"])["_variables"][free[0]] = one["--body"]

    def _branches(self, method: str, body: Any, name: str) -> Any:
        held = found(self.state["environments"], name)["_branches"]
        if method == "POST":
            keys(body, "name", "type")
            held.append(body | {"id": 100 + len(held)})
        return {"branch_policies": held}

    def _branch(self, method: str, body: Any, name: str, number: str) -> Any:
        allowed(method, "DELETE")
        held = found(self.state["environments"], name)["_branches"]
        held[:] = [one for one in held if one["id"] != int(number)]

    def _rulesets(self, method: str, body: Any) -> Any:
        if method == "POST":
            return self._ruleset("PUT", body, str(len(self.state["rulesets"]) + 1))
        return [{"id": int(key), "name": one["name"]} for key, one in self.state["rulesets"].items()]

    def _ruleset(self, method: str, body: Any, number: str) -> Any:
        if method == "PUT":
            keys(body, "name", "target", "enforcement", "bypass_actors", "conditions", "rules")
            self.state["rulesets"][number] = body | {"id": int(number)}
        return found(self.state["rulesets"], number)

    # Azure
    def _az_account_show(self, free: list[str], one: dict[str, Any]) -> Any:
        return {"id": "subscription", "name": "Ours", "tenantId": "tenant"}

    def _az_identity_show(self, free: list[str], one: dict[str, Any]) -> Any:
        name = one["--resource-group"].rpartition("-")[2]
        if name not in self.state["identities"] or not one["--name"].endswith(f"-{name}-pipeline"):
            what = f"Microsoft.ManagedIdentity/userAssignedIdentities/{one['--name']}"
            raise Refused(f"ERROR: (ResourceNotFound) The Resource '{what}' under resource group 'rg' was not found.")
        return {"clientId": f"client-{name}", "tenantId": "tenant"}

    def _az_identity_federated_credential_list(self, free: list[str], one: dict[str, Any]) -> Any:
        return self.state["trusted"].get(one["--identity-name"], [])

    def _az_identity_federated_credential_create(self, free: list[str], one: dict[str, Any]) -> Any:
        self._wrote(f"trust of {one['--identity-name']}")
        there = self.state["trusted"].setdefault(one["--identity-name"], [])
        there[:] = [c for c in there if c["name"] != one["--name"]]
        if any((c["issuer"], c["subject"]) == (one["--issuer"], one["--subject"]) for c in there):
            raise Refused(
                "ERROR: (BadRequest) Issuer and subject combination already exists for this Managed Identity."
            )
        there.append(
            {key: one[f"--{key}"] for key in ("name", "issuer", "subject")} | {"audiences": one["--audiences"]}
        )

    _az_identity_federated_credential_update = _az_identity_federated_credential_create

    # Azure DevOps
    def _az_devops_project_show(self, free: list[str], one: dict[str, Any]) -> Any:
        if one["--project"] != "risk":
            raise Refused("ERROR: VS800075: The project does not exist, or you do not have permission to access it.")
        return {"id": "p-1", "name": "risk", "defaultTeam": {"name": "risk Team"}}

    def _az_repos_show(self, free: list[str], one: dict[str, Any]) -> Any:
        return {"id": "r-1", "defaultBranch": "refs/heads/main"}

    def _az_devops_user_show(self, free: list[str], one: dict[str, Any]) -> Any:
        return {"id": found(self.state["people"], one["--user"])}

    def _az_devops_security_group_list(self, free: list[str], one: dict[str, Any]) -> Any:
        return {"graphGroups": [{"displayName": key, "originId": value} for key, value in self.state["groups"].items()]}

    def _az_pipelines_list(self, free: list[str], one: dict[str, Any]) -> Any:
        return [{"name": key, "id": number} for key, (number, _) in self.state["pipelines"].items()]

    def _az_pipelines_show(self, free: list[str], one: dict[str, Any]) -> Any:
        number, file = next(p for p in self.state["pipelines"].values() if str(p[0]) == one["--id"])
        return {"id": number, "process": {"yamlFilename": "/" + file}}

    def _az_pipelines_create(self, free: list[str], one: dict[str, Any]) -> Any:
        self._wrote(f"pipeline {one['--name']}")
        if one["--skip-first-run"] != "true" or one["--name"] in self.state["pipelines"]:
            raise Refused("ERROR: a pipeline ran, or is made twice")
        self.state["pipelines"][one["--name"]] = [len(self.state["pipelines"]) + 1, one["--yml-path"]]
        return {"id": len(self.state["pipelines"])}

    def _az_pipelines_update(self, free: list[str], one: dict[str, Any]) -> Any:
        self._wrote(f"pipeline {one['--id']}")
        next(p for p in self.state["pipelines"].values() if str(p[0]) == one["--id"])[1] = one["--yml-path"]

    def _az_repos_policy_list(self, free: list[str], one: dict[str, Any]) -> Any:
        return self.state["policies"]

    def _policy(self, kind: str, one: dict[str, Any]) -> Any:
        self._wrote(f"policy {kind}")
        shared = {option.rstrip("!") for option in POLICY.split()}
        names = {"--path-filter": "filenamePatterns"}
        settings = {}
        for option, value in one.items():
            if option not in shared:
                name = names.get(option) or re.sub(r"-(\w)", lambda m: m[1].upper(), option[2:])
                many = name in ("filenamePatterns", "requiredReviewerIds")
                number = re.fullmatch(r"\d+", value)
                settings[name] = (
                    value.split(";")
                    if many
                    else value == "true"
                    if value in ("true", "false")
                    else float(value)
                    if number
                    else value
                )
        made = {"id": int(one.get("--id", len(self.state["policies"]) + 1)), "type": {"id": POLICIES[kind]}}
        settings["scope"] = [
            {"repositoryId": one["--repository-id"], "refName": "refs/heads/main", "matchKind": "Exact"}
        ]
        made |= {
            "isEnabled": one["--enabled"] == "true",
            "isBlocking": one["--blocking"] == "true",
            "settings": settings,
        }
        self.state["policies"] = [p for p in self.state["policies"] if p["id"] != made["id"]] + [made]
        return made

    def _az_devops_service_endpoint_list(self, free: list[str], one: dict[str, Any]) -> Any:
        return list(self.state["endpoints"].values())

    def _az_devops_service_endpoint_show(self, free: list[str], one: dict[str, Any]) -> Any:
        return next(e for e in self.state["endpoints"].values() if e["id"] == one["--id"])

    def _az_devops_service_endpoint_create(self, free: list[str], one: dict[str, Any]) -> Any:
        told = json.loads(Path(one["--service-endpoint-configuration"]).read_text("utf-8"))
        self._wrote(f"service connection {told['name']}")
        issuer = {"workloadIdentityFederationIssuer": "https://login.microsoftonline.com/tenant/v2.0"}
        subject = {"workloadIdentityFederationSubject": f"/eid1/c/pub/t/x/a/y/sc/z/{told['name']}"}
        made = told | {"id": f"e-{told['name']}"}
        self.state["endpoints"][told["name"]] = json.loads(json.dumps(made))
        self.state["endpoints"][told["name"]]["authorization"]["parameters"] |= issuer | subject
        return made  # issuer and subject are told a little later

    def _az_devops_invoke(self, free: list[str], one: dict[str, Any]) -> Any:
        pairs = [*one.get("--route-parameters", []), *one.get("--query-parameters", [])]
        told = dict(pair.split("=", 1) for pair in pairs)
        body = json.loads(Path(one["--in-file"]).read_text("utf-8")) if "--in-file" in one else None
        method, resource = one.get("--http-method", "GET"), f"{one['--area']}/{one['--resource']}"
        if not re.fullmatch(r"\d\.\d(-preview)?", one["--api-version"]):
            raise Refused("ERROR: could not convert string to float")
        if method != "GET":
            self._wrote(f"{method} {resource} {told.get('resourceId', '')}".strip())
        functions = {
            "distributedtask/environments": self._places, "PipelinesChecks/configurations": self._checks,
            "pipelinePermissions/pipelinePermissions": self._permissions, "serviceendpoint/endpoints": self._endpoint,
            "wit/templates": self._templates, "IMS/identities": self._builder,
            "Security/AccessControlLists": self._rights, "Security/AccessControlEntries": self._grant,
        }  # fmt: skip
        return found(functions, resource)(method, told, body)

    def _places(self, method: str, told: dict[str, str], body: Any) -> Any:
        if method == "GET":
            return {"value": list(self.state["places"].values())}
        self.state["places"][body["name"]] = {"id": 10 + len(self.state["places"]), "name": body["name"]}
        return self.state["places"][body["name"]]

    def _checks(self, method: str, told: dict[str, str], body: Any) -> Any:
        if method == "GET":
            there = [c for c in self.state["checks"] if c["resource"]["id"] == told["resourceId"]]
            return {"value": there if told.get("$expand") == "settings" else [c | {"settings": None} for c in there]}
        keys(body, "type", "settings", "resource", "timeout")
        if body["type"]["id"] not in CHECKS:
            raise Refused("ERROR: no such check")
        asked = body["settings"].get("approvers")
        if asked is not None and not 1 <= body["settings"]["minRequiredApprovers"] <= len(asked):
            raise Refused("ERROR: Minimum number of approvers is not valid.")
        number = int(told["id"]) if method == "PATCH" else len(self.state["checks"]) + 1
        self.state["checks"] = [c for c in self.state["checks"] if c["id"] != number] + [body | {"id": number}]

    def _permissions(self, method: str, told: dict[str, str], body: Any) -> Any:
        key = f"{told['resourceType']} {told['resourceId']}"
        if method == "PATCH":
            self.state["permitted"][key] = body["pipelines"]
        return {"pipelines": self.state["permitted"].get(key, [])}

    def _endpoint(self, method: str, told: dict[str, str], body: Any) -> Any:
        allowed(method, "PUT")
        there = next(e for e in self.state["endpoints"].values() if e["id"] == told["endpointId"])
        body["authorization"]["parameters"] = there["authorization"]["parameters"] | body["authorization"]["parameters"]
        self.state["endpoints"][body["name"]] = body
        return body

    def _templates(self, method: str, told: dict[str, str], body: Any) -> Any:
        if told["team"] != "risk Team":
            raise Refused("ERROR: The team with id does not exist.")
        if method == "GET" and "templateId" in told:
            return self.state["templates"][told["templateId"]]
        if method == "GET":
            return {"value": [{"id": key, "name": one["name"]} for key, one in self.state["templates"].items()]}
        keys(body, "name", "description", "workItemTypeName", "fields")
        key = told.get("templateId", f"t{len(self.state['templates'])}")
        self.state["templates"][key] = body | {"id": key}
        return None

    def _builder(self, method: str, told: dict[str, str], body: Any) -> Any:
        known = told == {"searchFilter": "General", "filterValue": "risk Build Service (acme)"}
        return {"value": [{"descriptor": BUILDER}] if known else []}

    def _rights(self, method: str, told: dict[str, str], body: Any) -> Any:
        held = {BUILDER: {"descriptor": BUILDER, "allow": self.state["rights"], "deny": 0}}
        return {"value": [{"token": told["token"], "acesDictionary": held}] if self.state["rights"] else []}

    def _grant(self, method: str, told: dict[str, str], body: Any) -> Any:
        keys(body, "token", "merge", "accessControlEntries")
        whose = "repoV2/p-1/r-1"
        if whose != body["token"] or body["accessControlEntries"][0]["descriptor"] != BUILDER:
            raise Refused("ERROR: no such token")
        self.state["rights"] |= body["accessControlEntries"][0]["allow"]


def parsed(words: list[str]) -> tuple[str, list[str], dict[str, Any]]:
    """Part a command into its name, free words and options; what the real one does not take is refused."""
    name = next((" ".join(words[:n]) for n in range(len(words), 0, -1) if " ".join(words[:n]) in OPTIONS), None)
    if name is None:
        raise Refused(f"ERROR: '{' '.join(words[:4])}' is misspelled or not recognized by the system.")
    known = {option.rstrip("!") for option in OPTIONS[name].split()} | ({"-o"} if words[0] == "az" else set())
    free, options, at = list[str](), dict[str, Any](), ""
    for word in words[len(name.split()) :]:
        if word.startswith("-"):
            if word not in known or word in options:
                raise Refused(f"unrecognized arguments: {word}")
            options[word], at = ([] if word in MANY else ""), word
        elif at in MANY:
            options[at].append(word)
        elif at:
            options[at], at = word, ""
        elif words[0] == "gh" and not free:
            free.append(word)
        else:
            raise Refused(f"unrecognized arguments: {word}")
    if lacking := [
        option[:-1] for option in OPTIONS[name].split() if option.endswith("!") and option[:-1] not in options
    ]:
        raise Refused(f"the following arguments are required: {', '.join(lacking)}")
    options.pop("-o", None)
    return name, free, options


def found(where: dict[str, Any], key: str) -> Any:
    """Return what is there under a name."""
    if key not in where:
        raise Refused(f"gh: Not Found (HTTP 404): {key}")
    return where[key]


def updated(there: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Change what is known; further keys are refused."""
    if unknown := body.keys() - there.keys():
        raise Refused(f"gh: Validation Failed (HTTP 422): {unknown}")
    there |= body
    return there


def keys(body: dict[str, Any], *known: str) -> None:
    """Refuse keys that a service does not know."""
    if unknown := body.keys() - set(known):
        raise Refused(f"gh: Validation Failed (HTTP 422): {unknown}")


def allowed(method: str, *methods: str) -> None:
    """Refuse a method."""
    if method not in methods:
        raise Refused("gh: Not Found (HTTP 404)")
