"""The manifests for Kubernetes are held against its own schemas, and against what the container is and reads.

`kubernetes-validate` brings the schemas of Kubernetes' own kinds. Two kinds here are none of those, and it only warns
of what it does not know: HTTPRoute and Kustomization are held against schemas of ours, written after the fields that
the Gateway API v1 and Kustomize document. Ours know the fields that a project uses, and refuse every other one.
"""

import copy
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import Bake
from jsonschema import Draft202012Validator

USE_CASES = ("porto-seguro", "german-credit", "own")
# The oldest that the manifests name, for `sleep` before the stop, and the newest that is known here.
VERSIONS = ("1.30", "1.37")
FOREIGN = ("HTTPRoute", "Kustomization")
COLOURS = ("blue", "green")
# What a release changes, and all in which the two deployments may differ.
OF_A_RELEASE = r"image: .*|name: MODEL_(DIGEST|VERSION)\n +value: .*"

Document = dict[str, Any]


def strict(*required: str, **properties: Any) -> Document:
    """Return the schema of an object that has no other properties."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def several(items: Document, most: int) -> Document:
    """Return the schema of a list with something in it."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
LABEL = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
METADATA = strict("name", name=NAME, labels={"type": "object", "additionalProperties": {"type": "string"}})
MATCH = strict(
    path=strict(
        type={"enum": ["Exact", "PathPrefix", "RegularExpression"]},
        value={"type": "string", "pattern": "^/", "maxLength": 1024},
    ),
    method={"enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]},
)
BACKEND = strict("name", "port", name=NAME, port=PORT, weight={"type": "integer", "minimum": 0, "maximum": 1_000_000})
ROUTE = strict(
    "parentRefs",
    "rules",
    hostnames=several(NAME, 16),
    parentRefs=several(strict("name", name=NAME, namespace=LABEL, sectionName=NAME, port=PORT), 32),
    rules=several(strict(matches=several(MATCH, 64), backendRefs=several(BACKEND, 16)), 16),
)
SCHEMAS = {
    "HTTPRoute": strict(
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        apiVersion={"const": "gateway.networking.k8s.io/v1"},
        kind={},
        metadata=METADATA,
        spec=ROUTE,
    ),
    "Kustomization": strict(
        "apiVersion",
        "kind",
        "resources",
        apiVersion={"const": "kustomize.config.k8s.io/v1beta1"},
        kind={},
        resources=several({"type": "string"}, 99),
    ),
}


class Container(NamedTuple):
    """What the Dockerfile, the service and its settings say of the container."""

    user: int
    port: int
    model: str
    routes: set[str]
    reads: set[str]
    grace: int
    memory: float


def container(project: Path) -> Container:
    """Read it from the project's own files."""
    dockerfile = (project / "Dockerfile").read_text("utf-8")
    (source,) = (project / "src").iterdir()
    app, main = ((source / "serving" / name).read_text("utf-8") for name in ("app.py", "__main__.py"))
    (token,) = re.findall(r'^TOKEN = "(\w+)"', (source / "config.py").read_text("utf-8"), re.MULTILINE)
    (user,) = re.findall(r"^USER (\d+):\1$", dockerfile, re.MULTILINE)
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)
    (port,) = re.findall(r"^    PORT=(\d+)$", dockerfile, re.MULTILINE)
    (model,) = re.findall(r"AZUREML_MODEL_DIR=(\S+)", dockerfile)
    (grace,) = re.findall(r"timeout_graceful_shutdown=(\d+)", app)
    assert port == exposed
    routes = set(re.findall(r'(?:get|Route)\("(/[\w.]+)"', app))
    reads = set(re.findall(r'env(?:\.get\(|\[)"(\w+)"', main)) | {token}
    assert len(routes) >= 7
    assert len(reads) >= 9
    settings = yaml.safe_load((project / "conf" / "project.yaml").read_text("utf-8"))
    return Container(int(user), int(port), model, routes, reads, int(grace), settings["serving"]["memory_mb"] * 1e6)


