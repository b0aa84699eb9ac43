"""The release machine: every way that a release can go, and a crash at every write on each of them."""

import copy
import datetime
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Command, decoded

from porto_seguro import clock
from porto_seguro.config import Rollout, load_settings
from porto_seguro.errors import Fault, ProjectError, UsageError
from porto_seguro.pipeline import Project
from porto_seguro.registry import Version
from porto_seguro.result import Result
from porto_seguro.serving import commands
from porto_seguro.serving.compare import EARLY, Evidence, compare, percentile_ms, spread_apart
from porto_seguro.serving.endpoint import Deployed, Release, Seen, State
from porto_seguro.serving.local import LocalEndpoint
from porto_seguro.serving.predictions import PredictionLog
from porto_seguro.serving.release import Releases, Step
from porto_seguro.serving.telemetry import SECONDS

RNG = np.random.default_rng(0)
SCORES = RNG.beta(2, 30, 5_000)
FAST = [0, 0, 1, *[0] * (len(SECONDS) - 2)]


def seen(requests: int, errors: int = 0, refused: int = 0, bucket: int = 2) -> Seen:
    return Seen(requests, errors, refused, [requests if n == bucket else 0 for n in range(len(SECONDS) + 1)])


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


class Crash(Exception):
    """The process dies here."""


class Fake:
    """An endpoint without processes, and a registry; `crash_at` counts writes of both, after or before each."""

    def __init__(self, root: Path, crash_at: int = -1, after: bool = False) -> None:
        self.stored, self.root = State({"blue": Deployed(1, 100)}), root
        self.champions, self.writes, self._crash_at, self._after = [1], 0, crash_at, after
        self.counts = {"blue": seen(0), "green": seen(0)}
        self.down = False
        self.states: list[State] = []

    def _writing(self, write: Callable[[], None]) -> None:
        crash = self.writes == self._crash_at
        self.writes += 1
        if crash and not self._after:
            raise Crash
        write()
        if crash:
            raise Crash

    def state(self) -> State:
        return copy.deepcopy(self.stored)

    def apply(self, state: State) -> None:
        state.check()
        self._writing(lambda: setattr(self, "stored", copy.deepcopy(state)))
        self.states.append(copy.deepcopy(state))

    def seen(self) -> dict[str, Seen]:
        if self.down:
            raise Fault("nothing is served")
        return {name: copy.deepcopy(self.counts[name]) for name in self.stored.deployments}

    def get(self, version: int) -> Version:
        return Version(version=version, run="r", line="one" if version < 9 else "two", digest="", tags={})

    def promote(self, version: int) -> None:
        if self.champions[-1] != version:
            self._writing(lambda: self.champions.append(version))

    def serve(self, errors: float = 0.0, slow: bool = False, shifted: bool = False) -> None:
        """Let a thousand requests come, which the deployments answer by their share; the new one as given."""
        for name, place in self.stored.deployments.items():
            count = 10 * (place.traffic + place.mirror)
            new = place.version != 1
            then, bucket = self.counts[name], 6 if slow and new else 2
            then.requests += count
            then.errors += int(count * errors) if new else 0
            then.seconds[bucket] += count
            about = {"deployment": name, "model_version": str(place.version), "columns": []}
            log = PredictionLog(self.root / "data" / "predictions", about, 64)
            for n in range(10 if count else 0):
                scores = RNG.choice(SCORES, 200)
                log.add(f"{self.writes}-{n}", ["i"] * 200, [[]], (scores**0.7 if shifted and new else scores).tolist())
            log.close()


@pytest.fixture
def releases(lived: Path) -> Iterator[Callable[[Fake], Releases]]:
    """Return `releases(fake)`, the machine of a project whose registry is the fake's."""

    def make(fake: Fake) -> Releases:
        project = Project(lived)
        project.root = fake.root
        shutil.copytree(lived / "conf", fake.root / "conf", dirs_exist_ok=True)
        project._registry = fake  # type: ignore[assignment]
        project.settings = load_settings(lived / "conf")
        found = Releases(project, fake)
        found._project = project
        return found

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


def test_a_good_version_goes_through_every_stage(releases: Callable[[Fake], Releases], tmp_path: Path) -> None:
    fake = Fake(tmp_path)
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


