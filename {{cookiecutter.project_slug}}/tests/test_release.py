"""The release machine and the router: every way that a release can go, a crash at every write, who gets a request."""

import asyncio
import copy
import datetime
import http.server
import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
import yaml
from conftest import Command, decoded, made_up
from prometheus_client.parser import text_string_to_metric_families
from release_places import RNG, SCORES, Crash, Fake, seen

from {{ cookiecutter.__package }} import clock
from {{ cookiecutter.__package }}.config import TOKEN, Rollout, Serving, load_settings
from {{ cookiecutter.__package }}.contract import save_contract
from {{ cookiecutter.__package }}.errors import Fault, ProjectError, UsageError
from {{ cookiecutter.__package }}.infer import infer
from {{ cookiecutter.__package }}.pipeline import Project
from {{ cookiecutter.__package }}.registry import Version
from {{ cookiecutter.__package }}.result import Result
from {{ cookiecutter.__package }}.serving import commands, deployments, local
from {{ cookiecutter.__package }}.serving.compare import EARLY, Evidence, compare, percentile_ms, spread_apart
from {{ cookiecutter.__package }}.serving.deployments import Table
from {{ cookiecutter.__package }}.serving.endpoint import Deployed, Release, Seen, State
from {{ cookiecutter.__package }}.serving.local import LocalEndpoint, Told
from {{ cookiecutter.__package }}.serving.predictions import PredictionLog
from {{ cookiecutter.__package }}.serving.probe import Endpoint
from {{ cookiecutter.__package }}.serving.release import Releases, Step
from {{ cookiecutter.__package }}.serving.router import Router
from {{ cookiecutter.__package }}.serving.telemetry import SECONDS
from {{ cookiecutter.__package }}.serving.upstream import Upstream
from {{ cookiecutter.__package }}.serving.wire import Answer, answered

# The release machine is led through all its ways on an endpoint of its own and, where the project has it, on Azure's.
PLACES = [Fake, *([import_module("azure_endpoint").OnAzure] if find_spec("azure_endpoint") else [])]
on_each_place = pytest.mark.parametrize("Place", PLACES, ids=lambda place: place.__name__)


def evidence(told: Seen | None = None, scores: np.ndarray | None = None, **more: object) -> Evidence:
    return Evidence(told or seen(1000), SCORES[:2000] if scores is None else scores, **more)  # type: ignore[arg-type]


def wrong(candidate: Evidence, base: Evidence | None = None, metric: str = "auc") -> list[str]:
    """Names of what is not kept."""
    return [f.name for f in compare(candidate, base or evidence(), Rollout(), metric, "binary") if not f.kept]


def test_a_version_that_does_as_well_is_found_to() -> None:
    again = evidence(seen(900), SCORES[2000:4000])
    found = compare(again, evidence(), Rollout(), "auc", "binary")
    assert len(found) == 4
    assert all(f.kept for f in found)
    assert compare(evidence(seen(EARLY - 1, EARLY - 1)), evidence(), Rollout(), "auc", "binary") == []


def test_each_fault_is_found_by_its_name() -> None:
    assert wrong(evidence(seen(1000, errors=20))) == ["share of requests that failed"]
    assert wrong(evidence(seen(60, errors=20))) == ["share of requests that failed"], "failures are not waited for"
    assert wrong(evidence(seen(1000, errors=20)), evidence(seen(1000, errors=15))) == []
    assert wrong(evidence(seen(1000, refused=30))) == ["share of requests that were refused"]
    assert wrong(evidence(seen(1000, bucket=5))) == ["ms for an answer (95th percentile)"]
    assert wrong(evidence(seen(1000, bucket=3))) == [], "that little slower, nobody notices"
    assert wrong(evidence(scores=SCORES[2000:4000] ** 0.8)) == ["shift of the scores (PSI)"]


def test_a_worse_metric_is_found_where_outcomes_are_known_and_chance_is_not() -> None:
    y = (RNG.random(3000) < 0.3).astype(float)
    good = np.clip(0.3 * y + RNG.random(3000) * 0.7, 0, 1)
    bad = RNG.permutation(good)
    base = evidence(known=(y, good))
    name = "auc, where outcomes are known"
    assert wrong(evidence(known=(y, bad)), base) == [name]
    assert wrong(evidence(known=(y[:100], bad[:100])), base) == [], "too few to say"
    assert wrong(evidence(known=(y[:1500], good[:1500])), base) == []
    assert wrong(evidence(known=(y, good)), evidence(known=(y, bad))) == []
    loss = "log_loss, where outcomes are known"
    assert wrong(evidence(known=(y, bad)), base, "log_loss") == [loss]


