"""A stand-in for the command line of Azure: no network, but the words, answers, rules and failures of the real one.

It refuses what the real `az` refuses: unknown options, traffic that does not add up, copies beside live traffic. As a
script it is the `az` on the PATH, and keeps its state in the file that AZ_STAND_IN names; in a test, it is called.
"""

import copy
import fnmatch
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What each command takes, from the reference of the Azure CLI (August 2026); ! must be there, ? takes no value.
ML = "--resource-group! --workspace-name!"
ASSET = "--resource-group --workspace-name --registry-name"
OPTIONS = {
    "account get-access-token": "--resource --scope --name --tenant --resource-type",
    "account show": "--name",
    "ad signed-in-user show": "",
    "acr build": "--registry! --image --build-arg --file --no-logs? --no-push? --platform --resource-group --timeout",
    "acr check-name": "--name! --resource-group --dnl-scope",
    "consumption budget list": "--resource-group --max-items --next-token",
    "deployment group create": "--resource-group! --name --template-file --parameters --mode --no-prompt --no-wait?",
    "deployment group what-if": "--resource-group! --name --template-file --parameters --no-pretty-print? --result-format",
    "group create": "--resource-group! --location! --tags",
    "group delete": "--resource-group! --yes? --no-wait?",
    "group exists": "--resource-group!",
    "identity show": "--name! --resource-group!",
    "keyvault check-name": "--name! --resource-type",
    "keyvault list-deleted": "--resource-type",
    "keyvault recover": "--name! --location --resource-group --no-wait?",
    "functionapp function list": "--name! --resource-group!",
    "functionapp deployment source config-zip": "--src! --name --resource-group --build-remote --timeout --slot",
    "ml batch-deployment create": f"{ML} --file! --name --endpoint-name --set --set-default? --skip-script-validation? "
    "--no-wait?",
    "ml batch-endpoint create": f"{ML} --name --file --set --no-wait?",
    "ml batch-endpoint invoke": f"{ML} --name! --deployment-name --experiment-name --file --input --input-type --inputs "
    "--instance-count --job-name --mini-batch-size --output-path --outputs --set",
    "ml batch-endpoint show": f"{ML} --name!",
    "ml batch-endpoint update": f"{ML} --name --file --set --add --remove --defaults --force-string? --no-wait?",
    "ml data create": f"{ASSET} --name --version --type --path --file --description --datastore --set --no-wait?",
    "ml data list": f"{ASSET} --name --max-results --archived-only? --include-archived?",
    "ml data share": "--name! --version! --registry-name! --share-with-name! --share-with-version! --resource-group "
    "--workspace-name",
    "ml data show": f"{ASSET} --name! --version --label",
    "ml datastore create": f"{ML} --file! --name --set",
    "ml datastore show": f"{ML} --name!",
    "ml environment create": f"{ASSET} --name --version --file --image --conda-file --build-context --tags --set",
    "ml environment show": f"{ASSET} --name! --version --label",
    "ml job create": f"{ML} --file! --name --set --save-as --stream? --web? --skip-validation?",
    "ml job download": f"{ML} --name! --output-name --download-path --all?",
    "ml job list": f"{ML} --parent-job-name --max-results --all-results? --archived-only? --include-archived?",
    "ml job show": f"{ML} --name! --web?",
    "ml job stream": f"{ML} --name!",
    "ml model create": f"{ASSET} --name --version --type --path --file --description --stage --tags --datastore --set",
    "ml model list": f"{ASSET} --name --max-results --stage --archived-only? --include-archived?",
    "ml model share": "--name! --version! --registry-name! --share-with-name! --share-with-version! --resource-group "
    "--workspace-name",
    "ml model show": f"{ASSET} --name! --version --label",
    "ml online-deployment create": f"{ML} --file! --name --endpoint-name --all-traffic? --local? --set --no-wait?",
    "ml online-deployment delete": f"{ML} --name! --endpoint-name! --yes? --no-wait? --local?",
    "ml online-deployment get-logs": f"{ML} --name! --endpoint-name! --lines --container --local?",
    "ml online-deployment list": f"{ML} --endpoint-name! --local?",
    "ml online-deployment show": f"{ML} --name! --endpoint-name! --local?",
    "ml online-endpoint create": f"{ML} --name --file --auth-mode --set --no-wait? --local?",
    "ml online-endpoint delete": f"{ML} --name! --yes? --no-wait? --local?",
    "ml online-endpoint show": f"{ML} --name! --local? --web?",
    "ml online-endpoint update": f"{ML} --name --file --traffic --mirror-traffic --set --add --remove --force-string? "
    "--no-wait? --local?",
    "ml registry create": "--resource-group! --name --file --display-name --public-network-access --tags --set --no-wait?",
    "ml registry show": "--resource-group! --name!",
    "ml schedule create": "--resource-group! --workspace-name --file! --name --set --no-wait?",
    "ml workspace delete": "--resource-group! --name! --all-resources? --permanently-delete? --yes? --no-wait?",
    "ml workspace show": "--resource-group! --name!",
    "monitor autoscale create": "--resource-group --name --resource! --count! --min-count --max-count --location --disabled "
    "--tags --action",
    "monitor autoscale delete": "--resource-group --name",
    "monitor autoscale list": "--resource-group!",
    "monitor autoscale rule create": "--resource-group --autoscale-name! --condition! --scale! --cooldown --timegrain",
    "monitor diagnostic-settings create": "--name! --resource! --resource-group --workspace --logs --metrics --storage-account "
    "--event-hub --event-hub-rule --export-to-resource-specific --resource-type",
    "monitor log-analytics query": "--workspace! --analytics-query! --timespan --workspaces",
    "monitor log-analytics workspace show": "--resource-group! --workspace-name!",
    "resource list": "--name --resource-type --resource-group --location --namespace --tag",
    "role assignment create": "--assignee --assignee-object-id --assignee-principal-type --role! --scope! --description",
    "storage account blob-service-properties update": "--account-name! --resource-group --enable-versioning "
    "--enable-delete-retention --delete-retention-days",
    "storage account check-name": "--name!",
    "storage account create": "--name! --resource-group! --location --sku --kind --allow-shared-key-access "
    "--allow-blob-public-access --min-tls-version --https-only --tags --access-tier",
    "storage container-rm create": "--name! --storage-account! --resource-group --public-access --fail-on-exist?",
    "storage blob upload": "--account-name --auth-mode --container-name --name --file --overwrite --content-type "
    "--no-progress?",
    "storage blob download-batch": "--destination! --source! --account-name --auth-mode --pattern --overwrite "
    "--no-progress? --dryrun? --max-connections",
}
ONE_EACH = {"--build-arg"}  # options that take one value, and stand there again for another
READS = re.compile(
    r"\b(get-access-token|show|list|list-deleted|exists|check-name|query|what-if|download(-batch)?|get-logs|stream)$"
)
COLUMNS = {  # of the table AmlOnlineEndpointTrafficLog, those that may be asked for
    "TimeGenerated", "EndpointName", "DeploymentName", "AzureMLWorkspaceName", "ResponseCode", "TotalDurationMs",
}  # fmt: skip
DEPLOYMENT = {  # keys of a deployment's file
    "$schema", "name", "endpoint_name", "model", "model_mount_path", "environment", "environment_variables", "tags",
    "instance_type", "instance_count", "app_insights_enabled", "scale_settings", "request_settings", "liveness_probe",
    "readiness_probe", "data_collector", "type", "resources", "description", "code_configuration",
}  # fmt: skip
THROTTLED = "ERROR: (TooManyRequests) The request is being throttled. Retry-After: 7"
EXPIRED = "ERROR: AADSTS700082: The refresh token has expired due to inactivity.\nInteractive login is needed: az login"
NETWORK = "ERROR: HTTPSConnectionPool: Max retries exceeded: Failed to establish a new connection"
TOKEN = "stand-in"  # what lets somebody score
FORBIDDEN = "ERROR: (AuthorizationFailed) The client does not have authorization to perform action 'write'."