def test_a_swap_at_once_and_an_ab_test_are_settings_of_the_same_machine(
    releases: Callable[[Fake], Releases], tmp_path: Path
) -> None:
    fake = Fake(tmp_path)
    machine = releases(fake)
    machine._stages = ["100"]
    assert machine.start(2).did == "done"
    assert fake.stored.deployments == {"blue": Deployed(1, 0), "green": Deployed(2, 100)}
    other = Fake(tmp_path)
    machine = releases(other)
    machine._stages, machine._rollout = ["50", "100"], Rollout(minutes=20_160)
    machine.start(2)
    other.serve()
    assert "lasts until" in machine.step().reasons[0]
    assert other.stored.deployments == {"blue": Deployed(1, 50), "green": Deployed(2, 50)}


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("fault", [{"errors": 0.2}, {"slow": True}, {"shifted": True}], ids=str)
def test_a_fault_at_any_stage_brings_the_old_version_back(
    releases: Callable[[Fake], Releases], tmp_path: Path, stage: int, fault: dict[str, object]
) -> None:
    fake = Fake(tmp_path)
    machine = releases(fake)
    machine.start(2)
    before = None
    while before is None or before.did == "held" or before.release.stage != ["mirror", "10", "50"][stage]:
        if stage == 0:
            break
        fake.serve()
        before = machine.step()
    last = lead(machine, fake, **fault)[-1]
    assert (last.did, last.release.stage) == ("rolled back", ["mirror", "10", "50"][stage])
    assert fake.stored.deployments == {"blue": Deployed(1, 100)}
    assert fake.champions == [1]


def test_a_crash_at_any_write_is_gone_on_from(releases: Callable[[Fake], Releases], tmp_path: Path) -> None:
    smooth = Fake(tmp_path / "smooth")
    machine = releases(smooth)
    machine.start(2)
    lead(machine, smooth)
    assert smooth.writes == 6  # four stages, the champion, the end
    for crash_at in range(smooth.writes):
        for after in (False, True):
            fake = Fake(tmp_path / f"{crash_at}{after}", crash_at, after)
            machine = releases(fake)
            crashes = 0
            for _ in range(20):
                try:
                    if fake.stored.release is None:
                        machine.start(2)
                    fake.serve()
                    if fake.stored.under_way() and machine.step().did == "done":
                        break
                except Crash:
                    crashes += 1
                    machine = releases(fake)  # another process
                if fake.stored.release and fake.stored.release.status == "done":
                    break
            assert crashes == 1
            assert fake.stored.release is not None
            assert fake.stored.release.status == "done"
            assert (fake.champions, fake.stored.deployments["green"].traffic) == ([1, 2], 100)


def test_what_cannot_be_released_is_refused(releases: Callable[[Fake], Releases], tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    machine = releases(fake)
    for version, said in ((1, "all of the traffic already"), (9, "another question")):
        with pytest.raises(UsageError, match=said):
            machine.start(version)
    fake.down = True
    with pytest.raises(Fault, match="nothing is served"):
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
    fake.stored = State()
    with pytest.raises(UsageError, match="Nothing is served"):
        machine.start(2)


def test_a_hand_in_the_traffic_is_undone_and_a_stage_lasts_its_time(
    releases: Callable[[Fake], Releases], tmp_path: Path
) -> None:
    fake = Fake(tmp_path)
    machine = releases(fake)
    machine._rollout = Rollout(minutes=30)
    machine.start(2)
    fake.stored.deployments["green"].mirror = 3
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


def test_run_goes_on_with_the_release(lived: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    release = Release(version=2, candidate="green", base="blue", stage="100", since="", began="", status="done")

    def lead(version: int, wait: float, every: float, quiet: bool) -> Step:
        asked.append(version)
        return Step("done", release, ["version 2 is champion"])

    told = Result(
        data_version="d", run="r", model_version=2, decision="passed", reasons=["better"], metrics={}, champion=None,
        baselines={}, report="", notes=["release start 2"],
    )  # fmt: skip
    monkeypatch.setattr(commands, "lead", lead)
    monkeypatch.setattr(Project, "run", lambda *_: told)
    found = decoded(command(lived, "run", "--release", "--json")[1])
    assert (asked, found["decision"], found["notes"]) == ([2], "promoted", ["release: done: version 2 is champion"])


def test_a_broken_state_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text("{")
    with pytest.raises(ProjectError, match=r"endpoint\.json cannot be used"):
        LocalEndpoint(tmp_path).state()