def test_percentile_and_shift_are_what_they_should_be() -> None:
    times = RNG.gamma(2, 0.004, 100_000)
    counts = np.bincount(np.searchsorted(SECONDS, times), minlength=len(SECONDS) + 1).tolist()
    assert percentile_ms(counts) == pytest.approx(np.quantile(times, 0.95) * 1000, rel=0.3)
    found = [spread_apart(RNG.normal(size=500), RNG.normal(size=800)) for _ in range(300)]
    shifts, (chance, *_) = zip(*found, strict=True)
    assert np.mean(shifts) == pytest.approx(chance, rel=0.2)
    assert spread_apart(np.ones(500), np.ones(500))[0] == 0


def test_the_rollout_in_the_settings_must_lead_somewhere(project: Path) -> None:
    path = project / "conf" / "project.yaml"
    text = path.read_text("utf-8")
    assert load_settings(project / "conf").rollout.stages == ("mirror", 10, 50, 100)
    for stages in ("[10, 50]", "[50, 10, 100]", "[10, mirror, 100]", "[]", "[0, 100]", "[120]"):
        path.write_text(text.replace("stages: [mirror, 10, 50, 100]", f"stages: {stages}"), "utf-8")
        with pytest.raises(UsageError, match="stages"):
            load_settings(project / "conf")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"blue": Deployed(1, 90)}, "add to 90 %"),
        ({"blue": Deployed(1, 110), "green": Deployed(2, -10)}, "must add to 100"),
        ({"blue": Deployed(1, 100), "green": Deployed(2, 0, 60)}, "at most 50 %"),
        ({"blue": Deployed(1, 50, 10), "green": Deployed(2, 50)}, "gets no copies"),
        ({"blue": Deployed(1, 100), "a": Deployed(2, 0, 5), "b": Deployed(3, 0, 5)}, "One deployment"),
        ({"Blue!": Deployed(1, 100)}, "is no name"),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_not_written(
    tmp_path: Path, places: dict[str, Deployed], said: str
) -> None:
    endpoint = LocalEndpoint(tmp_path)
    with pytest.raises(UsageError, match=said):
        endpoint.apply(State(places))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def releases(lived: Path, tmp_path: Path) -> Iterator[Callable[..., Releases]]:
    """Return `releases(fake, **rollout)`, the machine of a project whose registry is the fake's."""
    conf = Path(shutil.copytree(lived / "conf", tmp_path / "conf"))
    made_up(500, 1).write_csv(tmp_path / "rows.csv")  # whatever the team predicts, here somebody buys or not
    save_contract(infer(tmp_path / "rows.csv", "bought", "shop").contract, conf / "contract.yaml")
    given = yaml.safe_load((conf / "project.yaml").read_text("utf-8"))

    def make(fake: Fake, **rollout: Any) -> Releases:
        told = given | {"goal": {"metric": "auc"}, "rollout": given["rollout"] | rollout}
        (conf / "project.yaml").write_text(yaml.safe_dump(told), "utf-8")
        if fake.root != tmp_path:
            shutil.copytree(conf, fake.root / "conf", dirs_exist_ok=True)
        return Releases(Project(fake.root), fake, fake)

    yield make
    clock.set_now(None)


def lead(machine: Releases, fake: Fake, **fault: object) -> list[Step]:
    """Step until the release ends."""
    steps = []
    for _ in range(10):
        fake.serve(**fault)  # type: ignore[arg-type]
        steps.append(machine.step())
        if steps[-1].release.status != "running":
            break
    return steps


@on_each_place
def test_a_good_version_goes_through_every_stage(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    machine = releases(fake)
    assert machine.start(2).did == "started"
    assert machine.step().did == "held", "nobody has asked yet"
    steps = lead(machine, fake)
    assert [step.did for step in steps][-1] == "done"
    shares = [(s.deployments["green"].traffic, s.deployments["green"].mirror) for s in fake.states]
    assert list(dict.fromkeys(shares)) == [(0, 50), (10, 0), (50, 0), (100, 0)]
    assert fake.champions == [1, 2]
    assert fake.stored.deployments["blue"] == Deployed(1, 0), "it stays for the way back"
    with pytest.raises(UsageError, match="No release is under way"):
        machine.step()


@on_each_place
def test_a_swap_at_once_and_an_ab_test_are_settings_of_the_same_machine(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    assert releases(fake, stages=[100]).start(2).did == "done"
    assert fake.stored.deployments == {"blue": Deployed(1, 0), "green": Deployed(2, 100)}
    assert fake.champions == [1, 2]
    other = Place(tmp_path)
    machine = releases(other, stages=[50, 100], minutes=20_160)
    machine.start(2)
    other.serve()
    assert "lasts until" in machine.step().reasons[0]
    assert other.stored.deployments == {"blue": Deployed(1, 50), "green": Deployed(2, 50)}
    clock.set_now(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=15))
    assert machine.step().did == "done"
    assert other.stored.deployments == {"blue": Deployed(1, 0), "green": Deployed(2, 100)}


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("fault", [{"errors": 0.2}, {"slow": True}, {"shifted": True}, {"worse": True}], ids=str)
@on_each_place
def test_a_fault_at_any_stage_brings_the_old_version_back(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path, stage: int, fault: dict[str, object]
) -> None:
    fake = Place(tmp_path)
    machine = releases(fake)
    machine.start(2)
    before = None
    while before is None or before.did == "held" or before.release.stage != ["mirror", "10", "50"][stage]:
        if stage == 0:
            break
        fake.serve()
        before = machine.step()
    last = lead(machine, fake, **fault)[-1]
    named = {"errors": "failed", "slow": "ms for", "shifted": "shift", "worse": "where outcomes are known"}
    assert all(named[next(iter(fault))] in reason for reason in last.reasons), last.reasons
    assert (last.did, last.release.stage) == ("rolled back", ["mirror", "10", "50"][stage])
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}
    assert fake.champions == [1]