class Refused(Exception):
    """What Azure says no to; the text is what az prints."""


def absent(kind: str, name: str) -> Refused:
    """Azure does not find something in the workspace."""
    what = f"Microsoft.MachineLearningServices/workspaces/mlw/{kind}/{name}"
    return Refused(f"(ResourceNotFound) The Resource '{what}' under resource group 'rg' was not found.")


def never() -> None:
    """Die where no crash was asked for."""
    raise AssertionError("no crash was asked for")


class Cloud:
    """What there is in Azure, and what shall go wrong next.

    Attributes:
        state: everything, as JSON has it.
        commands: all that were run, as one line each.
        writes: how many of them change something.
        crash_at, after: the process dies at this write, before or after it was done.
        dies: raises, in place of a process that ends.
        asked: is called before traffic is counted.

    With `scoring_uri` in the state, that is where every online endpoint answers.
    """

    def __init__(self, dies: Callable[[], None] = never) -> None:
        """Begin with a workspace and nothing in it."""
        self.state: dict[str, Any] = {
            "models": {}, "shared": {}, "data": {}, "shared_data": {}, "environments": {}, "jobs": {}, "endpoints": {}, "deployments": {},
            "batch": {}, "registries": {}, "groups": [], "blobs": {}, "traffic": [], "taken": [], "faults": [], "scaling": {}, "schedules": {},
            "failing": {}, "logs": {}, "outputs": {}, "deleted_vaults": [], "budgets": [], "roles": [], "accounts": {},
        }  # fmt: skip
        self.commands: list[str] = []
        self.writes, self.crash_at, self.after, self.dies = 0, -1, False, dies
        self.asked: Callable[[], None] = lambda: None

    def fail(self, command: str, error: str, times: int = 1) -> None:
        """Let the next commands that begin like this fail with an error."""
        self.state["faults"].append({"command": command, "error": error, "times": times})

    def __call__(self, words: list[str], seconds: float = 0) -> tuple[int, str, str]:
        """Run a command: exit code, output, errors."""
        self.commands.append(" ".join(words))
        try:
            name, options, free = parsed(words)
            for fault in self.state["faults"]:
                if fault["times"] and name.startswith(fault["command"]):
                    fault["times"] -= 1
                    raise Refused(fault["error"].removeprefix("ERROR: "))
            told = self._done(name, options, free)
        except Refused as error:
            return 1, "", f"ERROR: {error}\n"
        return 0, "" if told is None else json.dumps(told), ""

    def _done(self, name: str, options: dict[str, list[str]], free: list[str]) -> Any:
        function = getattr(self, "_" + re.sub(r"\W", "_", name))
        one = {key: " ".join(values) for key, values in options.items()} | {"free": " ".join(free)}
        if READS.search(name):
            return function(one, options)
        crash = self.writes == self.crash_at
        self.writes += 1
        if crash and not self.after:
            self.dies()
        told = function(one, options)
        if crash:
            self.dies()
        return told

    # Accounts, groups, names
    def _account_show(self, one: dict[str, str], _: Any) -> Any:
        return {"id": "11111111-2222-3333-4444-555555555555", "user": {"name": "somebody@example.com"}}

    def _account_get_access_token(self, one: dict[str, str], _: Any) -> Any:
        if one.get("--resource", "").rstrip("/") != "https://ml.azure.com":
            raise Refused(f"(invalid_resource) AADSTS500011: {one.get('--resource')} has no endpoints.")
        return {"accessToken": TOKEN, "tokenType": "Bearer", "expiresOn": "2026-11-25 12:00:00.000000"}

    def _group_exists(self, one: dict[str, str], _: Any) -> Any:
        return one["--resource-group"] in self.state["groups"]

    def _in_group(self, one: dict[str, str]) -> None:
        if one["--resource-group"] not in self.state["groups"]:
            raise Refused(f"(ResourceGroupNotFound) Resource group '{one['--resource-group']}' could not be found.")

    def _group_create(self, one: dict[str, str], _: Any) -> Any:
        self.state["groups"] = sorted({*self.state["groups"], one["--resource-group"]})
        return {"name": one["--resource-group"]}

    def _group_delete(self, one: dict[str, str], options: Any) -> Any:
        if "--yes" not in options:
            raise Refused("Unable to prompt for confirmation as no tty available. Use --yes.")
        self.state["groups"].remove(one["--resource-group"])

    def _deployment_group_create(self, one: dict[str, str], _: Any) -> Any:
        self._in_group(one)
        if self.state["deleted_vaults"]:
            raise Refused("(VaultAlreadyExists) A vault with the same name already exists in deleted state.")
        for budget in self.state["budgets"]:
            if f"budgetStart={budget['timePeriod']['startDate'][:10]}" not in one["--parameters"].split():
                raise Refused("(400) The start date of the budget cannot be updated.")
        return {"properties": {"provisioningState": "Succeeded"}}

    def _deployment_group_what_if(self, one: dict[str, str], _: Any) -> Any:
        self._in_group(one)
        base = "/subscriptions/s/resourceGroups/rg/providers/Microsoft"
        return {"changes": [
            {"changeType": "Create", "resourceId": f"{base}.Storage/storageAccounts/st"},
            {"changeType": "NoChange", "resourceId": f"{base}.KeyVault/vaults/kv"},
        ]}  # fmt: skip

    def _free(self, one: dict[str, str], _: Any) -> Any:
        taken = one["--name"] in self.state["taken"]
        return {"nameAvailable": not taken, "message": "The name is already taken." if taken else None}

    def _identity_show(self, one: dict[str, str], _: Any) -> Any:
        self._in_group(one)
        return {"name": one["--name"], "principalId": f"principal of {one['--name']}"}

    def _ad_signed_in_user_show(self, one: dict[str, str], _: Any) -> Any:
        return {"id": "somebody"}

    def _role_assignment_create(self, one: dict[str, str], _: Any) -> Any:
        keys = ("--assignee-object-id", "--assignee-principal-type", "--role", "--scope")
        given = [one[key] for key in keys]
        if given in self.state["roles"]:
            raise Refused("(RoleAssignmentExists) The role assignment already exists.")
        self.state["roles"].append(given)
        return {"principalId": given[0]}

    def _resource_list(self, one: dict[str, str], _: Any) -> Any:
        return [
            {"name": name, "resourceGroup": told.get("group", "rg"), "id": f"/subscriptions/s/{name}"}
            for name, told in self.state["registries"].items()
            if name == one["--name"]
        ]

    def _keyvault_list_deleted(self, one: dict[str, str], _: Any) -> Any:
        return self.state["deleted_vaults"]

    def _keyvault_recover(self, one: dict[str, str], _: Any) -> Any:
        self._in_group(one)
        self.state["deleted_vaults"] = [v for v in self.state["deleted_vaults"] if v["name"] != one["--name"]]

    def _consumption_budget_list(self, one: dict[str, str], _: Any) -> Any:
        return self.state["budgets"]

    def _storage_account_create(self, one: dict[str, str], _: Any) -> Any:
        self._in_group(one)
        if not re.fullmatch(r"[a-z0-9]{3,24}", one["--name"]):
            raise Refused(f"(AccountNameInvalid) {one['--name']} is not a valid storage account name.")
        self.state["accounts"][one["--name"]] = one
        return {"id": f"/subscriptions/s/{one['--name']}"}

    def _storage_account_blob_service_properties_update(self, one: dict[str, str], _: Any) -> Any:
        account = found(self.state["accounts"], one["--account-name"], "storageAccounts")
        account["versioning"] = one["--enable-versioning"]

    def _storage_container_rm_create(self, one: dict[str, str], _: Any) -> Any:
        found(self.state["accounts"], one["--storage-account"], "storageAccounts")["container"] = one["--name"]

    _acr_check_name = _keyvault_check_name = _storage_account_check_name = _free

    # Assets
    def _ml_workspace_show(self, one: dict[str, str], _: Any) -> Any:
        uri = "azureml://westeurope.api.azureml.ms/mlflow/v1.0/x"
        return {"name": one["--name"], "mlflow_tracking_uri": uri, "id": f"/subscriptions/s/workspaces/{one['--name']}"}

    def _ml_workspace_delete(self, one: dict[str, str], options: Any) -> Any:
        if "--yes" not in options:
            raise Refused("Unable to prompt for confirmation as no tty available. Use --yes.")
        self.state["workspace"] = "gone" if "--permanently-delete" in options else "its name is taken for 14 days"

    def _models(self, one: dict[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = self.state["shared" if "--registry-name" in one else "models"]
        return found

    def _ml_model_list(self, one: dict[str, str], _: Any) -> Any:
        self._registry(one)
        return list(self._models(one).values())

    def _registry(self, one: dict[str, str]) -> None:
        name = one.get("--registry-name", "")
        if name and name not in self.state["registries"] and not self.state["shared"]:
            what = f"Microsoft.MachineLearningServices/registries/{name}"
            raise Refused(f"(ResourceNotFound) The Resource '{what}' under resource group 'rg' was not found.")

    def _ml_model_show(self, one: dict[str, str], _: Any) -> Any:
        return found(self._models(one), one["--version"], "models")

    def _ml_model_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        models, version = self._models(one), one["--version"]
        if version in models:
            raise Refused(f"(UserError) A model with this name and version {version} already exists.")
        tags = dict(text.split("=", 1) for text in options.get("--tags", []))
        limits(tags, 200)
        if one["--path"].startswith("azureml://jobs/"):
            self._job(one["--path"].split("/")[3])
        models[version] = {
            "name": one["--name"],
            "version": version,
            "type": one["--type"],
            "path": one["--path"],
            "tags": tags,
        }
        return models[version]

    def _ml_model_share(self, one: dict[str, str], _: Any) -> Any:
        self._registry(one)
        if one["--share-with-version"] in self.state["shared"]:
            raise Refused("(Conflict) The version already exists in the registry.")
        model = copy.deepcopy(found(self.state["models"], one["--version"], "models"))
        self.state["shared"][one["--share-with-version"]] = model
        return model

    def _ml_registry_show(self, one: dict[str, str], _: Any) -> Any:
        return found(self.state["registries"], one["--name"], "registries")

    def _ml_registry_create(self, one: dict[str, str], _: Any) -> Any:
        told = read(one["--file"])
        self.state["registries"][told["name"]] = told | {"group": one["--resource-group"]}
        return told

    def _ml_data_show(self, one: dict[str, str], _: Any) -> Any:
        self._registry(one)
        where = self.state["shared_data" if "--registry-name" in one else "data"]
        return found(where, f"{one['--name']}:{one['--version']}", "data")

    def _ml_data_share(self, one: dict[str, str], _: Any) -> Any:
        self._registry(one)
        key = f"{one['--share-with-name']}:{one['--share-with-version']}"
        if key in self.state["shared_data"]:
            raise Refused("(Conflict) The version already exists in the registry.")
        data = copy.deepcopy(found(self.state["data"], f"{one['--name']}:{one['--version']}", "data"))
        self.state["shared_data"][key] = data
        return data

    def _ml_data_list(self, one: dict[str, str], _: Any) -> Any:
        return [told for told in self.state["data"].values() if told["name"] == one["--name"]]

    def _ml_data_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        key = f"{one['--name']}:{one['--version']}"
        if key in self.state["data"]:
            raise Refused(f"(UserError) The data asset {key} already exists.")
        if not Path(one["--path"]).is_dir():
            raise Refused("(UserError) The path does not exist.")
        when = {"created_at": f"2026-01-01T00:00:{len(self.state['data']):02d}+00:00"}
        about = {"name": one["--name"], "version": one["--version"], "type": one["--type"], "creation_context": when}
        about["path"] = one["--path"]
        self.state["data"][key] = about
        return self.state["data"][key]

    def _ml_environment_show(self, one: dict[str, str], _: Any) -> Any:
        return found(self.state["environments"], f"{one['--name']}:{one['--version']}", "environments")

    def _ml_environment_create(self, one: dict[str, str], _: Any) -> Any:
        told = read(one["--file"])
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@sha256:[0-9a-f]{64}", told["image"]):
            raise Refused(f"(UserError) {told['image']} is no image by digest.")
        self.state["environments"][f"{told['name']}:{told['version']}"] = told
        return told

    def _acr_build(self, one: dict[str, str], _: Any) -> Any:
        if not (Path(one["free"]) / "Dockerfile").is_file():
            raise Refused("Unable to find 'Dockerfile'.")
        return {"status": "Succeeded", "outputImages": [{"tag": one["--image"], "digest": "sha256:" + "a" * 64}]}

    def _ml_datastore_show(self, one: dict[str, str], _: Any) -> Any:
        return {"name": one["--name"], "account_name": "stshopdev", "container_name": "azureml-blobstore-1"}

    def _storage_blob_upload(self, one: dict[str, str], _: Any) -> Any:
        self.state["blobs"][f"{one['--container-name']}/{one['--name']}"] = Path(one["--file"]).read_text("utf-8")

    def _storage_blob_download_batch(self, one: dict[str, str], _: Any) -> Any:
        if one.get("--auth-mode") != "login":
            raise Refused("(KeyBasedAuthenticationNotPermitted) Key based authentication is not permitted.")
        taken = [name for name in self.state["blobs"] if fnmatch.fnmatch(name, one.get("--pattern", "*"))]
        for name in taken:
            path = Path(one["--destination"]) / name
            if path.exists() and one.get("--overwrite") != "true":
                raise Refused(f"The file {path} exists.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.state["blobs"][name], "utf-8")
        return taken

    # Jobs
    def _job(self, name: str) -> dict[str, Any]:
        job: dict[str, Any] = found(self.state["jobs"], name, "jobs")
        return job

    def _ml_job_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        if one["--name"] in self.state["jobs"]:
            raise Refused(f"(UserError) A job named {one['--name']} already exists.")
        told = read(one["--file"])
        for text in options.get("--set", []):
            key, value = text.split("=", 1)
            put(told, key.split("."), value)
        job = {"name": one["--name"], "statuses": ["Preparing", "Running", "Completed"], "spec": told}
        self.state["jobs"][one["--name"]] = job
        return {"name": one["--name"], "status": "NotStarted"}

    def _ml_job_show(self, one: dict[str, str], _: Any) -> Any:
        job = self._job(one["--name"])
        statuses = job["statuses"]
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        told = {"name": one["--name"], "tags": job.get("spec", {}).get("tags", {})}
        return told | ({"status": status} if status is not None else {})

    def _ml_job_stream(self, one: dict[str, str], _: Any) -> Any:
        return self._job(one["--name"]) and None  # and exit code 0, whatever became of it

    def _ml_job_list(self, one: dict[str, str], _: Any) -> Any:
        return self._job(one["--parent-job-name"]).get("steps", [])

    def _ml_job_download(self, one: dict[str, str], _: Any) -> Any:
        files = found(self.state["outputs"], f"{one['--name']}/{one['--output-name']}", "outputs")
        for name, text in files.items():
            path = Path(one["--download-path"]) / "named-outputs" / one["--output-name"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def _ml_batch_endpoint_invoke(self, one: dict[str, str], _: Any) -> Any:
        found(self.state["batch"], one["--name"], "batchEndpoints")
        name = f"batchjob-{len(self.state['jobs'])}"
        self.state["jobs"][name] = {"name": name, "statuses": ["Completed"], "spec": read(one["--file"])}
        return {"name": name, "status": "NotStarted"}

    def _ml_batch_endpoint_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        self.state["batch"][one["--name"]] = self._tagged(read(one["--file"]) | {"name": one["--name"]}, options)
        return self.state["batch"][one["--name"]]

    def _ml_batch_deployment_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        told = self._tagged(read(one["--file"]), options)
        found(self.state["batch"], told["endpoint_name"], "batchEndpoints")["defaults"] = {
            "deployment_name": told["name"]
        }
        return told

    def _ml_datastore_create(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        return self._tagged({"tags": {}} | read(one["--file"]), options)

    def _ml_schedule_create(self, one: dict[str, str], _: Any) -> Any:
        told = read(one["--file"])
        read(str(Path(one["--file"]).parent / told["create_job"]["job"]))
        self.state["schedules"][told["name"]] = told
        return told

    def _functionapp_deployment_source_config_zip(self, one: dict[str, str], _: Any) -> Any:
        if not Path(one["--src"]).is_file():
            raise Refused(f"(FileNotFound) No such file: {one['--src']}")
        self.state["functions"] = True

    def _functionapp_function_list(self, one: dict[str, str], _: Any) -> Any:
        if not self.state.get("functions"):
            raise absent("sites", one["--name"])
        return [{"name": f"{one['--name']}/drift"}]

    def _monitor_diagnostic_settings_create(self, one: dict[str, str], _: Any) -> Any:
        found(self.state["endpoints"], one["--resource"].rpartition("/")[2], "onlineEndpoints")
        categories = json.loads(Path(one["--logs"].removeprefix("@")).read_text())
        self.state["log_categories"] = [told["category"] for told in categories]

    def _ml_batch_endpoint_show(self, one: dict[str, str], _: Any) -> Any:
        return found(self.state["batch"], one["--name"], "batchEndpoints")

    def _ml_batch_endpoint_update(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        return self._tagged(found(self.state["batch"], one["--name"], "batchEndpoints"), options)

    # Online endpoints
    def _ml_online_endpoint_show(self, one: dict[str, str], _: Any) -> Any:
        told = found(self.state["endpoints"], one["--name"], "onlineEndpoints")
        return told | {"scoring_uri": self.state["scoring_uri"]} if self.state.get("scoring_uri") else told

    def _ml_online_endpoint_create(self, one: dict[str, str], _: Any) -> Any:
        told = read(one["--file"])
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]", told["name"]):
            raise Refused(f"(BadArgument) {told['name']} is no name of an endpoint.")
        limits(told["tags"])
        uri = f"https://{told['name']}.westeurope.inference.ml.azure.com/score"
        made = told | {"traffic": {}, "mirror_traffic": {}, "provisioning_state": "Succeeded", "scoring_uri": uri}
        self.state["endpoints"][told["name"]] = made
        self.state["deployments"].setdefault(told["name"], {})
        return made

    def _ml_online_endpoint_update(self, one: dict[str, str], options: dict[str, list[str]]) -> Any:
        endpoint = found(self.state["endpoints"], one["--name"], "onlineEndpoints")
        wanted, there = copy.deepcopy(endpoint), self.state["deployments"][one["--name"]]
        named = {pair.split("=")[0] for pair in one.get("--traffic", "").split()}
        if "--traffic" in one and {name for name, share in endpoint["traffic"].items() if share} - named:
            # Whether the real one takes the others' traffic or keeps it is written nowhere: nobody should rely on it.
            raise Refused("(BadRequest) Name every deployment that has traffic.")
        for option, key in (("--traffic", "traffic"), ("--mirror-traffic", "mirror_traffic")):
            if option in one:
                wanted[key] = {name: int(share) for name, share in (pair.split("=") for pair in one[option].split())}
        live, copies = ({k: v for k, v in wanted[key].items() if v} for key in ("traffic", "mirror_traffic"))
        if unknown := (wanted["traffic"].keys() | copies.keys()) - there.keys():
            raise Refused(f"(BadRequest) Traffic for {unknown}, which is no deployment.")
        if sum(live.values()) not in (0, 100) or any(share < 0 for share in live.values()):
            raise Refused("(BadRequest) Traffic must add to 0 or 100.")
        if (
            len(copies) > 1
            or sum(copies.values()) > 50
            or copies.keys() & live.keys()
            or (copies and "compute" in endpoint)
        ):
            raise Refused("(BadRequest) Mirror traffic: one deployment without live traffic, at most 50 %.")
        self._tagged(wanted, options)
        self.state["endpoints"][one["--name"]] = wanted | {"provisioning_state": "Succeeded"}
        return wanted

    def _tagged(self, wanted: dict[str, Any], options: dict[str, list[str]]) -> Any:
        for text in options.get("--set", []):
            key, value = text.split("=", 1)
            if "--force-string" not in options and re.fullmatch(r"\d+|\{.*|\[.*|true|false|null", value):
                raise Refused("(BadRequest) A tag must be text.")  # it was read as JSON
            put(wanted, key.split("."), value)
        limits(wanted["tags"])
        return wanted

    def _deployment(self, one: dict[str, str]) -> dict[str, Any]:
        found(self.state["endpoints"], one["--endpoint-name"], "onlineEndpoints")
        there: dict[str, Any] = self.state["deployments"][one["--endpoint-name"]]
        return there

    def _ml_online_deployment_list(self, one: dict[str, str], _: Any) -> Any:
        if one["--endpoint-name"] not in self.state["endpoints"]:
            raise absent("onlineEndpoints", one["--endpoint-name"])
        return list(self._deployment(one).values())

    def _ml_online_deployment_show(self, one: dict[str, str], _: Any) -> Any:
        return found(self._deployment(one), one["--name"], "deployments")

    def _ml_online_deployment_create(self, one: dict[str, str], _: Any) -> Any:
        told = read(one["--file"])
        name, there = told["name"], self._deployment({"--endpoint-name": told["endpoint_name"]})
        if unknown := told.keys() - DEPLOYMENT:
            raise Refused(f"(ValidationError) Unknown field: {unknown}")
        if name in there:
            raise Refused(f"(UserError) The deployment {name} already exists.")
        if not re.fullmatch(r"[a-z][a-z0-9-]{2,31}", name):
            raise Refused(f"(BadArgument) {name} is no name of a deployment.")
        texts = list(told["environment_variables"].values())
        texts += [c["enabled"] for c in told.get("data_collector", {}).get("collections", {}).values()]
        if not all(isinstance(text, str) for text in texts):
            raise Refused("(ValidationError) Not a valid string.")
        models = self.state["shared" if told["model"].startswith("azureml://registries/") else "models"]
        model = found(models, re.split(r"[:/]", told["model"])[-1], "models")
        found(self.state["environments"], told["environment"].removeprefix("azureml:"), "environments")
        limits(told["tags"])
        fits = told["environment_variables"]["MODEL_DIGEST"] == model["tags"]["digest"]
        log = self.state["failing"].get(model["version"]) or ("" if fits else "the model was exchanged")
        there[name] = told | {"provisioning_state": "Failed" if log else "Succeeded"}
        self.state["logs"][name] = log
        if log:
            raise Refused("(ResourceOperationFailure) ResourceNotReady: User container has crashed.")
        return there[name]

    def _ml_online_deployment_delete(self, one: dict[str, str], options: Any) -> Any:
        there = self._deployment(one)
        found(there, one["--name"], "deployments")
        endpoint = self.state["endpoints"][one["--endpoint-name"]]
        if (
            endpoint["traffic"].get(one["--name"])
            or endpoint["mirror_traffic"].get(one["--name"])
            or "--yes" not in options
        ):
            raise Refused(f"(BadRequest) The deployment {one['--name']} still gets traffic.")
        del there[one["--name"]]
        for key in ("traffic", "mirror_traffic"):
            endpoint[key].pop(one["--name"], None)

    def _ml_online_deployment_get_logs(self, one: dict[str, str], _: Any) -> Any:
        found(self._deployment(one), one["--name"], "deployments")
        return self.state["logs"].get(one["--name"], "")

    # Scaling
    def _monitor_autoscale_list(self, one: dict[str, str], _: Any) -> Any:
        return list(self.state["scaling"].values())

    def _monitor_autoscale_create(self, one: dict[str, str], _: Any) -> Any:
        endpoint, name = one["--resource"].split("/")[-3::2]
        found(self.state["deployments"].get(endpoint, {}), name, "deployments")
        if not int(one["--min-count"]) <= int(one["--count"]) <= int(one["--max-count"]):
            raise Refused("(BadRequest) The default is not within the bounds.")
        setting = {"name": one["--name"], "targetResourceUri": one["--resource"], "profiles": [{"rules": []}]}
        self.state["scaling"][one["--name"]] = setting
        return setting

    def _monitor_autoscale_rule_create(self, one: dict[str, str], _: Any) -> Any:
        setting = found(self.state["scaling"], one["--autoscale-name"], "autoscalesettings")
        if not re.fullmatch(r"\w+ (>|<|>=|<=|==) \d+ (avg|min|max|total|count) \d+m", one["--condition"]):
            raise Refused(f"unrecognized condition: {one['--condition']}")
        if not re.fullmatch(r"(to|in|out) \d+%?", one["--scale"]):
            raise Refused(f"unrecognized scale: {one['--scale']}")
        setting["profiles"][0]["rules"].append({"condition": one["--condition"], "scale": one["--scale"]})
        return setting

    def _monitor_autoscale_delete(self, one: dict[str, str], _: Any) -> Any:
        found(self.state["scaling"], one["--name"], "autoscalesettings")
        del self.state["scaling"][one["--name"]]

    # Logs
    def _monitor_log_analytics_workspace_show(self, one: dict[str, str], _: Any) -> Any:
        return {"name": one["--workspace-name"], "customerId": "99999999-8888-7777-6666-555555555555"}

    def _monitor_log_analytics_query(self, one: dict[str, str], _: Any) -> Any:
        query = one["--analytics-query"]
        if not query.startswith("AmlOnlineEndpointTrafficLog |") or set(re.findall(r"\b[A-Z]\w+", query)) - {
            *COLUMNS, "AmlOnlineEndpointTrafficLog", *re.findall(r"'([^']*)'", query), *re.findall(r"T[\d:.+]+", query),
        }:  # fmt: skip
            raise Refused("(BadArgumentError) The query has a column that the table does not.")
        self.asked()
        since, endpoint = re.search(r"datetime\(([^)]+)\)", query), re.search(r"EndpointName == '([^']+)'", query)
        assert since
        assert endpoint
        bad = re.search(r"errors = countif\(code >= (\d+)\)", query)
        refused = re.search(r"refused = countif\(code between \((\d+) \.\. (\d+)\)\)", query)
        assert bad
        assert refused
        bounds = re.findall(r"(s\d+) = countif\(ms <= ([\d.]+)\)", query)
        rows: dict[str, dict[str, Any]] = {}
        for when, whose, name, code, ms, times in self.state["traffic"]:
            if when >= since[1] and whose == endpoint[1]:
                empty = dict.fromkeys(["requests", "errors", "refused", *(key for key, _ in bounds)], 0)
                row = rows.setdefault(name, {"DeploymentName": name, "TableName": "PrimaryResult"} | empty)
                row["requests"] += times
                row["errors"] += times * (code >= int(bad[1]))
                row["refused"] += times * (int(refused[1]) <= code <= int(refused[2]))
                for key, bound in bounds:
                    row[key] += times * (ms <= float(bound))
        return [{key: str(value) for key, value in row.items()} for row in rows.values()]  # all of it is text


def parsed(words: list[str]) -> tuple[str, dict[str, list[str]], list[str]]:
    """Part a command into its name, its options and free words; whatever the real one does not take is refused."""
    name = next((" ".join(words[:n]) for n in range(len(words), 0, -1) if " ".join(words[:n]) in OPTIONS), None)
    if name is None:
        raise Refused(f"'{' '.join(words[:3])}' is misspelled or not recognized by the system.")
    rest = words[len(name.split()) :]
    told = {text.rstrip("!?"): text[-1] for text in OPTIONS[name].split()} | {"-o": "", "--output": ""}
    options: dict[str, list[str]] = {}
    free: list[str] = []
    at: str | None = None
    for word in rest:
        if word.startswith("-") and not re.fullmatch(r"-\d+", word):
            if word not in told:
                raise Refused(f"unrecognized arguments: {word}")
            again = options.get(word, []) if word in ONE_EACH else []
            options[word], at = again, word if told[word] != "?" else None
        elif at:
            options[at].append(word)
            at = None if at in ONE_EACH else at
        elif name == "acr build" and not free:
            free.append(word)
        else:
            raise Refused(f"unrecognized arguments: {word}")
    if lacking := [option for option, kind in told.items() if kind == "!" and option not in options]:
        raise Refused(f"the following arguments are required: {', '.join(lacking)}")
    if empty := [o for o, values in options.items() if not values and told[o] != "?"]:
        raise Refused(f"argument {empty[0]}: expected at least one argument")
    return name, options, free


def found(where: dict[str, Any], key: str, kind: str) -> Any:
    """Return what is there under a name."""
    if key not in where:
        raise absent(kind, key)
    return where[key]


def read(path: str) -> dict[str, Any]:
    """Read a file that a command names."""
    if not Path(path).is_file():
        raise Refused(f"(FileNotFound) No such file: {path}")
    import yaml  # only where it is needed: as a script, this is started often

    told: dict[str, Any] = yaml.safe_load(Path(path).read_text("utf-8"))
    return told


def put(place: dict[str, Any], path: list[str], value: str) -> None:
    """Set something deep in an object."""
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = value


def limits(tags: dict[str, Any], most: int = 50) -> None:
    """What tags may be."""
    if len(tags) > most or any(not isinstance(v, str) or len(k) > 512 or len(v) > 256 for k, v in tags.items()):
        raise Refused(f"(InvalidTags) At most {most} tags, of 256 characters.")


def install(folder: Path, state: Path, cloud: Cloud) -> None:
    """Put an executable `az` into a folder, with this state; afterwards, `load` reads what became of it."""
    folder.mkdir(parents=True, exist_ok=True)
    save(cloud, state)
    script = folder / ("az.cmd" if os.name == "nt" else "az")
    if os.name == "nt":
        script.write_text(f'@"{sys.executable}" "{Path(__file__)}" %*\n', "utf-8")
    else:
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" "$@"\n', "utf-8")
        script.chmod(0o755)


def save(cloud: Cloud, path: Path) -> None:
    """Write everything into a file, which is replaced as a whole."""
    held = {k: getattr(cloud, k) for k in ("state", "commands", "writes", "crash_at", "after")}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(held), "utf-8")
    part.replace(path)


def load(path: Path) -> Cloud:
    """Read what `save` wrote."""
    cloud = Cloud()
    for key, value in json.loads(path.read_text("utf-8")).items():
        setattr(cloud, key, value)
    return cloud


def main() -> None:
    """Be `az`."""
    path = Path(os.environ["AZ_STAND_IN"])
    cloud = load(path)

    def die() -> None:
        cloud.crash_at = -1
        save(cloud, path)
        os._exit(9)

    cloud.dies = die
    code, out, errors = cloud(sys.argv[1:])
    save(cloud, path)
    print(out)
    print(errors, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
