"""The pipelines train and release are played from end to end, against a cloud in which their work is really done.

Version 1 serves everywhere. What is checked out trains a better one, which goes through registration and staging to
production; or something is wrong, and the right step says so.
"""

import functools
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from pipelines import azure_devops, github
from pipelines.cloud import Azure
from pipelines.played import Played

PLAYERS = {"github": github.play, "azure-devops": azure_devops.play}
ANSWERS = {
    "use_case": "porto-seguro", "project_slug": "porto-seguro", "platform": "azure-ml", "serving": "both",
    "iac": "bicep", "ci": "both", "ci_triggers": "no",
}  # fmt: skip
SETTINGS = "conf/project.yaml"
# An older model: worse, but with scores like those of the new one, so that a release does not mind their spread.
OLDER = {
    "learning_rate: 0.05, num_leaves: 3, reg_lambda: 50,":
        "n_estimators: 10, learning_rate: 0.5, num_leaves: 3, reg_lambda: 10,",
    "noise_drop: 0.3": "noise_drop: 0.5",
}  # fmt: skip
GATES = ["models", "test", "prod"]


def git(folder: Path, *words: str) -> str:
    """Run git, and return what it printed."""
    about = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        about |= {f"GIT_{who}_NAME": "Tester", f"GIT_{who}_EMAIL": "tester@example.com"}
    done = subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True, env=os.environ | about
    )
    return done.stdout.strip()