WAYS = [  # writes, the stage at which something happens, and what: a fault, or somebody aborts
    (6, "", ""),  # start, three stages, the champion, the end
    *(
        (writes, stage, what)
        for what in ("rolled back", "aborted")
        for writes, stage in enumerate(("mirror", "10", "50"), 2)
    ),
]


@pytest.mark.parametrize(("writes", "stage", "what"), WAYS)
@on_each_place
def test_a_crash_at_any_write_is_gone_on_from(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path, writes: int, stage: str, what: str
) -> None:
    def live_through(fake: Fake) -> int:
        """Lead the release to its end; return how often the process crashed."""
        crashes, machine = 0, releases(fake)
        for _ in range(20):
            try:
                if fake.stored.release is None:
                    machine.start(2)
                if not (release := fake.stored.under_way()):
                    return crashes
                here = release.stage == stage
                fake.serve(errors=0.2 if here and what == "rolled back" else 0.0)
                machine.abort() if here and what == "aborted" else machine.step()
            except Crash:
                crashes += 1
                machine = releases(fake)  # another process
        raise AssertionError("it does not end")

    smooth = Place(tmp_path / "smooth")
    assert live_through(smooth) == 0
    assert smooth.writes == writes if Place is Fake else smooth.writes > writes
    for crash_at in range(smooth.writes):
        for after in (False, True):
            fake = Place(tmp_path / f"{crash_at}{after}", crash_at, after)
            assert live_through(fake) == 1
            assert fake.stored.release
            assert fake.stored.release.status == (what or "done")
            gone_back = {"blue": Deployed(1, 100)}
            arrived = {"blue": Deployed(1, 0), "green": Deployed(2, 100)}
            assert fake.stored.deployments == (gone_back if what else arrived)
            assert fake.champions == ([1] if what else [1, 2])


@pytest.mark.parametrize("stages", [["mirror", 100], [100]], ids=str)
@on_each_place
def test_a_version_that_never_started_goes_back_though_the_command_died_that_wrote_it(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path, stages: list[str | int]
) -> None:
    fake = Place(tmp_path, crash_at=Place.FIRST, after=True)
    machine = releases(fake, stages=stages)
    with pytest.raises(Crash):
        machine.start(2)
    fake.unsettled()
    assert machine.step().did == "held", "the endpoint has not tried it yet"
    reason = fake.refuse()
    step = machine.step()
    assert (step.did, step.reasons) == ("rolled back", [reason])
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}
    assert fake.champions == [1]
    assert fake.stored.release
    assert reason in fake.stored.release.history[-1]


@on_each_place
def test_a_candidate_that_no_longer_starts_goes_back(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    machine = releases(fake)
    machine.start(2)
    reason = fake.fail("green")
    assert machine.step().reasons == [reason]
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}


