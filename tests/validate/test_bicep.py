"""The infrastructure in Bicep, without Azure and without its compiler, of which there is none to be had here.

Four readers, for each has gaps: our own one evaluates every expression for dev, test and prod and holds each resource
against the models of the Azure SDK; a second parser agrees that the files are Bicep; checkov looks for what is
insecure; and what must be so (no keys, no public blobs, who may do what) is asserted on the evaluated resources.
Each check is given faults that it must find.
"""

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import Bake
from pycep import BicepParser
from validate import parity_bicep
from validate.bicep_check import problems
from validate.bicep_models import PINNED
from validate.bicep_resources import ENVIRONMENTS, Estate, bicep_resources, estate, sources
from validate.checkov_scan import judge, scan
from validate.role_rules import allows

HERE = Path(__file__).parent
ALL = "kubernetes spark data-factory private-network ab"
# Each way of serving with each extra once, and with both engines.
BAKES = {
    "plain": ("cookiecutter", {"serving": "both"}),
    "batch": ("copier", {"serving": "batch"}),
    "online-private": ("copier", {"serving": "online", "extras": "private-network ab"}),
    "batch-factory": ("cookiecutter", {"serving": "batch", "extras": "data-factory private-network"}),
    "online-kubernetes": ("cookiecutter", {"serving": "online", "extras": "kubernetes data-factory spark"}),
    "everything": ("copier", {"serving": "both", "extras": ALL}),
    "batch-everything": ("cookiecutter", {"serving": "batch", "extras": ALL}),
}
GROUP = "00000000-0000-4000-8000-000000000001"
Project = Callable[[str], Path]


@pytest.fixture(scope="module")
def project(bake: Bake) -> Project:
    """Return `project(name)`: the folder of one of BAKES."""

    def get(name: str) -> Path:
        engine, answers = BAKES[name]
        return bake(engine, platform="azure-ml", iac="bicep", **answers)

    return get


def filled(project: Path, into: Path) -> Path:
    """Copy what the infrastructure consists of, with a group for each role and a subject for CI."""
    for name in ("conf", "infra"):
        shutil.copytree(project / name, into / name)
    for path in (into / "conf" / "environments").glob("*.yaml"):
        path.write_text(path.read_text("utf-8").replace('""', f'"{GROUP}"'), "utf-8")
    return into / "infra" / "bicep"


@pytest.fixture(scope="module")
def everything(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a project with everything, and with groups; to be read only."""
    return filled(project("everything"), tmp_path_factory.mktemp("everything"))


@pytest.mark.parametrize("name", BAKES)
def test_all_fits_together_and_fits_the_models_of_azure(name: str, project: Project, tmp_path: Path) -> None:
    """As it is delivered, and with groups and CI's subject filled in."""
    assert problems(project(name) / "infra" / "bicep") == []
    assert problems(filled(project(name), tmp_path)) == []


class Fault(NamedTuple):
    """A mistake: a text in a file, what it becomes, and what must be said of it."""

    file: str
    old: str
    new: str
    said: str


BICEP = "infra/bicep/"
FAULTS = {
    name: Fault(**fault) for name, fault in yaml.safe_load((HERE / "bicep_faults.yaml").read_text("utf-8")).items()
}


def with_fault(everything: Path, fault: Fault, into: Path) -> Path:
    """Copy the files and put a fault in."""
    shutil.copytree(everything.parents[1], into, dirs_exist_ok=True)
    path = into / fault.file
    content = path.read_text("utf-8")
    assert fault.old in content, f"{fault.file} has no {fault.old!r} any more: correct the fault"
    path.write_text(content.replace(fault.old, fault.new, 1), "utf-8")
    return into / "infra" / "bicep"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, everything: Path, tmp_path: Path) -> None:
    """Each fault is told in words that name it."""
    found = problems(with_fault(everything, FAULTS[name], tmp_path), ["dev"])
    assert any(FAULTS[name].said in one for one in found), found


def test_a_fault_in_one_environment_only_is_found(everything: Path, tmp_path: Path) -> None:
    """dev may be right and prod wrong."""
    fault = Fault("conf/environments/prod.yaml", "priority: Dedicated", "priority: Best", "")
    found = problems(with_fault(everything, fault, tmp_path))
    assert found
    assert all(one.startswith("prod: ") and "vmPriority is 'Best'" in one for one in found)