def manifests(project: Path) -> list[Document]:
    """Return all documents of the folder."""
    files = sorted((project / "kubernetes").iterdir())
    return [document for file in files for document in yaml.safe_load_all(file.read_text("utf-8"))]


def complaints(documents: list[Document], folder: Path, version: str) -> list[str]:
    """Hold documents against the schemas; a warning is a complaint, for it says that nothing was checked."""
    own = [document for document in documents if document["kind"] not in FOREIGN]
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump_all(own), "utf-8")
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) >= len(own), done.stderr
    found = [
        line for line in lines if not re.match(rf"INFO .* passed for resource .* against version {version}$", line)
    ]
    for document in documents:
        if schema := SCHEMAS.get(document["kind"]):
            found += [f"{document['kind']}: {e.message}" for e in Draft202012Validator(schema).iter_errors(document)]
    return found


def amount(quantity: Any) -> float:
    """Return a quantity of Kubernetes as a number."""
    match = re.fullmatch(r"(\d+)(m|k|M|G|Ki|Mi|Gi)?", str(quantity))
    assert match, quantity
    factor = {None: 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(match[1]) * factor[match[2]]


def covers(selector: Document, labels: Document) -> bool:
    """Return whether a selector takes what has these labels; an empty one would take everything."""
    return bool(selector) and selector.items() <= labels.items()


def breaches(documents: list[Document], about: Container, files: set[str]) -> list[str]:
    """Return what the schemas cannot see: whether the parts fit each other and the container."""
    kinds: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        kinds[document["kind"]].append(document)
    pods = {d["metadata"]["name"]: d["spec"]["template"] for d in kinds["Deployment"]}
    services = {d["metadata"]["name"]: d["spec"] for d in kinds["Service"]}
    claims = {d["metadata"]["name"]: d["spec"] for d in kinds["PersistentVolumeClaim"]}

    def taken(selector: Document) -> list[str]:
        return [name for name, pod in pods.items() if covers(selector, pod["metadata"]["labels"])]

    def check() -> Iterator[tuple[bool, str]]:
        for deployment in kinds["Deployment"]:
            selector = deployment["spec"]["selector"]["matchLabels"]
            yield taken(selector) == [deployment["metadata"]["name"]], "a deployment selects its own pods"
            yield "replicas" not in deployment["spec"], "the autoscaler decides about replicas"
            yield from of_a_pod(deployment["spec"]["template"], about, claims)
        for document in kinds["Service"]:
            yield taken(document["spec"]["selector"]) == [document["metadata"]["name"]], "a service has one deployment"
            yield {port["targetPort"] for port in document["spec"]["ports"]} == {"http"}, "a service asks the port"
        targets = [d["spec"]["scaleTargetRef"] for d in kinds["HorizontalPodAutoscaler"]]
        wanted = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name} for name in pods]
        yield targets == wanted, "each deployment is scaled"
        for document in kinds["HorizontalPodAutoscaler"]:
            yield 2 <= document["spec"]["minReplicas"] < document["spec"]["maxReplicas"], "there is room to scale"
        kept = [taken(d["spec"]["selector"]["matchLabels"]) for d in kinds["PodDisruptionBudget"]]
        yield kept == [[name] for name in pods], "each deployment has a budget"
        (policy,) = (d["spec"] for d in kinds["NetworkPolicy"])
        yield taken(policy["podSelector"]["matchLabels"]) == list(pods), "the policy holds for every pod"
        yield sorted(policy["policyTypes"]) == ["Egress", "Ingress"], "the policy holds for both directions"
        ports = [port for rule in policy["ingress"] for port in rule.get("ports", ["all"])]
        yield ports == [{"protocol": "TCP", "port": "http"}], "only the service's port is open"
        yield policy["egress"] == [], "nobody is called"
        (route,) = (d["spec"] for d in kinds["HTTPRoute"])
        for rule in route["rules"]:
            backends = rule["backendRefs"]
            yield [b["name"] for b in backends] == list(pods), "the route leads to both deployments"
            yield (
                all(b["port"] in [p["port"] for p in services.get(b["name"], {}).get("ports", [])] for b in backends),
                "the route knows the services' port",
            )
            yield sum(backend["weight"] for backend in backends) == 100, "weights are per cent"
            paths = [(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]]
            yield paths == [("Exact", "/score")], "callers reach scores only"
        (kustomization,) = kinds["Kustomization"]
        yield {*kustomization["resources"], "kustomization.yaml"} == files, "every file is applied"
        yield "Secret" not in kinds, "no secret is committed"
        for document in documents:
            if document["kind"] != "Kustomization":
                yield len(document["metadata"]["name"]) <= 63, "a name is a label of DNS"
        first, second = (
            [re.sub(OF_A_RELEASE, "", yaml.safe_dump(d).replace(colour, "")) for d in documents if of(colour, d)]
            for colour in COLOURS
        )
        yield bool(first) and first == second, "blue and green are twins"

    return [sentence for holds, sentence in check() if not holds]