@on_each_place
def test_a_release_that_is_nearly_done_can_be_aborted_until_it_is_champion(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    for crash_at, champions, what in ((0, [1], "aborted"), (1, [1, 2], "done")):
        fake = Place(tmp_path / str(crash_at), Place.FIRST + crash_at, after=True)
        machine = releases(fake, stages=[100])
        with pytest.raises(Crash):
            machine.start(2)
        if what == "done":
            with pytest.raises(UsageError, match="is the champion already"):
                machine.abort()
            fake.down = True  # the last write needs no router
            assert machine.step().did == "done"
        else:
            assert machine.abort().did == "aborted"
        assert fake.champions == champions


@on_each_place
def test_a_release_whose_stage_is_no_longer_in_the_settings_can_only_be_aborted(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    releases(fake).start(2)
    machine = releases(fake, stages=[50, 100])
    with pytest.raises(UsageError, match="no longer has"):
        machine.step()
    assert machine.abort().did == "aborted"


@on_each_place
def test_without_a_prediction_log_only_a_swap_at_once_is_released(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path / "a")
    fake.unlogged()
    with pytest.raises(UsageError, match=Place.NO_LOG):
        releases(fake).start(2)
    assert fake.stored.release is None
    assert releases(fake, stages=[100]).start(2).did == "done"
    fake = Place(tmp_path / "b")
    machine = releases(fake)
    machine.start(2)
    fake.unlogged()  # the router was started again
    fake.counts = {"blue": seen(2000), "green": seen(1000)}
    step = machine.step()
    assert (step.did, Place.NO_LOG in step.reasons[0]) == ("held", True)


@on_each_place
def test_what_another_router_counted_is_not_subtracted(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    before = msgspec.structs.replace(seen(500, 40), counter="one")
    same, other = (msgspec.structs.replace(seen(600, 1), counter=name) for name in ("one", "two"))
    assert other.since(before) == other
    assert same.since(before).requests == 100
    fake = Place(tmp_path)
    fake.counts["green"] = msgspec.structs.replace(seen(0), counter="one")
    machine = releases(fake)
    machine.start(2)
    fake.serve()
    assert machine.step().did == "moved on", "to 10 %"
    assert fake.counts["green"].requests == 500
    fake.counts = {name: msgspec.structs.replace(seen(600, 30), counter="two") for name in fake.counts}
    fake.counts["blue"].errors = 0
    step = machine.step()
    assert (step.did, "0.05 against" in step.reasons[0]) == ("rolled back", True), step.reasons


@on_each_place
def test_what_cannot_be_released_is_refused(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    machine = releases(fake)
    for version, said in ((1, "all of the traffic already"), (9, "another question")):
        with pytest.raises(UsageError, match=said):
            machine.start(version)
    fake.down = True
    with pytest.raises(Fault, match=Place.DOWN):
        machine.start(2)
    assert fake.stored.release is None
    fake.down = False
    machine.start(2)
    with pytest.raises(UsageError, match="is being released"):
        machine.start(3)
    fake.down = True
    with pytest.raises(Fault):
        machine.step()
    assert fake.stored.under_way(), "it holds while it cannot see"
    fake.down = False
    assert machine.abort().did == "aborted"
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}
    fake.clear()
    with pytest.raises(UsageError, match="Nothing is served"):
        machine.start(2)


@on_each_place
def test_a_hand_in_the_traffic_is_undone_and_a_stage_lasts_its_time(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path
) -> None:
    fake = Place(tmp_path)
    machine = releases(fake, minutes=30)
    machine.start(2)
    fake.by_hand("green", mirror=3)
    assert machine.step().did == "held"
    fake.serve()
    fake.serve()
    step = machine.step()
    assert (step.did, "lasts until" in step.reasons[0]) == ("held", True)
    assert fake.stored.deployments["green"].mirror == 50
    clock.set_now(datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=31))
    assert machine.step().did == "moved on"


def test_the_commands_say_what_is_missing(lived: Path, command: Command) -> None:
    for words, code, said in (
        (("release", "start", 99), 2, "Nothing is served"),
        (("release", "step"), 2, "No release is under way"),
        (("release", "abort"), 2, "No release is under way"),
        (("release", "status"), 0, "No version was released yet"),
    ):
        found = command(lived, *words)
        assert (found[0], said in found[1]) == (code, True), found
    assert decoded(command(lived, "release", "status", "--json")[1]) == {
        "url": None,
        "deployments": {},
        "release": None,
        "problems": [],
    }
    assert not (lived / "endpoint.json").exists()


@pytest.mark.life
def test_once_a_version_is_served_the_next_one_needs_a_release(lived: Path, tmp_path: Path, command: Command) -> None:
    root = shutil.copytree(lived, tmp_path / "project", ignore=shutil.ignore_patterns("runs", "mlflow.db*"))
    path = root / "conf" / "project.yaml"
    conf = yaml.safe_load(path.read_text("utf-8"))
    assert conf["promotion"] == "staged"
    weak = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "min_samples_leaf": 200}}
    for model in (weak, {"estimator": "lightgbm", "parameters": {}}):
        path.write_text(yaml.safe_dump(conf | {"model": model, "goal": {}}), "utf-8")
        told = decoded(command(root, "run", "--json")[1])
        if model is weak:
            assert told["decision"] == "promoted", "nothing is served yet"
            LocalEndpoint(root).apply(State({"blue": Deployed(1, 100)}))
    assert (told["decision"], told["model_version"]) == ("passed", 2), told["reasons"]
    assert "release start 2" in told["notes"][-1]
    assert decoded(command(root, "models", "--json")[1])["champion"] == 1
    code, said = command(root, "release", "start", 2)
    assert (code, "Nothing is served" in said) == (3, True)
    for words, version in ((("promote", 2), 2), (("rollback",), 1)):
        assert command(root, *words)[0] == 0
        state = LocalEndpoint(root).state()
        assert [place.version for place in state.deployments.values() if place.traffic == 100] == [version]
        assert decoded(command(root, "models", "--json")[1])["champion"] == version


