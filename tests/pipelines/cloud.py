"""The cloud that pipelines talk to, on this machine: `az` and `gh` on the PATH, and what stands behind them.

Words, rules and refusals of `az` are those of the project's own stand-in, one for each environment. Behind it, work is
done: a job runs the training pipeline, a deployment is the image's own server, requests reach it by the endpoint's
traffic, and are counted and collected. Only what costs minutes or money is not: machines, images, logins.
"""

import copy
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import yaml
from azure_executor import Failed, execute, snapshot
from filelock import FileLock
from render import ROOT

from pipelines.cloud_servers import NoImage, Server, build, fetch, start, stop

ENVIRONMENTS = ("dev", "test", "prod")
REQUESTS, ROWS = 120, 5  # that users send in each stage of a release; rows of a request
STANDS_FOR = 50  # requests: so few users, and so many counted
USUAL_MS = 8.0  # that an answer takes, as the log tells; how long it does here depends on who else works here
SOMEBODY = "somebody"  # who may do everything
PATHS = ("--file", "--path", "--src", "--download-path", "--in-file")  # options that name files
CLIENT = """#!{python} -IS
import json, os, socket, sys
try:
    with open(os.path.expanduser("~/.azure/login.json")) as file:
        who = json.load(file)["client-id"]
except OSError:
    who = os.environ.get("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID") or os.environ.get("SIGNED_IN", "")
told = [{name!r}, sys.argv[1:], os.getcwd(), who]
with socket.create_connection(("127.0.0.1", {port})) as line, line.makefile("rwb") as file:
    file.write(json.dumps(told).encode() + b"\\n")
    file.flush()
    code, out, errors = json.loads(file.readline())
sys.stdout.write(out)
sys.stderr.write(errors)
sys.exit(code)
"""
SHARED = ("shared", "shared_data", "registries", "groups")  # among environments
SCOPES = ("management.azure.com", "ml.azure.com", "storage.azure.com", "api.loganalytics.io")  # that a login gives
# What only pipelines use.
OPTIONS = {
    "extension add": "--name! --version --allow-preview --yes? --upgrade? --only-show-errors?",
    "devops invoke": "--area! --resource! --route-parameters --http-method --in-file --api-version --organization "
    "--query-parameters --media-type --encoding",
}