@pytest.mark.parametrize("name", BAKES)
def test_a_second_parser_reads_the_files(name: str, project: Project) -> None:
    """The two grammars were written by different people."""
    files = sorted((project(name) / "infra" / "bicep").glob("*.bicep"))
    assert files
    for path in files:
        BicepParser().parse(file_path=path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@2025-07-01'", "'"),
        ("sku: {", "sku {"),
        ("location: conf.location", "location conf.location"),
        ("[for", "[from"),
    ],
)
def test_the_second_parser_refuses_what_is_no_bicep(old: str, new: str, everything: Path) -> None:
    """It notes a missing API version, which the first grammar does not."""
    content = (everything / "base.bicep").read_text("utf-8")
    assert old in content
    with pytest.raises(Exception, match=r"Unexpected|type_api_pair"):
        BicepParser().parse(text=content.replace(old, new, 1))


def at(properties: dict[str, Any], path: str) -> Any:
    """Return a property by its path."""
    value: Any = properties
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


STORAGE, VAULT = "Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"
REGISTRY, WORKSPACE = "Microsoft.ContainerRegistry/registries", "Microsoft.MachineLearningServices/workspaces"
SITE, AKS = "Microsoft.Web/sites", "Microsoft.ContainerService/managedClusters"
# What must be so in every environment, whatever was chosen.
SECURE = [
    (STORAGE, "properties.allowSharedKeyAccess", False),
    (STORAGE, "properties.allowBlobPublicAccess", False),
    (STORAGE, "properties.minimumTlsVersion", "TLS1_2"),
    (STORAGE, "properties.supportsHttpsTrafficOnly", True),
    (STORAGE, "properties.isHnsEnabled", False),
    (f"{STORAGE}/blobServices", "properties.deleteRetentionPolicy.enabled", True),
    (f"{STORAGE}/blobServices", "properties.containerDeleteRetentionPolicy.enabled", True),
    (f"{STORAGE}/blobServices/containers", "properties.publicAccess", "None"),
    (VAULT, "properties.enableRbacAuthorization", True),
    (VAULT, "properties.enablePurgeProtection", True),
    (VAULT, "properties.enableSoftDelete", True),
    (REGISTRY, "properties.adminUserEnabled", False),
    (REGISTRY, "properties.anonymousPullEnabled", False),
    (WORKSPACE, "properties.systemDatastoresAuthMode", "Identity"),
    (WORKSPACE, "properties.v1LegacyMode", False),
    (f"{WORKSPACE}/computes", "properties.disableLocalAuth", True),
    ("Microsoft.OperationalInsights/workspaces", "properties.features.disableLocalAuth", True),
    ("Microsoft.Insights/components", "properties.DisableLocalAuth", True),
    (SITE, "properties.httpsOnly", True),
    (SITE, "properties.siteConfig.minTlsVersion", "1.2"),
    (SITE, "properties.siteConfig.ftpsState", "Disabled"),
    (SITE, "properties.siteConfig.ipSecurityRestrictionsDefaultAction", "Deny"),
    (f"{SITE}/basicPublishingCredentialsPolicies", "properties.allow", False),
    (AKS, "properties.disableLocalAccounts", True),
    (AKS, "properties.enableRBAC", True),
    (AKS, "properties.aadProfile.enableAzureRBAC", True),
]
# What must be so with a private network.
PRIVATE = [
    *((kind, "properties.publicNetworkAccess", "Disabled") for kind in (STORAGE, VAULT, REGISTRY, WORKSPACE)),
    *((kind, "properties.networkAcls.defaultAction", "Deny") for kind in (STORAGE, VAULT)),
    (REGISTRY, "sku.name", "Premium"),
    (WORKSPACE, "properties.managedNetwork.isolationMode", "AllowInternetOutbound"),
    (WORKSPACE, "properties.provisionNetworkNow", True),
    ("Microsoft.DataFactory/factories", "properties.publicNetworkAccess", "Disabled"),
    (AKS, "properties.apiServerAccessProfile.enablePrivateCluster", True),
]
SECRETS = re.compile(
    r"\blist(Keys|Secrets|AccountSas|ServiceSas|Credentials|\w*Keys)\b|AccountKey=|password\w* *:|@secure", re.I
)