@pytest.mark.parametrize(
    ("did", "status", "decision", "exit_code"),
    [
        ("done", "done", "promoted", 0),
        ("rolled back", "rolled back", "passed", 1),
        ("aborted", "aborted", "passed", 1),
        ("held", "running", "passed", 3),
    ],
)
def test_run_goes_on_with_the_release(
    lived: Path, command: Command, monkeypatch: pytest.MonkeyPatch, did: str, status: Any, decision: str, exit_code: int
) -> None:
    asked = []
    release = Release(version=2, candidate="green", base="blue", stage="100", since="", began="", status=status)

    def lead(opened: Any, version: int, wait: float, every: float, quiet: bool) -> Step:
        asked.append(version)
        return Step(did, release, ["so it is"])

    told = Result(
        data_version="d", run="r", model_version=2, decision="passed", reasons=["better"], metrics={}, champion=None,
        baselines={}, report="", notes=["release start 2"],
    )  # fmt: skip
    monkeypatch.setattr(commands, "lead", lead)
    monkeypatch.setattr(Project, "run", lambda *_: copy.deepcopy(told))
    code, said = command(lived, "run", "--release", "--json")
    found = decoded(said)
    assert (asked, code) == ([2], exit_code)
    assert (found["decision"], found["notes"]) == (decision, [f"release: {did}: so it is"])
    code, said = command(lived, "run", "--release")
    assert (code, f"release: {did}: so it is" in said, f"Decision: {decision}" in said) == (exit_code, True, True)


@on_each_place
def test_a_release_can_be_aborted_while_another_command_leads_it(
    Place: type[Fake], releases: Callable[..., Releases], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, endpoint = Place(tmp_path), LocalEndpoint(tmp_path)
    machine = releases(fake)

    def pause(seconds: float) -> None:
        assert fake.stored.release
        assert fake.stored.release.status == "running", "it ended, and nobody begins it anew"
        assert len(fake.states) == 1
        with endpoint.only_one():  # as the command `release abort` does; a Fault if the other one were in its way
            machine.abort()

    monkeypatch.setattr("time.sleep", pause)
    step = commands.lead((endpoint, machine), 2, 3600, 5, quiet=True)
    assert (step.did, step.release.status, "somebody asked for it" in step.reasons[0]) == ("aborted", "aborted", True)
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}


def test_a_broken_state_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text("{")
    with pytest.raises(ProjectError, match=r"endpoint\.json cannot be used"):
        LocalEndpoint(tmp_path).state()


BROKEN = {7, 8}  # versions that do not start


class Process(Upstream):
    """A deployment without a process; its first row has its version as its score."""

    made: ClassVar[list["Process"]] = []

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.asked, self.stopped = list[bytes](), False
        self.made.append(self)

    @property
    def runs(self) -> bool:
        return not self.failed and not self.stopped

    async def start(self) -> None:
        number = self.version.version
        self.failed = f"The deployment {self.name} (version {number}) does not start." if number in BROKEN else ""

    async def stop(self) -> None:
        self.stopped = True

    async def get(self, path: str) -> Answer:
        return (await self.ask(b"", False))._replace(body=b"# TYPE scoring gauge\nscoring 1\n")

    async def ask(self, content: bytes, counted: bool = True) -> Answer:
        if not self.runs:
            raise ConnectionRefusedError
        self.asked.append(content)
        return Answer(200, [(b"content-type", b"application/json")], b'{"result": [%d]}' % self.version.version)


class Versions:
    """A registry of ten versions."""

    def get(self, number: int) -> Version:
        if number > 10:
            raise UsageError(f"There is no model version {number}.")
        return Version(version=number, run="r", line="one", digest="", tags={})

    def model(self, version: Version) -> Path:
        return Path()