def of(colour: str, document: Document) -> bool:
    """Return whether a document belongs to one deployment."""
    return bool(document.get("metadata", {}).get("name", "").endswith(f"-{colour}"))


def of_a_pod(template: Document, about: Container, claims: Document) -> Iterator[tuple[bool, str]]:
    """Yield what must hold for a pod."""
    spec, labels = template["spec"], template["metadata"]["labels"]
    (service,) = spec["containers"]
    environment = {entry["name"]: entry for entry in service["env"]}
    mounts = {mount["mountPath"]: mount for mount in service["volumeMounts"]}
    volumes = {volume["name"]: volume["persistentVolumeClaim"] for volume in spec["volumes"]}

    # As the profile "restricted" of Kubernetes asks, and the Dockerfile says.
    user = spec["securityContext"]
    yield user.get("runAsNonRoot") is True, "a pod is not root"
    yield {user.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")} == {about.user}, "the user is the image's"
    yield user.get("seccompProfile") == {"type": "RuntimeDefault"}, "system calls are filtered"
    yield spec.get("automountServiceAccountToken") is False, "a pod has no account"
    yield spec.get("enableServiceLinks") is False, "other services are none of its business"
    yield not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys(), "a pod is apart from its node"
    rights = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    yield service.get("securityContext") == rights, "a container has no rights"

    needs = service.get("resources", {})
    least, most = ({k: amount(v) for k, v in needs.get(key, {}).items()} for key in ("requests", "limits"))
    yield least.keys() == most.keys() == {"cpu", "memory"}, "requests and limits are set"
    yield all(least[key] <= most.get(key, 0) for key in least), "requests keep the limits"
    yield most.get("memory") == about.memory, "the limit is the one that the alert knows"

    yield service["ports"] == [{"name": "http", "containerPort": about.port}], "the port is the image's"
    told = template["metadata"]["annotations"]
    scrape = {"scrape": "true", "port": str(about.port), "path": "/metrics"}
    yield told == {f"prometheus.io/{key}": value for key, value in scrape.items()}, "metrics are found"
    for kind, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        probe = service.get(f"{kind}Probe", {}).get("httpGet", {})
        yield probe == {"path": path, "port": "http"} and path in about.routes, f"{kind} is probed"
    stop = service["lifecycle"]["preStop"]["sleep"]["seconds"]
    yield spec["terminationGracePeriodSeconds"] > stop + about.grace, "there is time to stop"

    yield environment.keys() <= about.reads, "the service reads its environment"
    yield environment.keys() >= {"MODEL_DIGEST", "MODEL_VERSION", "DEPLOYMENT", "LOG_FOLDER"}, "the service is told"
    yield environment["DEPLOYMENT"]["value"] == labels["deployment"], "the service knows its name"
    token = environment.get("SCORING_TOKEN", {})
    yield (
        "value" not in token and "optional" not in token.get("valueFrom", {}).get("secretKeyRef", {"optional": 1}),
        ("the token is a secret"),
    )

    model, log = mounts.get(about.model, {}), mounts.get(environment["LOG_FOLDER"].get("value"), {})
    yield model.get("subPathExpr") == "$(MODEL_DIGEST)", "the model is the one that is named"
    yield model.get("readOnly") is True and volumes.get(model["name"], {}).get("readOnly") is True, "the model is fixed"
    yield bool(log) and "readOnly" not in {**log, **volumes.get(log["name"], {})}, "the log can be written"
    for claim in volumes.values():
        yield "ReadWriteMany" in claims.get(claim["claimName"], {}).get("accessModes", ()), "a claim is for all pods"
    for spread in spec["topologySpreadConstraints"]:
        yield spread["labelSelector"]["matchLabels"] == labels, "its own pods are spread"


def examined(project: Path, documents: list[Document]) -> list[str]:
    """Return the breaches of a project with these documents."""
    return breaches(documents, container(project), {path.name for path in (project / "kubernetes").iterdir()})


def changed(documents: list[Document], kind: str, path: str, value: Any) -> list[Document]:
    """Return the documents with another value in each of a kind, at a JSON pointer; None removes it."""
    documents = copy.deepcopy(documents)
    *parents, last = (int(word) if word.isdigit() else word.replace("~1", "/") for word in path.split("/"))
    of_kind = [document for document in documents if document["kind"] == kind]
    assert of_kind
    for document in of_kind:
        node: Any = document
        for word in parents:
            node = node[word]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return documents


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_manifest(bake: Bake, tmp_path: Path, version: str) -> None:
    project = bake(project_slug="x" * 40, extras="kubernetes")
    documents = manifests(project)
    assert len(documents) == 13
    assert complaints(documents, tmp_path, version) == []


@pytest.mark.parametrize("use_case", USE_CASES)
def test_the_manifests_fit_each_other_and_the_container(bake: Bake, use_case: str) -> None:
    project = bake(use_case=use_case, extras="kubernetes")
    assert examined(project, manifests(project)) == []


POD = "spec/template/spec"
SERVICE = f"{POD}/containers/0"


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", f"{SERVICE}/ports/0", {"containerport": 8000}, "'containerPort' is a required property"),
        ("Deployment", "spec/replicas", "two", "'two' is not of type 'integer'"),
        ("Deployment", "spec/selector", None, "'selector' is a required property"),
        ("Deployment", "kind", "Deploiment", "WARN"),
        ("Deployment", "apiVersion", "apps/v2", "WARN"),
        ("Deployment", f"{SERVICE}/lifecycle/preStop/sleep", {"second": 5}, "'seconds' is a required property"),
        ("Service", "spec/ports/0/port", "80", "'80' is not of type 'integer'"),
        ("HorizontalPodAutoscaler", "spec/maxReplicas", None, "'maxReplicas' is a required property"),
        ("PodDisruptionBudget", "spec/minAvailible", 1, "'minAvailible' was unexpected"),
        ("NetworkPolicy", "spec/ingress/0/port", 8000, "'port' was unexpected"),
        ("PersistentVolumeClaim", "spec/accessModes", "ReadWriteMany", "is not of type 'array'"),
        ("HTTPRoute", "spec/rules/0/backendRefs/0/weight", "all", "'all' is not of type 'integer'"),
        ("HTTPRoute", "spec/rules/0/backendRefs/0/wieght", 1, "'wieght' was unexpected"),
        ("HTTPRoute", "spec/rules/0/backendRefs/0/port", None, "'port' is a required property"),
        ("HTTPRoute", "spec/rules/0/matches/0/path/type", "Prefix", "'Prefix' is not one of"),
        ("HTTPRoute", "spec/parentRefs/0/name", None, "'name' is a required property"),
        ("HTTPRoute", "apiVersion", "gateway.networking.k8s.io/v1alpha2", "was expected"),
        ("Kustomization", "ressources", [], "'ressources' was unexpected"),
    ],
)
def test_a_planted_fault_is_refused(bake: Bake, tmp_path: Path, kind: str, path: str, value: Any, said: str) -> None:
    documents = changed(manifests(bake(extras="kubernetes")), kind, path, value)
    found = complaints(documents, tmp_path, VERSIONS[-1])
    assert found
    assert all(said in line for line in found)


