"""Values in the files for Azure ML that its own loader lets pass, though they fail there, or hide a failure."""

import re
from collections.abc import Mapping
from typing import Any

from .audit import Document, Files, Found, Rule, part

SETTINGS = {"default_compute", "default_datastore", "continue_on_step_failure", "force_rerun"}
# Of each field of a cron expression: what it counts, its bounds.
CRON = (("minutes", 0, 59), ("hours", 0, 23), ("days", 1, 31), ("months", 1, 12), ("days of the week", 0, 6))
# What must not be used any more -> what is used in its place.
DEPRECATED = {
    r"azureml[-_](?:core|train|pipeline|datadrift|dataset-runtime)\b|from azureml\.core|import azureml\.core": "azure-ai-ml",
    r"azure-cli-ml\b": "the extension `ml` of the command line",
    r"Run\.get_context|Workspace\.from_config": "paths on the command line, and MLflow",
    r"az ml data import|DatasetDriftDetected|az ml model package": "nothing: it is gone",
    r"ubuntu-?(?:16|18|20)\.04": "a newer base image",
    r"opencensus": "OpenTelemetry",
    r"max_queue_wait_ms|egress_public_network_access|v1_legacy_mode: *true": "nothing: it is gone",
    r"runtime_version: *[\"']?3\.[0-3]\b": "a newer Spark runtime",
    r"(?i)python[:=]*3\.[0-9]\b(?!\d)": "Python 3.11 or 3.12",
    r"Standard_(?:NC\d+\w*\b(?!_)|NV\d+\b|ND\d+s?\b|HB\d+rs\b|A\d_v1\b)": "a newer machine series",
    r"AciWebservice|AksWebservice|azurerm_machine_learning_inference_cluster": "a managed endpoint",
    r"\bmlflow run\b|mlflow\.projects\b|\bMLproject\b": "the components and pipelines in azureml/",
    r"(?i)\bsku\W+Essential\b": "Azure Managed Grafana Standard, or dashboards in Azure Monitor",
    r"(?i)\bazure/login@v[12]\b": "azure/login@v3",
    r"AzureMLExecutePipeline|promptflow|vstoken\.dev\.azure\.com|AZURE_CREDENTIALS": "nothing: it is gone",
}


def of_type(document: Document, *kinds: str) -> bool:
    """Return whether a file is of one of these kinds."""
    return document.kind.endswith(kinds)


def components(document: Document, files: Files) -> Found:
    """A component may run anywhere, as anybody: compute and identity are the pipeline's."""
    if document.kind.endswith("Component"):
        for key in {"compute", "identity"} & document.content.keys():
            yield key, "it belongs into the pipeline, so that the component runs anywhere"
        if document.kind == "commandComponent" and "is_deterministic" not in document.content:
            yield "is_deterministic", "say whether the same inputs give the same outputs"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", str(document.content.get("name"))):
            yield "name", "a small letter first, then small letters, digits and underscores"


def environments(document: Document, files: Files) -> Found:
    """An environment says what it is made of, and an image is the same one tomorrow."""
    if document.kind != "environment":
        return
    image = document.content.get("image")
    if ("build" in document.content) == (image is not None):
        yield "image", "give either image or build"
    if image is not None and not re.search(r"@sha256:|:(?!latest$)[^/:]+$", str(image)):
        yield "image", f"{image} is another image tomorrow; name a tag or a digest"


def pipeline_settings(document: Document, files: Files) -> Found:
    """The loader takes any key under `settings`; and by default a pipeline goes on when a step has failed."""
    if document.kind not in ("pipelineJob", "pipelineComponentBatchDeployment"):
        places: list[str] = ["create_job.settings"] if part(document.content, "create_job", "settings") else []
    else:
        places = ["settings"]
    for place in places:
        settings = part(document.content, *place.split("."))
        for key in settings.keys() - SETTINGS:
            yield f"{place}.{key}", f"there is no such setting; there are {', '.join(sorted(SETTINGS))}"
        if place == "settings" and settings.get("continue_on_step_failure") is not False:
            yield f"{place}.continue_on_step_failure", "it must be false: by default other steps go on after a failure"
        if place == "settings" and "default_compute" not in settings:
            yield f"{place}.default_compute", "a pipeline needs one"


def purposes(document: Document, files: Files) -> Found:
    """Whoever looks at jobs can tell retraining from exploration."""
    if document.kind == "pipelineJob" and not part(document.content, "tags").get("purpose"):
        yield "tags.purpose", "say what it is for: retraining, exploration, scoring, monitoring"


def schedules(document: Document, files: Files) -> Found:
    """When a schedule runs."""
    trigger = part(document.content, "trigger")
    if not trigger:
        return
    if trigger.get("type") == "cron":
        yield from (("trigger.expression", said) for said in cron(str(trigger.get("expression", ""))))
    zone = trigger.get("time_zone")
    if zone is not None and str(zone) not in time_zones():
        yield "trigger.time_zone", f"{zone} is no time zone that Azure ML knows, such as UTC or W. Europe Standard Time"
    if zone is None:
        yield "trigger.time_zone", "say which: UTC, for example"


def time_zones() -> set[str]:
    """Return the time zones that Azure ML knows."""
    from azure.ai.ml.constants._common import TimeZone

    return {zone.value for zone in TimeZone}