def _stand_in() -> Any:
    path = ROOT / "{{cookiecutter.project_slug}}" / "tests" / "azure_stand_in.py"
    spec = importlib.util.spec_from_file_location("azure_stand_in", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OPTIONS.update(OPTIONS)
    return module


stand_in = _stand_in()
Cloud: Any = stand_in.Cloud
Refused: Any = stand_in.Refused


@dataclass
class Fault:
    """What goes wrong with a version in an environment, while it has at least this share of the requests."""

    environment: str
    version: int
    share: int = 0
    score: float | None = None  # in place of its own ones; None: it answers 500

    def spoil(self, code: int, answer: bytes) -> tuple[int, bytes]:
        """Return what it answers in place of a good answer."""
        if self.score is None:
            return 500, b'{"detail": "The service failed to answer."}'
        if code != 200:
            return code, answer
        told = json.loads(answer)
        return code, json.dumps(told | {"result": [self.score for _ in told["result"]]}).encode()


class Azure:
    """The cloud of a project; use it as a context, for it runs servers.

    Attributes:
        bin: The folder with `az` and `gh`, for the PATH.
        places: What there is in each environment, by its name: the stand-in with its `state`.
        commands: All that were run: the program, then its words.
        posted: What became a comment of which pull request, the newest last.
        faults: What goes wrong.
        trained: How many jobs really ran; others were remembered.
        broken: Commands that this cloud itself could not do; there should be none.
    """

    def __init__(self, project: Path, folder: Path, memory: Path | None = None) -> None:
        """Begin with empty environments, as `azure infra up` leaves them.

        Args:
            project: A rendered project; names of environments are read there.
            folder: An empty one, for all that is kept.
            memory: Where jobs are kept and found again: those of the same code, settings and inputs.
        """
        folder.mkdir(parents=True)
        self.project, self.folder, self.bin = project, folder, folder / "bin"
        self.home = folder  # of whoever works by hand
        self.memory = memory or Path(os.environ.get("PIPELINES_MEMORY") or folder) / "jobs"
        self.commands: list[str] = []
        self.posted: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.trained = 0
        self.broken: list[str] = []
        self.token = "eyJ" + hashlib.sha256(str(folder).encode()).hexdigest()
        self.rows: list[dict[str, Any]] = []
        self.images: dict[str, Path] = {}
        self._lock = threading.RLock()
        conf = project / "conf"
        self.slug = str(yaml.safe_load((conf / "project.yaml").read_text("utf-8"))["name"])
        self.names = {
            name: yaml.safe_load((conf / "environments" / f"{name}.yaml").read_text("utf-8")) for name in ENVIRONMENTS
        }
        self.places = {name: _Environment(self, name) for name in ENVIRONMENTS}
        self.places["dev"].state["registries"][self.names["prod"]["registry"]] = {
            "group": self.names["prod"]["resource_group"]
        }
        self._share()
        self._front = _serving(_front(self))
        self._line = _serving(_line(self))
        self.bin.mkdir()
        for name in ("az", "gh"):
            script = self.bin / name
            script.write_text(
                CLIENT.format(python=sys.executable, name=name, port=self._line.server_address[1]), "utf-8"
            )
            script.chmod(0o755)

    def __enter__(self) -> "Azure":
        """Give itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop all servers."""
        self.close()

    def close(self) -> None:
        """Stop all servers."""
        for place in self.places.values():
            for server in place.servers.values():
                stop(server)
        for listener in (self._front, self._line):
            listener.shutdown()
            listener.server_close()

    def _share(self) -> None:
        """Let environments have in common what is in none of them."""
        shared = self.places["dev"].state
        for place in self.places.values():
            place.state |= {key: shared[key] for key in SHARED}

    def copy(self, folder: Path) -> "Azure":
        """Return a cloud with all that there is in this one, which may be closed by now; faults are not taken along.

        Its servers start when somebody asks them.
        """
        made = Azure(self.project, folder, self.memory)
        made.rows, made.images, made.home = self.rows, dict(self.images), self.home
        for name, place in self.places.items():
            made.places[name].state = copy.deepcopy(place.state)
        made._share()
        for place in made.places.values():
            for endpoint in place.state["endpoints"].values():
                endpoint["scoring_uri"] = f"{made.url}/{endpoint['name']}/score"
        return made

    @property
    def url(self) -> str:
        """Where the endpoints answer, each below its name."""
        return f"http://127.0.0.1:{self._front.server_address[1]}"

    # What goes wrong
    def errors(self, environment: str, version: int, share: int = 0) -> None:
        """Let a version answer 500 while it has at least `share` % of the requests."""
        self.faults.append(Fault(environment, version, share))

    def wrong(self, environment: str, version: int, share: int = 0) -> None:
        """Let a version give scores that are no probabilities, while it has at least `share` % of the requests."""
        self.faults.append(Fault(environment, version, share, 2.0))

    def fail(self, environment: str, command: str, error: str, times: int = 1) -> None:
        """Let the next commands that begin like this fail in an environment, with an error of az."""
        self.places[environment].fail(command, error, times)

    # What there is
    def add_data(
        self, project: Path, rows: int = 12_000, seed: int = 0, environments: Iterable[str] = ENVIRONMENTS
    ) -> str:
        """Make synthetic rows a data version and an asset of environments, by the project's own commands.

        Returns:
            The version.
        """
        scratch = self.folder / f"data-{rows}-{seed}"
        shutil.copytree(project, scratch, ignore=shutil.ignore_patterns(".git", ".venv", "data", "runs"))
        file = scratch / "rows.csv"
        self.run(scratch, "data", "sample", "--rows", rows, "--seed", seed, "--output", file)
        self.run(scratch, "ingest", file)
        for name in environments:
            told = self.run(scratch, "azure", "data", "--env", name)
        table = pl.read_csv(file, infer_schema_length=None, n_rows=REQUESTS * ROWS)
        contract = yaml.safe_load((scratch / "conf" / "contract.yaml").read_text("utf-8"))
        self.rows = table.drop(_target(contract)).to_dicts()
        return str(told["data"]).rpartition(":")[2]

    def run(self, project: Path, *words: Any, code: int = 0) -> Any:
        """Run a command of a project with this cloud, and return what its --json tells."""
        package = next(path.parent.name for path in (project / "src").glob("*/__main__.py"))
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            [sys.executable, "-m", package, *map(str, words), "--json"], cwd=project, capture_output=True, text=True,
            env={"PATH": path, "PYTHONPATH": "src", "HOME": str(self.home), "SIGNED_IN": SOMEBODY}, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip().startswith("{") else None

    def champions(self, environment: str) -> list[int]:
        """Return the champions of an environment so far, as its endpoint remembers them."""
        told = self.places[environment].state["endpoints"].get(self.names[environment]["endpoint"])
        return [int(one) for one in ((told or {}).get("tags", {}).get("champions", "")).split("-") if one]

    def traffic(self, environment: str) -> dict[int, int]:
        """Return the versions that are served in an environment, each with its share of the requests in percent."""
        state, name = self.places[environment].state, self.names[environment]["endpoint"]
        shares = state["endpoints"].get(name, {}).get("traffic", {})
        there = state["deployments"].get(name, {})
        return {int(there[one]["tags"]["model_version"]): share for one, share in shares.items() if share}

    # Programs
    def do(self, program: str, words: list[str], folder: str, who: str) -> tuple[int, str, str]:
        """Do what a program would, for whoever is signed in: exit code, output, errors."""
        with self._lock:
            self.commands.append(shlex.join([program, *words]))
            if program == "gh":
                return self._gh(words, Path(folder))
            mine = next((name for name in ENVIRONMENTS if who in (client(name), self._connection(name))), "")
            said = self._of(words)
            if not mine and who != SOMEBODY and words[:2] not in (["extension", "add"], ["devops", "invoke"]):
                return 1, "", "ERROR: Please run 'az login' to setup account.\n"
            if mine and said and said != mine:
                return 1, "", f"{stand_in.FORBIDDEN} It is the client of {mine}, and this is in {said}.\n"
            place = self.places[said or mine or "dev"]
            place.here = Path(folder)
            code, out, errors = place(words)
            wanted = words[words.index("--output") + 1] if "--output" in words else "json"
            return code, "" if wanted == "none" else out, errors

    @property
    def variables(self) -> dict[str, dict[str, str]]:
        """What `bootstrap` tells GitHub of each environment that runs commands."""
        about = {"AZURE_TENANT_ID": "tenant", "AZURE_SUBSCRIPTION_ID": "subscription"}
        return {name: about | {"AZURE_CLIENT_ID": client(name)} for name in ENVIRONMENTS}

    def _connection(self, environment: str) -> str:
        return f"{self.slug}-{environment}"

    def _of(self, words: list[str]) -> str:
        """Tell whose names a command says; nobody's where it says none."""
        keys = ("resource_group", "workspace", "storage_account", "container_registry", "key_vault", "log_analytics")
        for name, told in self.names.items():
            if any(told[key] in re.split(r"[/=]", word) for key in keys for word in words) or customer(name) in words:
                return name
        return ""

    def _gh(self, words: list[str], folder: Path) -> tuple[int, str, str]:
        match words:
            case ["pr", "comment", number, *rest]:
                flags = {word for word in rest if word.startswith("--")}
                if flags - {"--edit-last", "--create-if-none", "--body-file", "--repo"}:
                    return 1, "", f"unknown flag: {' '.join(rest)}\n"
                body = (folder / rest[rest.index("--body-file") + 1]).read_text("utf-8")
                if "--edit-last" in flags and any(one == number for one, _ in self.posted):
                    self.posted = [(one, text) for one, text in self.posted if one != number]
                elif "--edit-last" in flags and "--create-if-none" not in flags:
                    return 1, "", "no comments found for current user\n"
                self.posted.append((number, body))
                return 0, f"https://github.com/us/{number}#issuecomment-1\n", ""
        return 1, "", f'unknown command "{" ".join(words)}" for "gh"\n'

    # Jobs
    def train(self, file: Path, given: Mapping[str, str], asked: Mapping[str, Any]) -> tuple[Path, str]:
        """Run a training pipeline, or find that it ran before.

        Args:
            file: Of the pipeline.
            given: Its inputs, folders in the place of assets.
            asked: Its inputs as the job names them.

        Returns:
            A folder whose `outputs` are the job's, and what went wrong.
        """
        root = file.parents[2]
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Azure's library
            sent = snapshot(root, Path(scratch) / "sent")
            for path in sorted((root / "azureml").rglob("*.yml")):
                target = sent / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
            key = digest(sent, json.dumps(asked, sort_keys=True), *(digest(Path(given[name])) for name in ("raw",)))
        place = self.memory / key
        self.memory.mkdir(parents=True, exist_ok=True)
        with FileLock(self.memory / f"{key}.lock"):
            if not (place / "said.txt").is_file():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                self.trained += 1
                said = ""
                try:
                    execute(file, place, given)
                except Failed as error:
                    said = str(error)
                (place / "said.txt").write_text(said, "utf-8")
        return place, (place / "said.txt").read_text("utf-8")

    # Requests
    def ask(
        self, environment: str, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Send a request to a deployment, as the endpoint's traffic says; what is answered is logged and collected."""
        with self._lock:
            place = self.places[environment]
            endpoint = place.state["endpoints"].get(self.names[environment]["endpoint"])
            if endpoint is None:
                return 404, b"no such endpoint"
            live = {name: share for name, share in endpoint["traffic"].items() if share}
            named = {key.lower(): value for key, value in headers.items()}.get("azureml-model-deployment")
            if not live and not named:
                return 404, b"no deployment has traffic"
            name = named or place.turn(live)
            code, answer = place.answer(name, method, path, body, headers)
            if path == "/score":
                for copied, share in endpoint["mirror_traffic"].items():
                    place.owed += share
                    if place.owed >= 100:
                        place.owed -= 100
                        place.answer(copied, method, path, body, headers)
            return code, answer

    def users(self, environment: str) -> None:
        """Let users ask."""
        for n in range(REQUESTS):
            rows = [self.rows[(n * ROWS + k) % len(self.rows)] for k in range(ROWS)]
            body = json.dumps({"data": rows}).encode()
            self.ask(environment, "POST", "/score", body, {"Content-Type": "application/json"})


class _Environment(Cloud):  # type: ignore[misc]
    """One environment: what the project's stand-in plays, and the work behind it."""

    def __init__(self, azure: Azure, name: str) -> None:
        super().__init__()
        self.azure, self.name, self.told = azure, name, azure.names[name]
        self.servers: dict[str, Server] = {}
        self.here, self.owed, self.asked_of = azure.folder, 0, dict[str, int]()
        self.state["groups"] = [told["resource_group"] for told in azure.names.values()]

    def _done(self, name: str, options: dict[str, list[str]], free: list[str]) -> Any:
        """Do a command in the folder in which it was typed."""
        for option, values in options.items():
            if option in PATHS:
                options[option] = [one if one.startswith(("azureml:", "@")) else str(self.here / one) for one in values]
        return super()._done(name, options, [str(self.here / one) for one in free])

    def _extension_add(self, one: dict[str, str], _: Any) -> None:
        if one["--name"] not in ("ml", "log-analytics", "azure-devops"):
            raise Refused(f"No matching extensions for '{one['--name']}'.")

    def _account_get_access_token(self, one: dict[str, str], _: Any) -> Any:
        asked = one.get("--resource") or one.get("--scope", "").removesuffix("/.default")
        if not asked or asked.removeprefix("https://").rstrip("/") not in SCOPES:
            raise Refused(f"(invalid_resource) AADSTS500011: {asked} has no endpoints.")
        return {"accessToken": self.azure.token, "tokenType": "Bearer", "expires_on": int(time.time()) + 3600}

    def _devops_invoke(self, one: dict[str, str], _: Any) -> Any:
        if (one["--area"], one["--resource"]) != ("git", "pullRequestThreads"):
            raise Refused(f"--area {one['--area']} --resource {one['--resource']}: not found")
        route = dict(pair.split("=", 1) for pair in one["--route-parameters"].split())
        told = json.loads(Path(one["--in-file"]).read_text("utf-8"))
        self.azure.posted.append((route["pullRequestId"], told["comments"][0]["content"]))
        return {"id": len(self.azure.posted)}

    # Assets
    def _ml_data_create(self, one: dict[str, str], options: Any) -> Any:
        made = super()._ml_data_create(one, options)
        made["path"] = str(self._kept("data", one["--name"], one["--version"], Path(one["--path"])))
        return made

    def _kept(self, *names: Any) -> Path:
        *parts, source = names
        target = self.azure.folder.joinpath(self.name, *parts)
        return Path(shutil.copytree(source, target))

    def _ml_model_create(self, one: dict[str, str], options: Any) -> Any:
        made = super()._ml_model_create(one, options)
        made["folder"] = str(self._kept("models", one["--name"], one["--version"], self._output(one["--path"])))
        return made

    def _output(self, address: str) -> Path:
        job, name = re.fullmatch(r"azureml://jobs/([^/]+)/outputs/(\w+)", address).groups()  # type: ignore[union-attr]
        return Path(self._job(job)["folder"]) / "outputs" / name

    def _asset(self, address: str) -> Path:
        """The folder of an asset as YAML names it."""
        shared = address.startswith("azureml://registries/")
        name, version = re.search(r"([\w-]+)(?::|/versions/)(\w+)$", address).groups()  # type: ignore[union-attr]
        models = self.state["shared" if shared else "models"]
        if version in models and models[version]["name"] == name:
            return Path(models[version]["folder"])
        told = stand_in.found(self.state["shared_data" if shared else "data"], f"{name}:{version}", "data")
        return Path(told["path"])

    # Jobs
    def _ml_job_create(self, one: dict[str, str], options: Any) -> Any:
        told = super()._ml_job_create(one, options)
        job = self._job(one["--name"])
        steps = job["spec"]["jobs"]["training"]["inputs"]
        bound = {name for name in job["spec"]["inputs"] if f"parent.inputs.{name}" in str(steps.get(name))}
        inputs = {name: value for name, value in job["spec"]["inputs"].items() if name in bound}
        folder, failure = self.azure.train(Path(one["--file"]), {n: self._given(v) for n, v in inputs.items()}, inputs)
        step = failure.split(" ended with")[0]
        job["statuses"] = ["Failed" if failure else "Completed"]
        job |= {"folder": str(folder), "log": failure}
        job["steps"] = [{"name": step, "display_name": step, "status": "Failed"}] if failure else []
        return told

    def _given(self, value: Any) -> str:
        return str(self._asset(value["path"])) if isinstance(value, dict) else str(value)

    def _ml_job_download(self, one: dict[str, str], _: Any) -> Any:
        source = Path(self._job(one["--name"])["folder"]) / "outputs" / one["--output-name"]
        if not source.is_dir():
            raise stand_in.absent("outputs", one["--output-name"])
        target = Path(one["--download-path"]) / "named-outputs" / one["--output-name"]
        shutil.copytree(source, target, dirs_exist_ok=True)

    # Images
    def _acr_build(self, one: dict[str, str], options: Any) -> Any:
        told = super()._acr_build(one, options)
        digest = "sha256:" + hashlib.sha256(one["--image"].encode()).hexdigest()
        folder = self.azure.folder / self.name / "images" / digest[-12:]
        try:
            build(Path(one["free"]), folder)
        except NoImage as error:
            raise Refused(str(error)) from None
        self.azure.images[digest] = folder
        told["outputImages"][0]["digest"] = digest
        return told

    # Online endpoints
    def _ml_online_endpoint_create(self, one: dict[str, str], options: Any) -> Any:
        made = super()._ml_online_endpoint_create(one, options)
        made["scoring_uri"] = f"{self.azure.url}/{made['name']}/score"
        return made

    def _ml_online_endpoint_update(self, one: dict[str, str], options: Any) -> Any:
        made = super()._ml_online_endpoint_update(one, options)
        if "--traffic" in one or "--mirror-traffic" in one:
            self.asked_of, self.owed = {}, 0
            kinds = (made["traffic"], made["mirror_traffic"])
            if len({name for kind in kinds for name, share in kind.items() if share}) > 1:
                self.azure.users(self.name)
        return made

    def _ml_online_deployment_create(self, one: dict[str, str], options: Any) -> Any:
        made = super()._ml_online_deployment_create(one, options)
        if not self.serve(made):
            made["provisioning_state"] = "Failed"
            raise Refused("(ResourceOperationFailure) ResourceNotReady: User container has crashed.")
        return made

    def serve(self, made: dict[str, Any]) -> bool:
        """Start the server of a deployment; whether it becomes ready. What it says is its log."""
        environment = self.state["environments"][made["environment"].removeprefix("azureml:")]
        image = self.azure.images[environment["image"].partition("@")[2]]
        log = self.azure.folder / self.name / f"{made['name']}.log"
        log.parent.mkdir(exist_ok=True)
        place = made.get("model_mount_path", "/model")
        server = start(image, self._asset(made["model"]), place, made["environment_variables"], log)
        self.state["logs"][made["name"]] = "" if server else log.read_text("utf-8")
        if server:
            self.servers[made["name"]] = server
        return server is not None

    def _ml_online_deployment_delete(self, one: dict[str, str], options: Any) -> Any:
        super()._ml_online_deployment_delete(one, options)
        if server := self.servers.pop(one["--name"], None):
            stop(server)

    def turn(self, live: Mapping[str, int]) -> str:
        """Whose turn it is: who lags behind most of what its share says."""
        whole = sum(self.asked_of.values()) + 1
        name = max(live, key=lambda one: live[one] / 100 * whole - self.asked_of.get(one, 0))
        self.asked_of[name] = self.asked_of.get(name, 0) + 1
        return name

    def answer(self, name: str, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """What a deployment answers, or what a fault makes of it."""
        endpoint = self.told["endpoint"]
        made = stand_in.found(self.state["deployments"][endpoint], name, "deployments")
        try:
            if name not in self.servers and not self.serve(made):
                raise OSError(f"{name} does not start")
            code, answer = fetch(self.servers[name], method, path, body, headers)
        except OSError as error:
            code, answer = 503, json.dumps({"detail": str(error)}).encode()
        if path != "/score":
            return code, answer
        version, share = int(made["tags"]["model_version"]), self.state["endpoints"][endpoint]["traffic"].get(name, 0)
        for fault in self.azure.faults:
            if (fault.environment, fault.version) == (self.name, version) and share >= fault.share:
                code, answer = fault.spoil(code, answer)
        self._note(name, code, body, answer)
        return code, answer

    def _note(self, name: str, code: int, body: bytes, answer: bytes) -> None:
        """Log and collect a request."""
        now = datetime.now(UTC)
        endpoint, key = self.told["endpoint"], f"r{len(self.state['traffic'])}"
        stamp = now.isoformat(timespec="milliseconds")
        self.state["traffic"].append([stamp, endpoint, name, code, USUAL_MS, STANDS_FOR])
        for kind, data in (("request", body), ("response", answer)):
            path = f"modelDataCollector/{endpoint}/{name}/{kind}/{now:%Y/%m/%d/%H}/instance.jsonl"
            try:
                event = {"time": stamp, "correlationid": key, "data": json.loads(data)}
            except ValueError:
                continue
            blobs = self.state["blobs"]
            blobs[path] = blobs.get(path, "") + json.dumps(event) + "\n"

    def _ml_datastore_show(self, one: dict[str, str], options: Any) -> Any:
        return super()._ml_datastore_show(one, options) | {"account_name": self.told["storage_account"]}

    def _monitor_log_analytics_workspace_show(self, one: dict[str, str], options: Any) -> Any:
        return super()._monitor_log_analytics_workspace_show(one, options) | {"customerId": customer(self.name)}


def customer(environment: str) -> str:
    """The id of an environment's Log Analytics workspace."""
    return f"99999999-8888-7777-6666-{hashlib.sha256(environment.encode()).hexdigest()[:12]}"


def client(environment: str) -> str:
    """The client id of the identity that CI has in an environment."""
    return f"00000000-0000-0000-0000-{hashlib.sha256(environment.encode()).hexdigest()[:12]}"


def digest(folder: Path, *more: str) -> str:
    """Hash a folder, and texts."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for text in more:
        found.update(text.encode() + b"\0")
    return found.hexdigest()[:24]


def _target(contract: Any) -> str:
    """The column that is predicted."""
    for column in contract["schema"][0]["properties"]:
        if {"property": "role", "value": "target"} in column.get("customProperties", []):
            return str(column["name"])
    raise KeyError("target")


def _serving(server: Any) -> Any:
    """Let a server answer in a thread."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def _line(azure: Azure) -> socketserver.ThreadingTCPServer:
    """What the programs on the PATH talk to: a line of JSON, and one back."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            program, words, folder, who = json.loads(self.rfile.readline())
            try:
                told = azure.do(program, words, folder, who)
            except Exception as error:  # a mistake of this cloud: whoever asked shall see it
                told = 99, "", f"{program} {shlex.join(words)[:300]}: {type(error).__name__}: {error}\n"
                azure.broken.append(told[2])
            self.wfile.write(json.dumps(told).encode() + b"\n")

    class Line(socketserver.ThreadingTCPServer):
        daemon_threads = True

    return Line(("127.0.0.1", 0), Handler)


def _front(azure: Azure) -> ThreadingHTTPServer:
    """Where endpoints answer, each below its name; for whoever has a token."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            _, name, *rest = self.path.split("/")
            environment = next((one for one, told in azure.names.items() if told["endpoint"] == name), None)
            if environment is None:
                code, answer = 404, b'{"error": "no such endpoint"}'
            elif self.headers.get("Authorization") != f"Bearer {azure.token}":
                code, answer = 401, b'{"error": "no token of this cloud"}'
            else:
                code, answer = azure.ask(environment, self.command, "/" + "/".join(rest), body, dict(self.headers))
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