class Served:
    """A router in this process that follows the state in `root`, with deployments that are none."""

    def __init__(self, root: Path, limits: Serving | None = None, log: Path | None = Path()) -> None:
        (root / "data").mkdir(exist_ok=True)
        self.router = Router(root, Versions(), limits or Serving(), "http://127.0.0.1:1", log)  # type: ignore[arg-type]

    def follow(self) -> dict[str, tuple[int, bool]]:
        """Look for the state once; return the version of each deployment, and whether it runs."""
        asyncio.run(self.router.deployments.follow())
        found = self.router.deployments.table.deployments
        return {name: (target.version.version, target.runs) for name, target in found.items()}

    def told(self, *_: object) -> Told:
        """What a command would be told."""
        self.follow()
        return self.router._told()

    async def begin(self) -> str:
        """Start as a web server would start it; return why it does not, or nothing."""
        said: list[Any] = []

        async def receive() -> dict[str, str]:
            if said:
                await asyncio.sleep(3600)
            return {}

        async def send(message: dict[str, str]) -> None:
            said.append(message)

        task = asyncio.create_task(self.router({"type": "lifespan"}, receive, send))
        while not said:
            await asyncio.sleep(0.001)
        task.cancel()
        return str(said[0].get("message", ""))

    async def ask(
        self, path: str = "/score", method: str = "POST", receive: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers and body of its answer."""
        sent: list[Any] = []

        async def at_once() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "method": method}
        await self.router(scope | {"headers": told}, receive or at_once, send)
        names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], names, sent[1]["body"]

    def metrics(self) -> dict[str, float]:
        """What `/metrics` says, read by the reference parser."""
        _, _, page = asyncio.run(self.ask("/metrics", "GET"))
        families = list(text_string_to_metric_families(page.decode()))
        assert len({family.name for family in families}) == len(families), "what has one name stands together"
        samples = [sample for family in families for sample in family.samples]
        return {f"{s.name}{sorted(s.labels.values())}": s.value for s in samples}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Served]:
    """Return `serve(places, ...)`: a router for that state, without processes."""
    monkeypatch.setattr(deployments, "Upstream", Process)
    monkeypatch.setattr(Process, "made", [])

    def make(places: dict[str, Deployed], **more: Any) -> Served:
        LocalEndpoint(tmp_path).apply(State(places))
        return Served(tmp_path, **more)

    return make


@pytest.mark.parametrize(
    ("places", "failed"),
    [
        ({"blue": Deployed(1, 100), "green": Deployed(7)}, {"green"}),
        ({"blue": Deployed(1, 100), "green": Deployed(7, 0, 50)}, {"green"}),
        ({"blue": Deployed(7, 90), "green": Deployed(2, 10)}, {"blue"}),
        ({"blue": Deployed(11, 50), "green": Deployed(2, 50)}, {"blue"}),
        ({"blue": Deployed(1, 100), "green": Deployed(11)}, {"green"}),
    ],
)
def test_a_router_starts_with_what_can_answer(
    serve: Callable[..., Served],
    places: dict[str, Deployed],
    failed: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = serve(places)

    async def live() -> set[bytes]:
        assert await served.begin() == ""
        answers = [await served.ask() for _ in range(200)]
        assert {status for status, *_ in answers} == {200}, "nobody is sent to what does not run"
        return {body for *_, body in answers}

    (whole,) = {place.version for name, place in places.items() if name not in failed}
    assert asyncio.run(live()) == {b'{"result": [%d]}' % whole}
    said = capsys.readouterr().err
    assert all(f"{name} does not run: " in said for name in failed)
    assert set(served.told().failed) == failed
    up = {name: served.metrics()[f"router_deployment_up['{name}']"] for name in places}
    assert up == {name: float(name not in failed) for name in places}


@pytest.mark.parametrize(
    "places",
    [
        {"blue": Deployed(7, 100), "green": Deployed(1)},
        {"blue": Deployed(7, 50), "green": Deployed(8, 50)},
        {"blue": Deployed(1, 90)},
    ],
)
def test_a_router_that_could_answer_nobody_does_not_start(
    serve: Callable[..., Served], tmp_path: Path, places: dict[str, Deployed]
) -> None:
    (tmp_path / "endpoint.json").write_bytes(msgspec.json.encode(State(places)))
    served = Served(tmp_path)
    said = asyncio.run(served.begin())
    assert "does not start" in said or "add to 90 %" in said
    assert all(process.stopped for process in Process.made)


def test_a_new_state_is_taken_as_a_whole_or_not_at_all(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve({"blue": Deployed(1, 100), "green": Deployed(7)})
    assert served.follow() == {"blue": (1, True), "green": (7, False)}
    endpoint = LocalEndpoint(tmp_path)
    monkeypatch.setattr(LocalEndpoint, "told", served.told)
    for places in (
        {"blue": Deployed(1, 100), "green": Deployed(8)},
        {"blue": Deployed(2, 50), "green": Deployed(8, 50)},
        {"blue": Deployed(1, 99), "green": Deployed(7, 1)},  # it does not run, and shall get requests
    ):
        with pytest.raises(Fault, match=r"green \(version [78]\) does not start"):
            endpoint.apply(State(places))
        assert endpoint.state().deployments == {"blue": Deployed(1, 100), "green": Deployed(7)}
        assert served.follow() == {"blue": (1, True), "green": (7, False)}
    monkeypatch.setitem(globals(), "BROKEN", {8})  # somebody put it right
    dead = served.router.deployments.table.deployments["green"]
    endpoint.apply(State({"blue": Deployed(1), "green": Deployed(7, 100)}))
    assert served.follow() == {"blue": (1, True), "green": (7, True)}
    assert dead.stopped  # type: ignore[attr-defined]
    assert served.told().problems == []
    running = [process for process in Process.made if not process.stopped]
    assert [process.name for process in running] == ["blue", "green"]


def test_a_state_whose_writer_died_before_the_router_refused_it_is_put_right(
    serve: Callable[..., Served], tmp_path: Path, command: Command, lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(lived / "conf", tmp_path / "conf")
    served = serve({"blue": Deployed(1, 100)})
    served.follow()
    endpoint = LocalEndpoint(tmp_path)
    endpoint.apply(State({"blue": Deployed(1), "green": Deployed(7, 100)}))  # and then the process died
    monkeypatch.setattr(LocalEndpoint, "told", served.told)
    assert endpoint.status().refused == "The deployment green (version 7) does not start."
    assert served.follow() == {"blue": (1, True)}, "the old one goes on"
    code, said = command(tmp_path, "release", "status")
    assert (code, "green (version 7) does not start" in said) == (0, True)
    assert "green (version 7)" in decoded(command(tmp_path, "release", "status", "--json")[1])["problems"][0]
    endpoint.serve_only(1)
    assert (endpoint.state().deployments, endpoint.status().problems) == ({"blue": Deployed(1, 100)}, [])
    before = (tmp_path / "endpoint.json").read_bytes()
    (tmp_path / "endpoint.json").write_text("{")
    assert "cannot be used" in served.told().refused
    (tmp_path / "endpoint.json").write_bytes(before)
    assert served.told().problems == [], "all is well again"


def test_each_deployment_gets_its_share_and_the_copies_theirs(serve: Callable[..., Served]) -> None:
    random.seed(0)
    count = 20_000
    shares = {"blue": 55, "green": 40, "c": 5}
    targets: Any = {name: name for name in shares}
    table = Table.of(State({name: Deployed(1, share) for name, share in shares.items()}), targets)
    drawn: Counter[Any] = Counter(table.draw() for _ in range(count))
    for name, share in shares.items():
        p = share / 100
        assert abs(drawn[name] - count * p) < 4 * (count * p * (1 - p)) ** 0.5
    served = serve({"blue": Deployed(1, 100), "green": Deployed(2, 0, 30)})

    async def live() -> None:
        await served.begin()
        for _ in range(3000):
            assert (await served.ask())[2] == b'{"result": [1]}'
            await asyncio.sleep(0)  # copies are sent while others are answered
        for _ in range(500):
            await served.ask(azureml_model_deployment="blue")
            await asyncio.sleep(0)

    asyncio.run(live())
    copies = len(Process.made[1].asked)
    assert abs(copies - 900) < 4 * (3000 * 0.3 * 0.7) ** 0.5, "who names a deployment is not copied"
    assert served.metrics()["router_mirrored_total[]"] == copies


def test_a_request_may_name_its_deployment(serve: Callable[..., Served]) -> None:
    served = serve({"blue": Deployed(1, 100), "green": Deployed(2)})

    async def live() -> None:
        await served.begin()
        for name, version in (("green", 2), ("blue", 1)):
            for _ in range(20):
                status, _, body = await served.ask(azureml_model_deployment=name, x_other="kept")
                assert (status, body) == (200, b'{"result": [%d]}' % version)
        sent = Process.made[1].asked[-1]
        assert b"azureml" not in sent
        assert b"x-other: kept" in sent
        status, headers, body = await served.ask(azureml_model_deployment="red", x_request_id="mine")
        assert (status, headers["content-type"]) == (404, "application/problem+json")
        assert "There is no deployment red" in json.loads(body)["detail"]
        assert json.loads(body)["request_id"] == "mine"

    asyncio.run(live())
    assert served.metrics()["router_requests_total['404', 'router']"] == 1


async def unread() -> dict[str, Any]:
    """The body of a request that must not be looked at."""
    raise AssertionError("the body was read")


def test_who_has_no_token_is_refused_before_the_body_is_read(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    served = serve({"blue": Deployed(1, 100)})

    async def live() -> None:
        await served.begin()
        for wrong in ({}, {"authorization": "Bearer other"}, {"api_key": "secre"}):  # pragma: allowlist secret
            status, headers, _ = await served.ask(receive=unread, **wrong)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
        for right in ({"authorization": "bearer secret"}, {"api_key": "secret"}):  # pragma: allowlist secret
            assert (await served.ask(**right))[0] == 200
        assert (await served.ask("/docs", "GET", receive=unread))[0] == 200, "pages ask for no token, and have no body"

    asyncio.run(live())
    assert served.metrics()["router_requests_total['401', 'router']"] == 3


def test_more_requests_at_once_than_can_be_answered_are_told_to_come_again(serve: Callable[..., Served]) -> None:
    served = serve({"blue": Deployed(1, 100), "green": Deployed(2)}, limits=Serving(max_in_flight=3))

    async def live() -> None:
        await served.begin()
        arrived = asyncio.Event()

        async def slow() -> dict[str, Any]:
            await arrived.wait()
            return {"type": "http.request", "body": b"{}"}

        waiting = [asyncio.create_task(served.ask(receive=slow)) for _ in range(6)]  # three for each deployment
        await asyncio.sleep(0.01)
        status, headers, _ = await served.ask(receive=unread)
        assert (status, headers["retry-after"]) == (429, "1")
        arrived.set()
        assert {status for status, *_ in await asyncio.gather(*waiting)} == {200}
        assert (await served.ask())[0] == 200

    asyncio.run(live())
    assert served.metrics()["router_requests_total['429', 'router']"] == 1


def test_the_page_of_metrics_has_the_router_and_what_commands_wrote(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve({"blue": Deployed(1, 100)}, limits=Serving(memory_mb=500))
    served.follow()
    folder = tmp_path / "data" / "monitor"
    assert served.metrics()["scoring_memory_limit_bytes['router']"] == 500e6
    assert served.metrics()["process_resident_memory_bytes['router']"] > 1e6
    folder.mkdir()
    (folder / "drift.prom").write_text(
        '# HELP drift_distance How far.\n# TYPE drift_distance gauge\ndrift_distance{feature="a"} 0.25\n'
    )
    (folder / "loop.prom").write_text(
        "# TYPE loop_passes_total counter\nloop_passes_total 3\n# HELP drift_distance Other.\n"
        '# TYPE drift_distance gauge\ndrift_distance{feature="b"} NaN\n'
    )
    (folder / "broken.prom").write_text("# TYPE broken gauge\nbroken 1\nbroken{ 2\n")
    (folder / "odd.prom").write_bytes(b"\xff\xfe\x00")
    (folder / "folder.prom").mkdir()
    _, _, told = asyncio.run(served.ask("/metrics", "GET"))
    assert (told.count(b"# HELP drift_distance"), told.count(b"# TYPE drift_distance")) == (1, 1)
    found = served.metrics()
    assert (found["drift_distance['a']"], found["loop_passes_total[]"]) == (0.25, 3)
    assert "drift_distance['b']" in found
    assert "router_traffic_percent['blue']" in found
    assert not any(name.startswith("broken") for name in found)


def test_rows_that_a_dead_process_had_not_logged_are_counted(tmp_path: Path) -> None:
    lost: Counter[str] = Counter()
    version = Version(version=1, run="r", line="one", digest="", tags={})
    target = Upstream("blue", version, tmp_path, tmp_path, tmp_path / "log", lost)
    answer = msgspec.json.decode(b'{"request_id": "a", "result": [0.1, 0.2, 0.3]}')
    about = {"deployment": "blue", "model_version": "1", "columns": []}
    log = PredictionLog(tmp_path / "log", about, 64)
    for n in range(10):
        answer["request_id"] = str(n)
        target._note(answered(msgspec.json.encode(answer)), clock.seconds())
        if n < 8:
            log.add(str(n), ["a", "b", "c"], [[]], answer["result"])
    log.close()
    (file,) = (tmp_path / "log").iterdir()
    file.write_bytes(file.read_bytes()[:-10])  # the process died while it wrote
    asyncio.run(target._count_lost(clock.seconds()))
    assert lost == {"blue": 9}, "two that it never wrote, and one that it half wrote"
    asyncio.run(target._count_lost(clock.seconds()))
    assert lost == {"blue": 9}


@pytest.fixture
def page() -> Iterator[tuple[str, list[str], dict[str, bytes]]]:
    """A web server of this machine: its address, the paths that were asked for, and pages to give."""
    asked: list[str] = []
    pages: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = pages.get(self.path, b"{}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked, pages
        server.shutdown()


def test_a_proxy_is_not_asked_for_what_runs_on_this_machine(
    tmp_path: Path, page: tuple[str, list[str], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked, pages = page
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    router = f"{local.name_of(tmp_path)}-1"
    pages["/endpoint"] = msgspec.json.encode(Told(router=router, url=url, serial=1, seen={}))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / local.ADDRESS).write_text(json.dumps({"url": url, "router": router}))
    assert LocalEndpoint(tmp_path).address() == url
    port = url.rpartition(":")[2]
    for here in (url, f"http://localhost:{port}/score"):
        assert Endpoint(here).ask("/livez") == (200, {})
    with pytest.raises(Fault, match="does not answer"):
        Endpoint("http://scoring.invalid").ask("/livez")
    monkeypatch.setenv("http_proxy", url)
    asked.clear()
    assert Endpoint("http://scoring.invalid").ask("/livez") == (200, {}), "elsewhere, the proxy leads"
    assert asked == ["http://scoring.invalid/livez"]