def insecure(made: Estate, rules: list[tuple[str, str, Any]]) -> list[str]:
    """Tell which resources are not as they must be."""
    return [
        f"{one.where}: {one.symbol}: {path} is {at(one.properties, path)!r}, not {wanted!r}"
        for kind, path, wanted in rules
        for one in made.resources
        if one.kind == kind and at(one.properties, path) != wanted
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", BAKES)
def test_it_is_secure_by_default(name: str, environment: str, project: Project) -> None:
    """No keys, no passwords, nothing public that need not be."""
    folder = project(name) / "infra" / "bicep"
    made = estate(folder, environment)
    private = "private-network" in BAKES[name][1].get("extras", "")
    assert insecure(made, SECURE + (PRIVATE if private else [])) == []
    assert not [
        line
        for path in folder.glob("*.bicep")
        for line in path.read_text("utf-8").splitlines()
        if SECRETS.search(line.partition("//")[0])
    ]
    clusters = [one for one in made.resources if at(one.properties, "properties.computeType") == "AmlCompute"]
    assert [at(one.properties, "properties.properties.scaleSettings.minNodeCount") for one in clusters] == [0]
    if private:
        entries = [one for one in made.resources if one.kind == "Microsoft.Network/privateEndpoints"]
        reached = {
            one.properties["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"][0]
            for one in entries
        }
        assert reached == {"amlworkspace", "blob", "file", "queue", "table", "vault", "registry"}


def test_every_rule_of_security_is_about_something(everything: Path) -> None:
    """A rule for a resource that is not there would hold for ever; and each finds its opposite."""
    made = estate(everything)
    for kind, path, _ in SECURE + PRIVATE:
        assert insecure(made, [(kind, path, "something else")]), (kind, path)


INSECURE = {
    "shared-keys": ("base.bicep", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
    "public-blobs": ("base.bicep", "allowBlobPublicAccess: false", "allowBlobPublicAccess: true"),
    "old-tls": ("base.bicep", "'TLS1_2'", "'TLS1_0'"),
    "left-to-azure": ("base.bicep", "    allowSharedKeyAccess: false\n", ""),
    "admin": ("base.bicep", "adminUserEnabled: false", "adminUserEnabled: true"),
    "purge": ("base.bicep", "enablePurgeProtection: true", "enablePurgeProtection: false"),
    "public-in-private": ("main.bicep", "var publicNetworkAccess = 'Disabled'", "var publicNetworkAccess = 'Enabled'"),
    "passwords": ("events.bicep", "allow: false", "allow: true"),
}


@pytest.mark.parametrize("name", INSECURE)
def test_what_is_insecure_is_found(name: str, everything: Path, tmp_path: Path) -> None:
    """Though it fits the models."""
    file, old, new = INSECURE[name]
    folder = with_fault(everything, Fault(BICEP + file, old, new, ""), tmp_path)
    assert problems(folder, ["dev"]) == []
    assert insecure(estate(folder), SECURE + PRIVATE)


ML, BLOBS = (
    "Microsoft.MachineLearningServices/workspaces",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs",
)
EVERYBODY = ("data_scientist", "ml_engineer", "model_validator", "operator", "pipeline", "events")
# What nobody may, and then who alone may what.
FORBIDDEN = (
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.Authorization/roleAssignments/delete",
    "Microsoft.Authorization/roleDefinitions/write",
    "Microsoft.Authorization/locks/delete",
    f"{ML}/delete",
    f"{ML}/write",
    f"{ML}/computes/write",
    f"{ML}/computes/delete",
    f"{ML}/listKeys/action",
    f"{ML}/computes/listKeys/action",
    f"{ML}/datastores/listSecrets/action",
    f"{ML}/onlineEndpoints/listKeys/action",
    f"{ML}/onlineEndpoints/regenerateKeys/action",
    "Microsoft.Storage/storageAccounts/listKeys/action",
    "Microsoft.Storage/storageAccounts/delete",
    "Microsoft.KeyVault/vaults/delete",
    "Microsoft.KeyVault/vaults/write",
    "Microsoft.ContainerRegistry/registries/listCredentials/action",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
    "Microsoft.Web/sites/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
)
MAY = {
    f"{ML}/read": EVERYBODY,
    f"{ML}/jobs/read": EVERYBODY,
    f"{ML}/jobs/write": ("data_scientist", "ml_engineer", "pipeline"),
    f"{ML}/jobs/cancel/action": ("data_scientist", "ml_engineer", "operator", "pipeline"),
    f"{ML}/data/versions/write": ("data_scientist", "ml_engineer", "pipeline", "events"),
    f"{ML}/data/versions/delete": (),
    f"{ML}/datastores/write": ("pipeline",),
    f"{ML}/datastores/delete": (),
    f"{ML}/codes/versions/startPendingUpload/action": ("data_scientist", "ml_engineer", "pipeline"),
    f"{ML}/components/versions/write": ("data_scientist", "ml_engineer", "pipeline"),
    f"{ML}/environments/versions/write": ("data_scientist", "ml_engineer", "pipeline"),
    f"{ML}/models/versions/write": ("data_scientist", "ml_engineer", "model_validator", "pipeline"),
    f"{ML}/models/versions/delete": (),
    f"{ML}/onlineEndpoints/write": ("ml_engineer", "operator", "pipeline"),
    f"{ML}/onlineEndpoints/delete": ("ml_engineer", "pipeline"),
    f"{ML}/onlineEndpoints/deployments/write": ("ml_engineer", "pipeline"),
    f"{ML}/onlineEndpoints/deployments/delete": ("ml_engineer", "pipeline"),
    f"{ML}/onlineEndpoints/deployments/getLogs/action": ("ml_engineer", "operator", "pipeline"),
    f"{ML}/batchEndpoints/deployments/write": ("ml_engineer", "pipeline"),
    f"{ML}/batchEndpoints/jobs/write": ("ml_engineer", "pipeline", "events"),
    f"{ML}/schedules/write": ("ml_engineer", "pipeline"),
    "Microsoft.MachineLearningServices/registries/models/versions/write": (
        "ml_engineer",
        "model_validator",
        "pipeline",
    ),
    "Microsoft.Insights/autoscalesettings/write": ("ml_engineer", "pipeline"),
    "Microsoft.Insights/autoscalesettings/delete": ("ml_engineer", "pipeline"),
    "Microsoft.Insights/diagnosticSettings/write": ("ml_engineer", "pipeline"),
    "Microsoft.Insights/diagnosticSettings/delete": (),
    "Microsoft.OperationalInsights/workspaces/sharedKeys/action": ("ml_engineer", "pipeline"),
    "Microsoft.ContainerRegistry/registries/scheduleRun/action": ("pipeline",),
    "Microsoft.ContainerRegistry/registries/write": (),
    "Microsoft.OperationalInsights/workspaces/query/read": (
        "data_scientist",
        "ml_engineer",
        "model_validator",
        "operator",
        "pipeline",
    ),
}
MAY_ON_DATA = {
    f"{BLOBS}/read": EVERYBODY,
    f"{BLOBS}/write": ("data_scientist", "ml_engineer", "pipeline"),
    f"{BLOBS}/delete": (),
    f"{BLOBS}/deleteBlobVersion/action": (),
    "Microsoft.Storage/storageAccounts/queueServices/queues/messages/delete": (),
    "Microsoft.KeyVault/vaults/secrets/getSecret/action": (),
}


def beyond(roles: dict[str, Any]) -> list[str]:
    """Tell which role may more, or less, than the tables say."""
    wanted: list[tuple[str, tuple[str, ...], bool]] = [(action, (), False) for action in FORBIDDEN]
    wanted += [(action, who, False) for action, who in MAY.items()]
    wanted += [(action, who, True) for action, who in MAY_ON_DATA.items()]
    return [
        f"{name} {'may not' if name in who else 'may'} {action}"
        for action, who, data in wanted
        for name, role in roles.items()
        if allows(role, action, data) != (name in who)
    ]


@pytest.mark.parametrize("name", ["plain", "batch"])
def test_nobody_may_more_than_the_work_needs(name: str, project: Project) -> None:
    """A data scientist cannot delete the workspace, write compute or assign roles; and so on."""
    roles = json.loads((project(name) / "infra" / "roles.json").read_text("utf-8"))
    assert set(roles) == set(EVERYBODY)
    assert beyond(roles) == []
    for role in roles.values():
        patterns = [one for key in ("actions", "notActions", "dataActions", "notDataActions") for one in role[key]]
        assert all(re.fullmatch(r"Microsoft\.\w+(/(\w+|\*))*/(read|write|delete|action|\*)", one) for one in patterns)


@pytest.mark.parametrize(
    "action",
    [
        "*",
        f"{ML}/*",
        f"{ML}/onlineEndpoints/*",
        "Microsoft.Authorization/roleAssignments/*",
        "*/write",
        "Microsoft.*/delete",
    ],
)
@pytest.mark.parametrize("who", EVERYBODY)
def test_a_wider_role_is_found(who: str, action: str, project: Project) -> None:
    """Whether an action is added, or an exception taken away."""
    roles = json.loads((project("plain") / "infra" / "roles.json").read_text("utf-8"))
    unchanged = allows(roles[who], f"{ML}/onlineEndpoints/deployments/write") and action.endswith("onlineEndpoints/*")
    roles[who]["actions"].append(action)
    if "Authorization" in action:
        roles[who]["notActions"].clear()
    assert unchanged or any(one.startswith(f"{who} may ") for one in beyond(roles))


@pytest.mark.parametrize("who", EVERYBODY)
def test_a_narrower_role_or_more_data_is_found(who: str, project: Project) -> None:
    """Work that a role is for must stay possible, and data stay whole."""
    text = (project("plain") / "infra" / "roles.json").read_text("utf-8")
    roles = json.loads(text)
    roles[who]["actions"].remove(f"{ML}/read")
    assert f"{who} may not {ML}/read" in beyond(roles)
    roles = json.loads(text)
    roles[who]["dataActions"].append("Microsoft.Storage/*")
    assert f"{who} may {BLOBS}/delete" in beyond(roles)


def test_roles_go_to_whom_they_are_for(everything: Path, project: Project) -> None:
    """Every identity gets what stands in grants.json, groups if there are any, and nobody a wide role of Azure's."""
    grants = json.loads((everything.parent / "grants.json").read_text("utf-8"))
    assert not {"Owner", "Contributor", "User Access Administrator"} & set(grants["built_in_roles"])
    given = [one for key in grants if isinstance(grants[key], list) and key != "custom_roles" for one in grants[key]]
    assert {one["role"] for one in given} == set(grants["built_in_roles"])
    kind = "Microsoft.Authorization/roleAssignments"
    made = [one for one in estate(everything).resources if one.kind == kind]
    people = [one for one in made if one.properties["properties"]["principalType"] == "Group"]
    assert len(people) == 4 + 2  # and engineers and operators may give an endpoint its identity
    factory = {"startGrant", "planGrant"}  # Data Factory starts jobs, and reads what a retraining takes
    assert len(made) == len(given) + len(grants["custom_roles"]) + len(people) + len(factory)
    assert factory <= {one.symbol for one in made}
    assert not [
        one
        for one in estate(project("everything") / "infra" / "bicep").resources
        if at(one.properties, "properties.principalType") == "Group"
        and one.symbol not in ("engineerGrant", "operatorGrant")
    ]


def test_a_team_that_is_both_gets_the_endpoints_identity_once(everything: Path) -> None:
    """All groups are the same one here, and Azure refuses the same grant twice."""
    grants = json.loads((everything.parent / "grants.json").read_text("utf-8"))
    role = grants["built_in_roles"]["Managed Identity Operator"]
    made = [one for one in parity_bicep.resources(everything, "dev") if one["type"].endswith("/roleAssignments")]
    given = [one for one in made if role in one["properties"]["roleDefinitionId"]]
    assert sorted(one["properties"]["principalType"] for one in given) == ["Group", "ServicePrincipal"]


def test_jobs_people_and_ci_leave_the_functions_alone(everything: Path) -> None:
    """Who could write the code or read the keys of the function app would act with its identity."""
    grants = json.loads((everything.parent / "grants.json").read_text("utf-8"))
    condition = grants["data_only"]
    assert condition.count("(") == condition.count(")")
    assert set(re.findall(r"StringNotEquals '([\w-]+)'", condition)) == {
        one["container"] for one in grants["containers"]
    }
    covered = set(re.findall(r"ActionMatches\{'([^']+)'\}", condition))
    assert covered == {f"{BLOBS}/{verb}" for verb in ("read", "write", "delete", "add/action", "move/action")}
    made = [one for one in estate(everything).resources if one.kind == "Microsoft.Authorization/roleAssignments"]
    roles = grants["built_in_roles"]
    blobs = [roles[name] for name in roles if name.startswith("Storage Blob")]
    for one in made:
        properties = one.properties["properties"]
        on_blobs = one.symbol == "storageGrant" and any(role in properties["roleDefinitionId"] for role in blobs)
        assert (properties.get("condition") == condition) == (
            on_blobs or one.symbol in ("people", "custom", "startGrant")
        ), one


@pytest.mark.parametrize(
    ("who", "role", "why"),
    [
        ("-pipeline", "Storage Blob Data Contributor", "`azure` commands of CI put retrain.json there"),
        ("adf-", "Storage Blob Data Reader", "Data Factory asks retrain.json what a retraining takes"),
    ],
)
def test_who_needs_the_plan_of_a_retraining_reaches_its_container(
    everything: Path, who: str, role: str, why: str
) -> None:
    """By a grant on `functions` alone, which no condition takes back."""
    grants = json.loads((everything.parent / "grants.json").read_text("utf-8"))
    kind = "Microsoft.Authorization/roleAssignments"
    made = [one for one in parity_bicep.resources(everything, "dev") if one["type"] == kind]
    (given,) = [one for one in made if "/containers/" in one["id"] and who in one["properties"]["principalId"]]
    assert given["id"].partition("/containers/")[2].partition("/")[0] == "functions", why
    assert grants["built_in_roles"][role] in given["properties"]["roleDefinitionId"]
    assert given["properties"].get("condition") is None


def test_data_factory_takes_every_marker_and_one_at_a_time(project: Project) -> None:
    """Its triggers stand in for the subscription to files, and take what that would take."""
    with_factory, without = (project(name) / "infra" for name in ("everything", "plain"))
    made = estate(with_factory / "bicep").resources
    triggers = [one for one in made if one.kind == "Microsoft.DataFactory/factories/triggers"]
    assert {one.name for one in triggers} == {"file-arrived", "folder-arrived"}
    told = [at(one.properties, "properties.typeProperties") for one in triggers]
    subscriptions = json.loads((without / "events.json").read_text("utf-8"))
    (files,) = [one for one in subscriptions if one["name"] == "file-arrived"]
    assert {one["blobPathEndsWith"] for one in told} == set(files["filters"][0]["values"])
    for one in told:
        assert one["blobPathBeginsWith"] == "/inbox/blobs/"
        assert one["ignoreEmptyBlobs"] is False
    (pipeline,) = [one for one in made if one.kind == "Microsoft.DataFactory/factories/pipelines"]
    assert at(pipeline.properties, "properties.concurrency") == 1


def test_events_reach_functions_that_are_there(project: Project) -> None:
    """The names in events.json and the settings of the function app are those of its code."""
    for name in ("plain", "everything"):
        folder = project(name)
        tree = ast.parse((folder / "events" / "function_app.py").read_text("utf-8"))
        functions = {one.name for one in tree.body if isinstance(one, ast.FunctionDef) and one.decorator_list}
        wanted = {one["function"] for one in json.loads((folder / "infra" / "events.json").read_text("utf-8"))}
        assert wanted <= functions
        made = estate(folder / "infra" / "bicep").resources
        site = next(one for one in made if one.kind == SITE)
        settings = {one["name"] for one in site.properties["properties"]["siteConfig"]["appSettings"]}
        read = {
            ast.literal_eval(one.slice)
            for one in ast.walk(tree)
            if isinstance(one, ast.Subscript) and "os.environ" in ast.unparse(one.value)
        }
        assert read <= settings
        arrival = [one for one in made if one.name.endswith("/file-arrived")]
        factory = [one for one in made if one.kind == "Microsoft.DataFactory/factories/triggers"]
        assert bool(arrival) != bool(factory)  # a file is taken once


def test_an_endpoint_is_watched_only_where_there_is_one(project: Project) -> None:
    """With batch serving nobody waits for requests."""
    named = {name: (project(name) / "infra" / "alerts.json").read_text("utf-8") for name in ("plain", "batch")}
    assert "OnlineEndpoint" in named["plain"]
    assert "OnlineEndpoint" not in named["batch"] + (project("batch") / "infra" / "dashboard.json").read_text("utf-8")


def test_extras_and_parameters_add_what_they_are_for(project: Project) -> None:
    """And nothing else has it."""
    plain, everything = (bicep_resources(project(name) / "infra" / "bicep") for name in ("plain", "everything"))
    assert set(everything) - set(plain) == {
        kind for kind in PINNED if re.match(r"Microsoft\.(Network|DataFactory|KubernetesConf|ContainerService)", kind)
    } - {"Microsoft.Network/virtualNetworks/subnets"}
    assert set(plain) <= set(everything)
    quiet = bicep_resources(project("plain") / "infra" / "bicep", deliverEvents=False)
    assert set(plain) - set(quiet) == {"Microsoft.EventGrid/systemTopics/eventSubscriptions"}


def test_names_and_sizes_stand_in_one_place(project: Project) -> None:
    """What conf/environments says is not said again in a template."""
    folder = project("everything")
    for environment in ENVIRONMENTS:
        conf = yaml.safe_load((folder / "conf" / "environments" / f"{environment}.yaml").read_text("utf-8"))
        said = {
            value
            for value in (*conf.values(), *conf["compute"].values(), *conf["identities"].values())
            if isinstance(value, str) and len(value) > 5
        }
        for path in (folder / "infra" / "bicep").glob("*.bicep"):
            content = path.read_text("utf-8")
            assert not [value for value in said - {"Disabled", "AllowInternetOutbound"} if f"'{value}'" in content], (
                path
            )
            assert len(content.splitlines()) <= 250


def test_outputs_tell_no_secret(everything: Path) -> None:
    """They are kept with the deployment, for everybody to read."""
    said = [one for source in sources(everything) for one in source.outputs.values()]
    assert said
    assert not [
        one.name
        for one in said
        if re.search(r"key|secret|password|connection", f"{one.name} {(one.node.text or b'').decode()}", re.I)
        and one.name not in ("vaultId",)
    ]


@pytest.fixture(scope="module")
def scanned(everything: Path, project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what checkov says of two projects and of an insecure one, in one run."""
    folder = tmp_path_factory.mktemp("checkov")
    for name, source in (
        ("everything", everything),
        ("batch", project("batch") / "infra" / "bicep"),
        ("broken", everything),
    ):
        shutil.copytree(source, folder / "good" / name if name != "broken" else folder / name)
    base = folder / "broken" / "base.bicep"
    content = base.read_text("utf-8")
    for old, new in (
        ("'TLS1_2'", "'TLS1_0'"),
        ("adminUserEnabled: false", "adminUserEnabled: true"),
        ("enablePurgeProtection: true", "enablePurgeProtection: false"),
    ):
        content = content.replace(old, new)
    base.write_text(content, "utf-8")
    return scan(folder, "bicep")


def test_checkov_finds_nothing_without_a_reason(scanned: dict[str, Any]) -> None:
    """Each check that fails is on a list, with its reason; none is on it in vain."""
    reasons = yaml.safe_load((HERE / "checkov.yaml").read_text("utf-8"))["bicep"]
    assert judge(scanned, reasons, "/good/") == []
    assert all(len(reason) > 20 for reason in reasons.values())


def test_checkov_finds_what_is_insecure(scanned: dict[str, Any]) -> None:
    """And a reason that is not needed any more."""
    reasons = yaml.safe_load((HERE / "checkov.yaml").read_text("utf-8"))["bicep"]
    found = judge(scanned, {**reasons, "CKV_AZURE_0": "stale"}, "/broken/")
    assert any("CKV_AZURE_137" in one for one in found), found  # the admin of the registry
    assert any("CKV_AZURE_110" in one or "CKV_AZURE_42" in one for one in found), found  # deleted for good
    assert "CKV_AZURE_0 does not fail any more: take it off the list" in found


def test_checkov_is_not_believed_if_it_read_nothing(tmp_path: Path) -> None:
    """It ends well on a file that it cannot parse."""
    (tmp_path / "main.bicep").write_text(
        "resource a 'Microsoft.Storage/storageAccounts@2025-06-01' = {\n  name 'x'\n}\n", "utf-8"
    )
    assert judge(scan(tmp_path, "bicep"), {}) == ["checkov found no resource"]
    assert judge({"summary": {"parsing_errors": 1, "resource_count": 2}, "results": {"failed_checks": []}}, {}) == [
        "checkov could not read 1 files"
    ]