def changed(project: Path, changes: dict[str, str]) -> str:
    """Change the settings of a project and commit them; return what was there before."""
    path = project / SETTINGS
    text = before = path.read_text("utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    git(project, "commit", "--quiet", "--all", "--message", "settings")
    return before


class World:
    """A project in git, and what its cloud was at some moments; each is made once, and copied."""

    def __init__(self, project: Path, folder: Path) -> None:
        """Begin with a project as it was rendered, whose history has an older model."""
        self.project, self._folder, self._count = project, folder, 0
        git(project, "init", "--quiet", "--initial-branch", "main")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", "born")
        self.job = ""

    def place(self) -> Path:
        """Return a new folder."""
        self._count += 1
        return self._folder / str(self._count)

    @functools.cached_property
    def older(self) -> Azure:
        """Version 1 serves in all environments; what is checked out is as it was rendered."""
        with Azure(self.project, self.place()) as cloud:
            cloud.add_data(self.project)
            before = changed(self.project, OLDER)
            self._trained(cloud)
            for name in ("dev", "test", "prod"):
                cloud.run(self.project, "azure", "image", "--env", name)
                cloud.run(self.project, "azure", "promote", 1, "--env", name)
            (self.project / SETTINGS).write_text(before, "utf-8")
            git(self.project, "commit", "--quiet", "--all", "--message", "A better model")
            return cloud

    @functools.cached_property
    def registered(self) -> Azure:
        """Also version 2 is known, that of what is checked out."""
        with self.older.copy(self.place()) as cloud:
            self.job = self._trained(cloud)
            return cloud

    @functools.cached_property
    def newer(self) -> Azure:
        """Also version 2 is what serves."""
        with self.registered.copy(self.place()) as cloud:
            for name in ("test", "prod"):
                cloud.run(self.project, "azure", "image", "--env", name)
                cloud.run(self.project, "azure", "promote", 2, "--env", name)
            return cloud

    def _trained(self, cloud: Azure) -> str:
        job = str(cloud.run(self.project, "azure", "submit")["job"])
        cloud.run(self.project, "azure", "wait", job)
        number = cloud.run(self.project, "azure", "register", job)["model_version"]
        cloud.run(self.project, "azure", "share", number)
        return job


@pytest.fixture(scope="module")
def world(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What all tests begin with."""
    folder = tmp_path_factory.mktemp("pipelines")
    with pytest.MonkeyPatch.context() as patch:
        if "PIPELINES_MEMORY" not in os.environ:
            patch.setenv("PIPELINES_MEMORY", str(folder / "memory"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        yield World(shutil.copytree(bake(**ANSWERS), folder / "porto-seguro"), folder)


Begin = Callable[[Azure], Azure]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Return `begin(cloud)`, which copies a cloud for one test."""
    made: list[Azure] = []

    def _begin(cloud: Azure) -> Azure:
        made.append(cloud.copy(tmp_path / f"cloud{len(made)}"))
        return made[-1]

    yield _begin
    for cloud in made:
        cloud.close()
        assert not cloud.broken


def play(platform: str, pipeline: str, project: Path, cloud: Azure, folder: Path, **more: Any) -> Played:
    """Play a pipeline that somebody starts by hand."""
    return PLAYERS[platform](
        project, pipeline, event="workflow_dispatch", bin=cloud.bin, variables=cloud.variables, folder=folder, **more
    )


def said(played: Played) -> str:
    """Return what failed steps printed."""
    steps = [step for job in played.jobs.values() for step in job.steps if step.result == "failure"]
    return "\n".join(step.output[-3000:] for step in steps)


def gates(played: Played) -> list[str]:
    """Return whose approval was asked, but for dev, where nobody is."""
    return [name for name in played.asked if name in GATES]


@pytest.mark.parametrize("platform", PLAYERS)
def test_a_better_model_goes_from_training_to_production(
    world: World, begin: Begin, tmp_path: Path, platform: str
) -> None:
    cloud = begin(world.older)
    played = play(platform, "train", world.project, cloud, tmp_path / "run")
    assert played.red == [], said(played)
    assert played.ran == ["submit", "wait", "evaluate", "approve", "register", "staging", "production", "development"]
    assert gates(played) == GATES
    assert "<!doctype html>" in next(played.artifacts["evaluation"].rglob("report.html")).read_text("utf-8")
    assert "champion" in played.summary

    for name in ("dev", "test", "prod"):  # dev, too: there the next model is compared with it
        assert cloud.champions(name) == [1, 2]
        assert cloud.traffic(name) == {2: 100}
    job = cloud.places["prod"].state["shared"]["2"]["tags"]["run"]
    tags = cloud.places["dev"].state["jobs"][job]["spec"]["tags"]
    assert (tags["commit"], tags["purpose"]) == (git(world.project, "rev-parse", "HEAD"), "retraining")
    updates = [line for line in cloud.commands if "endpoint update" in line and cloud.names["prod"]["endpoint"] in line]
    shares = [int(share) for line in updates for share in re.findall(r"--traffic \S*blue=(\d+)", line)]
    assert shares[:4] == [100, 90, 50, 0]
    assert "--mirror-traffic" in updates[0]
    assert cloud.places["prod"].state["schedules"].keys() == {"porto-seguro-retrain", "porto-seguro-monitor"}


@pytest.mark.parametrize("platform", ["github"])
def test_a_model_that_the_gate_rejects_goes_nowhere(world: World, begin: Begin, tmp_path: Path, platform: str) -> None:
    cloud = begin(world.older)
    project = tmp_path / "porto-seguro"
    git(tmp_path, "clone", "--quiet", str(world.project), str(project))
    changed(project, {"floor: 0.55": "floor: 0.9"})
    played = play(platform, "train", project, cloud, tmp_path / "run")
    assert played.red == ["evaluate/evaluate"], said(played)
    assert played.ran == ["submit", "wait", "evaluate"]
    assert gates(played) == []
    assert "floor" in played.summary
    assert cloud.places["dev"].state["models"].keys() == {"1"}

    # Nor if somebody wants to release it nevertheless.
    (job,) = (name for name in cloud.places["dev"].state["jobs"] if name not in world.older.places["dev"].state["jobs"])
    played = play("azure-devops", "release", project, cloud, tmp_path / "more", inputs={"job": job})
    assert played.red == ["register/register"], said(played)
    assert gates(played) == ["models"]
    assert cloud.places["dev"].state["models"].keys() == {"1"}


@pytest.mark.parametrize("platform", ["azure-devops"])
def test_a_try_is_not_released(world: World, begin: Begin, tmp_path: Path, platform: str) -> None:
    cloud = begin(world.older)
    played = play(platform, "train", world.project, cloud, tmp_path / "run", inputs={"purpose": "exploration"})
    assert played.red == [], said(played)
    assert played.ran == ["submit", "wait", "evaluate"]
    assert gates(played) == []


@pytest.mark.parametrize("platform", ["azure-devops"])
def test_a_version_that_answers_nonsense_stays_in_staging(
    world: World, begin: Begin, tmp_path: Path, platform: str
) -> None:
    cloud = begin(world.registered)
    cloud.wrong("test", 2)
    played = play(platform, "release", world.project, cloud, tmp_path / "run", inputs={"version": "2"})
    assert played.red == ["staging/smoke-test"], said(played)
    assert "a score is no probability" in said(played)
    assert played.ran == ["staging"]
    assert gates(played) == ["test"]
    assert cloud.champions("prod") == [1]


@pytest.mark.parametrize("platform", ["github"])
def test_a_version_that_fails_on_half_of_the_requests_goes_back_by_itself(
    world: World, begin: Begin, tmp_path: Path, platform: str
) -> None:
    cloud = begin(world.registered)
    cloud.errors("prod", 2, share=50)
    played = play(platform, "release", world.project, cloud, tmp_path / "run", inputs={"version": "2"})
    assert played.red == ["production/shift-traffic"], said(played)
    assert "rolled back, 50: share of requests that failed" in " ".join(said(played).split())
    assert not any(
        step.recipe in ("smoke-test", "renew") and step.result == "success" for step in played.jobs["production"].steps
    )
    assert cloud.champions("prod") == [1]
    assert cloud.traffic("prod") == {1: 100}
    assert cloud.champions("test") == [1, 2]


@pytest.mark.parametrize("platform", ["azure-devops"])
def test_a_champion_that_answers_nonsense_is_taken_back(
    world: World, begin: Begin, tmp_path: Path, platform: str
) -> None:
    cloud = begin(world.registered)
    cloud.wrong("prod", 2, share=100)
    given = {"version": "2"}
    played = play(platform, "release", world.project, cloud, tmp_path / "run", inputs=given, only=["production"])
    assert played.red == ["production/smoke-test"], said(played)
    done = [step.recipe for step in played.jobs["production"].steps if step.result == "success"]
    assert "shift-traffic" in done
    assert "renew" not in done
    assert cloud.champions("prod") == [1]
    assert cloud.traffic("prod") == {1: 100}


@pytest.mark.parametrize("platform", ["azure-devops"])
def test_an_older_version_is_deployed_again(world: World, begin: Begin, tmp_path: Path, platform: str) -> None:
    cloud = begin(world.newer)
    played = play(platform, "release", world.project, cloud, tmp_path / "run", inputs={"version": "1"})
    assert played.red == [], said(played)
    assert played.ran == ["staging", "production", "development"]
    assert gates(played) == ["test", "prod"]
    for name in ("test", "prod"):
        assert cloud.champions(name) == [1, 2, 1]
        assert cloud.traffic(name) == {1: 100}


def test_the_cloud_lets_in_only_whom_it_concerns(world: World, begin: Begin) -> None:
    """What the tests above rest on: the identity of one environment has no rights in another one."""
    cloud = begin(world.older)
    names = cloud.names["prod"]
    words = ["ml", "model", "list", "--name", cloud.slug, "--resource-group", names["resource_group"]]
    words += ["--workspace-name", names["workspace"]]
    path = {"PATH": f"{cloud.bin}:/usr/bin:/bin", "HOME": str(cloud.folder)}
    answers = {}
    for who in ("", f"{cloud.slug}-dev", f"{cloud.slug}-prod"):
        env = path | ({"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": who} if who else {})
        answers[who] = subprocess.run(["az", *words], env=env, capture_output=True, text=True)
    nobody, other, own = answers.values()
    assert "az login" in nobody.stderr
    assert "AuthorizationFailed" in other.stderr
    assert own.returncode == 0
    url = f"{cloud.url}/{names['endpoint']}/livez"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url)


@pytest.mark.parametrize(("platform", "refused"), [("github", "prod"), ("azure-devops", "models")])
def test_what_is_not_approved_does_not_run(
    world: World, begin: Begin, tmp_path: Path, platform: str, refused: str
) -> None:
    cloud = begin(world.registered)
    given = {"job": world.job} if refused == "models" else {"version": "2"}
    played = play(
        platform, "release", world.project, cloud, tmp_path / "run", inputs=given, approve=lambda name: name != refused
    )
    assert played.red == []
    assert played.ran == ([] if refused == "models" else ["staging"])
    assert gates(played)[-1] == refused
    assert cloud.champions("prod") == [1]