def cron(expression: str) -> list[str]:
    """Return what is wrong with a cron expression, in words."""
    fields = expression.split()
    if len(fields) != len(CRON):
        return [f"{expression!r} has {len(fields)} fields; it must have {', '.join(name for name, _, _ in CRON)}"]
    found = []
    for text, (name, low, high) in zip(fields, CRON, strict=True):
        if name in ("days", "months") and text != "*":
            found.append(f"Azure ML takes {name} for *, whatever stands there: {text}")
            continue
        for one in text.split(","):
            match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", one)
            numbers = [int(n) for n in match.groups()[:2] if n] if match else []
            if not match or any(not low <= n <= high for n in numbers) or numbers != sorted(numbers):
                found.append(f"{one} is not in {name}, {low} to {high}")
    return found


def traffic(document: Document, files: Files) -> Found:
    """Shares of an endpoint; a file that names them would undo a release each time it is applied."""
    if not of_type(document, "OnlineEndpoint"):
        return
    for key in ("traffic", "mirror_traffic"):
        shares = {name: share for name, share in part(document.content, key).items() if isinstance(share, int | float)}
        if shares:
            yield key, "it would undo a release each time the file is applied; a release sets it"
        if key == "traffic" and sum(shares.values()) not in (0, 100):
            yield key, f"the shares make {sum(shares.values())}; they must make 0 or 100"
        if key == "mirror_traffic" and (len(shares) > 1 or sum(shares.values()) > 50):
            yield key, "at most 50 % can be mirrored, to one deployment"


def sweeps(document: Document, files: Files) -> Found:
    """A sweep that ends trials early must be able to."""
    from .audit_wiring import component_of, steps_of

    nodes = steps_of(document) | ({"": document.content} if document.kind == "sweepJob" else {})
    for name, step in nodes.items():
        dot, policy = f"jobs.{name}." if name else "", part(step, "early_termination")
        where = f"{dot}early_termination"
        if policy.get("type") == "bandit" and ("slack_factor" in policy) == ("slack_amount" in policy):
            yield where, "a bandit needs exactly one of slack_factor and slack_amount"
        sampling: Any = step.get("sampling_algorithm")
        sampling = sampling.get("type") if isinstance(sampling, Mapping) else sampling
        if policy and sampling == "bayesian":
            yield where, "bayesian sampling learns from whole trials; use random"
        if policy and ".azure.steps train" in str(component_of(document, files, step).get("command")):
            yield from ((where, said) for said in _metric(step))
        for key, space in part(step, "search_space").items():
            bounds = [part({"x": space}, "x").get(bound) for bound in ("min_value", "max_value")]
            log = str(part({"x": space}, "x").get("type", "")).startswith("loguniform")
            if log and all(isinstance(b, int | float) and 0 < b < 1 for b in bounds):
                yield f"{dot}search_space.{key}", "bounds are natural logarithms"


def _metric(step: Mapping[str, Any]) -> list[str]:
    from .steps import LOSS

    found = []
    if str(part(step, "inputs").get("log_every", 0)) in ("", "0"):
        found.append("nothing is logged while a trial learns: give the input log_every")
    if part(step, "objective") != {"goal": "minimize", "primary_metric": LOSS}:
        found.append(f"what is logged while a trial learns is {LOSS}, to minimize")
    return found


def errors_hidden(document: Document, files: Files) -> Found:
    """By default, rows and files that fail vanish from the output."""
    steps = part(document.content, "jobs").items()
    places = [(f"jobs.{name}.", step) for name, step in steps if part({"x": step}, "x").get("type") == "parallel"]
    if document.kind == "parallelComponent":
        places.append(("", document.content))
    for where, step in places:
        for key in ("error_threshold", "mini_batch_error_threshold"):
            absent = key not in step and "component" not in step
            if absent or (key in step and not _sound(step[key])):
                yield f"{where}{key}", "give 0 or more: by default failures are ignored"
    settings = part(document.content, "settings")
    if document.kind == "modelBatchDeployment" and not _sound(settings.get("error_threshold")):
        yield "settings.error_threshold", "give 0 or more: by default failures are ignored"


def _sound(threshold: Any) -> bool:
    return isinstance(threshold, int) and not isinstance(threshold, bool) and threshold >= 0


def deprecated(document: Document, files: Files) -> Found:
    """Nothing is used that Azure has given up."""
    yield from given_up(document.text)


def given_up(text: str) -> Found:
    """Yield the lines of a text that name what Azure has given up, and what to use in its place."""
    for pattern, instead in DEPRECATED.items():
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"line {line}", f"{match[0].strip()} is no longer used; use {instead}"


def literals(document: Document, files: Files) -> Found:
    """Values keep the bounds and choices of the inputs that they are given to."""
    from .audit_wiring import component_of, steps_of

    for name, step in steps_of(document).items():
        inputs = part(component_of(document, files, step), "inputs")
        for key, value in part(step, "inputs").items():
            about, where = part(inputs, key), f"jobs.{name}.inputs.{key}"
            if isinstance(value, Mapping) or str(value).startswith("$"):
                continue
            if about.get("enum") and str(value) not in map(str, about["enum"]):
                yield where, f"{value} is none of {', '.join(map(str, about['enum']))}"
            if isinstance(value, int | float):
                low, high = about.get("min", value), about.get("max", value)
                if not float(low) <= value <= float(high):
                    yield where, f"{value} is not between {low} and {high}"


VALUES: tuple[Rule, ...] = (
    components, environments, pipeline_settings, purposes, schedules, traffic, sweeps, errors_hidden, deprecated, literals,
)  # fmt: skip