def test_an_older_kubernetes_lacks_what_the_manifests_need(bake: Bake, tmp_path: Path) -> None:
    found = complaints(manifests(bake(extras="kubernetes")), tmp_path, "1.28")
    assert found
    assert all("'sleep' was unexpected" in line for line in found)


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", "spec/selector/matchLabels/deployment", "red", "a deployment selects its own pods"),
        ("Deployment", "spec/selector/matchLabels/deployment", None, "a deployment selects its own pods"),
        ("Deployment", "spec/replicas", 3, "the autoscaler decides about replicas"),
        ("Deployment", f"{POD}/securityContext/runAsNonRoot", False, "a pod is not root"),
        ("Deployment", f"{POD}/securityContext/runAsUser", 1000, "the user is the image's"),
        ("Deployment", f"{POD}/securityContext/fsGroup", None, "the user is the image's"),
        ("Deployment", f"{POD}/securityContext/seccompProfile/type", "Unconfined", "system calls are filtered"),
        ("Deployment", f"{POD}/automountServiceAccountToken", None, "a pod has no account"),
        ("Deployment", f"{POD}/enableServiceLinks", True, "other services are none of its business"),
        ("Deployment", f"{POD}/hostNetwork", True, "a pod is apart from its node"),
        ("Deployment", f"{SERVICE}/securityContext/privileged", True, "a container has no rights"),
        ("Deployment", f"{SERVICE}/securityContext/readOnlyRootFilesystem", None, "a container has no rights"),
        ("Deployment", f"{SERVICE}/securityContext/allowPrivilegeEscalation", True, "a container has no rights"),
        ("Deployment", f"{SERVICE}/securityContext/capabilities/drop", ["NET_RAW"], "a container has no rights"),
        ("Deployment", f"{SERVICE}/resources/limits", None, "requests and limits are set"),
        ("Deployment", f"{SERVICE}/resources/requests/cpu", None, "requests and limits are set"),
        ("Deployment", f"{SERVICE}/resources/requests/cpu", "4", "requests keep the limits"),
        ("Deployment", f"{SERVICE}/resources/limits/memory", "1Gi", "the limit is the one that the alert knows"),
        ("Deployment", f"{SERVICE}/ports/0/containerPort", 8080, "the port is the image's"),
        ("Deployment", "spec/template/metadata/annotations/prometheus.io~1port", "8080", "metrics are found"),
        ("Deployment", f"{SERVICE}/startupProbe", None, "startup is probed"),
        ("Deployment", f"{SERVICE}/livenessProbe/httpGet/path", "/healthz", "liveness is probed"),
        ("Deployment", f"{SERVICE}/readinessProbe/httpGet/path", "/livez", "readiness is probed"),
        ("Deployment", f"{SERVICE}/readinessProbe/httpGet/port", 80, "readiness is probed"),
        ("Deployment", f"{POD}/terminationGracePeriodSeconds", 30, "there is time to stop"),
        ("Deployment", f"{SERVICE}/env/1/name", "MODELVERSION", "the service reads its environment"),
        ("Deployment", f"{SERVICE}/env/1", None, "the service is told"),
        ("Deployment", f"{SERVICE}/env/2/value", "red", "the service knows its name"),
        ("Deployment", f"{SERVICE}/env/4", {"name": "SCORING_TOKEN", "value": "x"}, "the token is a secret"),
        ("Deployment", f"{SERVICE}/env/4/valueFrom/secretKeyRef/optional", True, "the token is a secret"),
        ("Deployment", f"{SERVICE}/env/4", None, "the token is a secret"),
        ("Deployment", f"{SERVICE}/volumeMounts/0/subPathExpr", "$(MODEL)", "the model is the one that is named"),
        ("Deployment", f"{SERVICE}/volumeMounts/0/mountPath", "/models", "the model is the one that is named"),
        ("Deployment", f"{SERVICE}/volumeMounts/0/readOnly", None, "the model is fixed"),
        ("Deployment", f"{POD}/volumes/0/persistentVolumeClaim/readOnly", False, "the model is fixed"),
        ("Deployment", f"{SERVICE}/volumeMounts/1/mountPath", "/logs", "the log can be written"),
        ("Deployment", f"{POD}/volumes/1/persistentVolumeClaim/claimName", "logs", "a claim is for all pods"),
        ("PersistentVolumeClaim", "spec/accessModes/0", "ReadWriteOnce", "a claim is for all pods"),
        (
            "Deployment",
            f"{POD}/topologySpreadConstraints/1/labelSelector/matchLabels/deployment",
            "red",
            "its own pods are spread",
        ),
        ("Service", "spec/selector/deployment", "red", "a service has one deployment"),
        ("Service", "spec/selector/deployment", None, "a service has one deployment"),
        ("Service", "spec/ports/0/targetPort", "htp", "a service asks the port"),
        ("HorizontalPodAutoscaler", "spec/scaleTargetRef/name", "scoring", "each deployment is scaled"),
        ("HorizontalPodAutoscaler", "spec/minReplicas", 6, "there is room to scale"),
        ("PodDisruptionBudget", "spec/selector/matchLabels/deployment", "red", "each deployment has a budget"),
        ("NetworkPolicy", "spec/podSelector/matchLabels/deployment", "blue", "the policy holds for every pod"),
        ("NetworkPolicy", "spec/policyTypes", ["Ingress"], "the policy holds for both directions"),
        ("NetworkPolicy", "spec/ingress", [{}], "only the service's port is open"),
        ("NetworkPolicy", "spec/egress", [{}], "nobody is called"),
        ("HTTPRoute", "spec/rules/0/backendRefs/1/name", "red", "the route leads to both deployments"),
        ("HTTPRoute", "spec/rules/0/backendRefs/1/port", 8000, "the route knows the services' port"),
        ("HTTPRoute", "spec/rules/0/backendRefs/1/weight", 10, "weights are per cent"),
        ("HTTPRoute", "spec/rules/0/matches/0/path/value", "/metrics", "callers reach scores only"),
        ("Kustomization", "resources/3", "routes.yaml", "every file is applied"),
        ("PersistentVolumeClaim", "kind", "Secret", "no secret is committed"),
        ("NetworkPolicy", "metadata/name", "x" * 64, "a name is a label of DNS"),
    ],
)
def test_a_part_that_does_not_fit_is_found(bake: Bake, kind: str, path: str, value: Any, said: str) -> None:
    project = bake(extras="kubernetes")
    assert said in examined(project, changed(manifests(project), kind, path, value))


def test_blue_and_green_differ_in_what_a_release_changes_only(bake: Bake) -> None:
    project = bake(extras="kubernetes")
    documents = manifests(project)
    green = next(d for d in documents if d["kind"] == "Deployment" and of("green", d))["spec"]["template"]["spec"]
    (service,) = green["containers"]
    service["image"] = "registry.example.com/other@sha256:1"
    service["env"][0]["value"], service["env"][1]["value"] = "f" * 64, "2"
    assert examined(project, documents) == []
    service["livenessProbe"]["periodSeconds"] = 60
    assert examined(project, documents) == ["blue and green are twins"]
