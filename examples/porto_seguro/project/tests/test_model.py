"""Metrics, estimators, the gate and the saved model: what decides whether a version may live."""

import json
import pickle
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import Command, decoded, made_up
from lightgbm import LGBMClassifier
from polars.testing import assert_frame_equal
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from porto_seguro import model as recipe
from porto_seguro import train
from porto_seguro.artifact import ESTIMATOR, NATIVE, ONNX, Model, load_model
from porto_seguro.clean import read
from porto_seguro.config import Gate, Goal, Settings, load_settings
from porto_seguro.contract import load_contract
from porto_seguro.encode import Encoder, Feature, encode_target, fit_encoder
from porto_seguro.errors import Fault, UsageError
from porto_seguro.evaluate import calibration, write_scores
from porto_seguro.explain import contributions
from porto_seguro.export import Runner, to_onnx
from porto_seguro.gate import Decision, gate
from porto_seguro.infer import infer
from porto_seguro.metrics import measure, prepare, resample
from porto_seguro.pipeline import Project
from porto_seguro.score import score
from porto_seguro.seal import digest, seal, take_out

RNG = np.random.default_rng(0)
Y = (RNG.random(1500) < 0.3).astype(float)
GUARDS = {
    "calibration_error": 0.0, "size_mb": 1.0, "latency_ms": 1.0, "noise_drop": 0.0, "missing_drop": 0.0, "extreme_drop": 0.0
}  # fmt: skip


def scores(skill: float, seed: int) -> Any:
    """Probabilities that rank the events of Y, more or less well."""
    return 1 / (1 + np.exp(-(skill * Y + np.random.default_rng(seed).normal(size=len(Y)) - 1.2)))


def judged(
    folder: Path, new: Any, old: Any = None, simple: Any = None, guards: dict[str, float] | None = None, **settings: Any
) -> Decision:
    """Let the gate decide on made-up scores."""
    simple = scores(0.1, 99) if simple is None else simple
    rows = pl.Series("row", [str(n) for n in range(len(Y))])
    models = {"model": new, "logistic": simple, "constant": np.full(len(Y), Y.mean())}
    write_scores(folder / "scores", rows, Y, models)
    told: dict[str, Any] = {"task": "binary", "metric": "auc", "rows": len(Y)}
    told["metrics"] = {name: measure("binary", Y, s) for name, s in models.items()}
    if old is not None:
        write_scores(folder / "champion", rows, Y, {"model": old})
        told["metrics"]["champion"] = measure("binary", Y, old)
    told["model"] = told["logistic"] = {"guards": GUARDS | (guards or {})}
    (folder / "evaluation").write_text(json.dumps(told))
    conf = Settings(name="test", **settings)
    # Made-up scores are not probabilities of anything: only their order is looked at here.
    conf = Settings(
        name="test",
        goal=conf.goal,
        gate=Gate(simpler_wins=conf.gate.simpler_wins, guards=type(conf.gate.guards)(log_loss_ratio=9)),
    )
    return gate(
        folder / "scores",
        folder / "evaluation",
        conf,
        folder / "decision",
        folder / "champion" if old is not None else None,
    )


def test_metrics_are_those_of_scikit_learn() -> None:
    s = np.round(scores(1.0, 1), 2)  # rounding makes ties
    ours = measure("binary", Y, s)
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(Y, s))
    assert ours["gini"] == pytest.approx(2 * sk.roc_auc_score(Y, s) - 1)
    assert ours["pr_auc"] == pytest.approx(sk.average_precision_score(Y, s))
    assert ours["log_loss"] == pytest.approx(sk.log_loss(Y, s))
    assert ours["brier"] == pytest.approx(sk.brier_score_loss(Y, s))
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(Y, s > 0.5))
    several = RNG.dirichlet([1, 2, 3], 500)
    kinds = RNG.integers(0, 3, 500).astype(float)
    ours = measure("multiclass", kinds, several)
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(kinds, several, multi_class="ovr"))
    assert ours["log_loss"] == pytest.approx(sk.log_loss(kinds, several))
    value, guess = RNG.normal(size=400), RNG.normal(size=400)
    ours = measure("regression", value, guess)
    assert ours["r2"] == pytest.approx(sk.r2_score(value, guess))
    assert ours["rmse"] == pytest.approx(sk.root_mean_squared_error(value, guess))
    assert ours["mae"] == pytest.approx(sk.mean_absolute_error(value, guess))


def test_weights_count_rows_as_often_as_they_say() -> None:
    s, w = np.round(scores(1.0, 1), 2), RNG.integers(0, 4, len(Y)).astype(float)
    many = np.repeat(np.arange(len(Y)), w.astype(int))
    for metric in ("auc", "pr_auc", "log_loss", "accuracy"):
        assert prepare(metric, "binary", Y, s)(w) == pytest.approx(measure("binary", Y[many], s[many])[metric]), metric


def test_the_bootstrap_has_the_right_spread() -> None:
    s = scores(1.0, 1)
    drawn = resample("accuracy", "binary", Y, {"a": s, "b": s}, 400, 0)
    right = (s > 0.5) == (Y == 1)
    assert drawn["a"].std() == pytest.approx(right.std() / len(Y) ** 0.5, rel=0.15)
    assert np.array_equal(drawn["a"], drawn["b"])  # paired: the same rows for each model


def test_a_worse_and_an_equal_challenger_are_refused_and_a_better_one_passes(tmp_path: Path) -> None:
    old = scores(1.0, 1)
    assert judged(tmp_path, scores(0.6, 2), old).decision == "kept_champion"
    equal = judged(tmp_path, old.copy(), old)
    assert (equal.decision, equal.differences["champion"].estimate) == ("kept_champion", 0.0)
    assert judged(tmp_path, scores(1.0, 3), old).decision == "kept_champion"
    assert judged(tmp_path, scores(1.8, 4), old).decision == "passed"


def test_a_first_version_must_beat_the_constant_and_keep_floor_and_guards(tmp_path: Path) -> None:
    good = scores(1.0, 1)
    assert judged(tmp_path, good).decision == "passed"
    assert judged(tmp_path, scores(0.0, 5)).decision == "rejected"
    low = judged(tmp_path, good, goal=Goal("auc", 0.99))
    assert low.decision == "rejected"
    assert "floor" in low.reasons[0]


@pytest.mark.parametrize("name", list(GUARDS))
@pytest.mark.parametrize("value", [1e9, float("nan")])
def test_each_guard_refuses(tmp_path: Path, name: str, value: float) -> None:
    decision = judged(tmp_path, scores(1.8, 4), scores(1.0, 1), guards={name: value})
    assert decision.decision == "rejected"


def test_the_direction_follows_from_the_metric(tmp_path: Path) -> None:
    rows = pl.Series("row", ["r"] * 300)
    y = RNG.normal(size=300)
    models = {"model": y + 0.1 * RNG.normal(size=300), "ridge": y + RNG.normal(size=300), "constant": np.zeros(300)}
    write_scores(tmp_path / "s", rows, y, models)
    told = {
        "task": "regression",
        "metric": "rmse",
        "metrics": {n: measure("regression", y, s) for n, s in models.items()},
    }
    told |= {"model": {"guards": GUARDS}, "ridge": {"guards": GUARDS}}
    (tmp_path / "e").write_text(json.dumps(told))
    assert gate(tmp_path / "s", tmp_path / "e", Settings(name="t"), tmp_path / "d").decision == "passed"
    write_scores(tmp_path / "c", rows, y, {"model": y})
    told["metrics"]["champion"] = measure("regression", y, y)  # type: ignore[index]
    (tmp_path / "e").write_text(json.dumps(told))
    assert (
        gate(tmp_path / "s", tmp_path / "e", Settings(name="t"), tmp_path / "d", tmp_path / "c").decision
        == "kept_champion"
    )


def test_whatever_cannot_be_judged_does_not_pass(tmp_path: Path) -> None:
    good, old = scores(1.8, 4), scores(1.0, 1)
    broken = good.copy()
    broken[7] = np.nan
    assert judged(tmp_path, broken, old).decision == "rejected"
    assert judged(tmp_path, good + 1, old).decision == "rejected"
    judged(tmp_path, good, old)
    conf, out = Settings(name="t"), tmp_path / "d"
    other = pl.Series("row", [str(n + 1) for n in range(len(Y))])
    write_scores(tmp_path / "others", other, Y, {"model": old})
    cases = [
        (tmp_path / "scores", tmp_path / "evaluation", tmp_path / "others"),
        (tmp_path / "absent", tmp_path / "evaluation", None),
        (tmp_path / "scores", tmp_path / "absent", None),
        (tmp_path / "scores", tmp_path / "scores", None),
    ]
    for files in cases:
        decision = gate(*files[:2], conf, out, files[2])
        assert decision.decision == "rejected", files
        assert "could not be judged" in decision.reasons[0]
        assert json.loads(out.read_text())["decision"] == "rejected"


def test_a_simple_model_that_is_as_good_is_named_and_on_request_proposed(tmp_path: Path) -> None:
    model, simple = scores(1.0, 1), scores(1.0, 2)
    told = judged(tmp_path, model, simple=simple)
    assert told.candidate == "model"
    assert any("as good" in reason for reason in told.reasons)
    assert judged(tmp_path, model, simple=simple, gate=Gate(simpler_wins=True)).candidate == "logistic"
    assert judged(tmp_path, scores(2.0, 1), simple=simple, gate=Gate(simpler_wins=True)).candidate == "model"


def test_calibration_sees_a_shift_but_not_chance() -> None:
    p = RNG.random(20_000)
    y = (RNG.random(20_000) < p).astype(float)
    assert calibration("binary", y, p) < 0.005
    assert calibration("binary", y, np.clip(p + 0.1, 0, 1)) > 0.05
    assert calibration("binary", y[:200], p[:200]) < 0.02


@pytest.mark.parametrize(
    "name",
    ["lightgbm", "logistic", "constant", "sklearn.ensemble.RandomForestClassifier", "sklearn.svm.SVC", "sklearn.nope.Nothing",
     "sklearn.linear_model.LinearRegression"],
)  # fmt: skip
def test_any_estimator_by_name_takes_gaps_and_categories(name: str) -> None:
    encoder = Encoder([Feature("x"), Feature("kind", ["a", "b"])])
    x = np.column_stack([RNG.normal(size=300), RNG.integers(0, 2, 300)]).astype(np.float32)
    x[::7] = np.nan
    y = (np.nan_to_num(x[:, 0]) > 0).astype(float)
    if "nope" in name or "LinearRegression" in name or "SVC" in name:
        with pytest.raises(UsageError, match=name.replace(".", r"\.")):
            recipe.build(name, {}, "binary", encoder, 0)
        return
    fitted = recipe.fit(recipe.build(name, {}, "binary", encoder, 0), x[50:], y[50:], x[:50], y[:50], "binary")
    found = recipe.scores(fitted, x, "binary")
    assert found.shape == (300,)
    assert name == "constant" or measure("binary", y, found)["auc"] > 0.8


def test_an_identifier_is_never_a_feature(lived: Path) -> None:
    contract = load_contract(lived / "conf" / "contract.yaml")
    champion = Project(lived).registry.champion()
    assert champion
    model = load_model(Project(lived).registry.model(champion))
    never = {c.name for c in contract.of("identifier", "target", "ignored")}
    assert contract.of("identifier")
    assert not never & set(model.encoder.names)


def test_unseen_categories_and_gaps_are_scored_as_missing(tmp_path: Path) -> None:
    made_up(500, 1).write_csv(tmp_path / "t.csv")
    contract = infer(tmp_path / "t.csv", "bought", "test").contract
    frame = read(tmp_path / "t.csv", contract, contract.names)[0]
    encoder = fit_encoder(frame.select("amount", "colour"), contract)
    odd = frame.head(3).with_columns(colour=pl.Series(["mauve", None, "red"]))
    x = encoder.transform(odd)
    assert np.isnan(x[0, 1])
    assert np.isnan(x[1, 1])
    assert x[2, 1] == encoder.features[1].categories.index("red")
    assert encoder.unseen(odd) == {"colour": 1}
    assert set(encode_target(frame, contract)) == {0.0, 1.0}


def test_a_changed_model_is_refused_before_it_is_loaded(lived: Path, tmp_path: Path) -> None:
    registry = Project(lived).registry
    champion = registry.champion()
    assert champion
    for change in ("swap", "add", "remove", "manifest"):
        folder = tmp_path / change
        shutil.copytree(registry.model(champion), folder)
        native = folder / "data" / "native"
        if change == "swap":
            (native / "estimator.joblib").write_bytes(b"exchanged")
        elif change == "add":
            (native / "more.py").write_text("")
        elif change == "remove":
            (native / "encoder.json").unlink()
        else:
            (folder / "manifest.json").write_text("{}")
        with pytest.raises(Fault):
            load_model(folder, champion.digest)
    assert load_model(registry.model(champion), champion.digest)


class Foreign:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def copied(lived: Path, target: Path) -> tuple[Path, str]:
    """A copy of the champion's folder, and its digest."""
    champion = Project(lived).registry.champion()
    assert champion
    return shutil.copytree(Project(lived).registry.model(champion), target), champion.digest


def test_what_is_exchanged_after_the_check_is_not_unpickled(lived: Path, tmp_path: Path) -> None:
    folder, known = copied(lived, tmp_path / "model")
    model = load_model(folder, known)
    (folder / NATIVE / ESTIMATOR).write_bytes(pickle.dumps(Foreign(tmp_path / "mark")))
    with pytest.raises(Fault, match="was changed after it was saved"):
        model.estimator  # noqa: B018
    seal(folder)  # with a manifest that fits
    with pytest.raises(Fault, match="is not the one that was registered"):
        model.estimator  # noqa: B018
    assert not (tmp_path / "mark").exists()
    assert load_model(folder).estimator is None  # the mark's own proof
    assert (tmp_path / "mark").exists()


def test_what_is_used_is_what_was_checked(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is exchanged as soon as it was read for the first time."""
    folder, known = copied(lived, tmp_path / "model")
    reference = load_model(folder, known, None)
    x = np.zeros((3, len(reference.encoder.names)), np.float32)
    wanted = reference.scores_of(x), reference.code.scores(reference.estimator, x, reference.contract.task)
    read_bytes, exchanged = Path.read_bytes, list[str]()

    def read(path: Path) -> bytes:
        content = read_bytes(path)
        if folder in path.parents:
            exchanged.append(path.name)
            path.write_bytes(b"exchanged")
        return content

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(recipe, "__file__", str(tmp_path / "edited.py"))  # so that the model's own code is run
    (tmp_path / "edited.py").touch()
    model = load_model(folder, known, None)
    assert sorted(exchanged) == ["contract.yaml", "encoder.json", "lineage.json", "manifest.json", ONNX, "model.py"]
    assert model.code is not recipe
    assert np.array_equal(model.scores_of(x), wanted[0])
    monkeypatch.undo()
    folder, known = copied(lived, tmp_path / "again")
    model = load_model(folder, known)
    monkeypatch.setattr(Path, "read_bytes", read)
    assert np.array_equal(model.scores_of(x), wanted[1])


def test_no_code_of_a_model_without_lineage_is_run(lived: Path, tmp_path: Path) -> None:
    folder, _ = copied(lived, tmp_path / "model")
    (folder / NATIVE / "model.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    lineage = (folder / NATIVE / "lineage.json").read_bytes()
    (folder / NATIVE / "lineage.json").write_text("{}")
    seal(folder)
    with pytest.raises(Fault, match="does not say where it comes from"):
        load_model(folder)
    assert not (tmp_path / "mark").exists()
    (folder / NATIVE / "lineage.json").write_bytes(lineage)
    seal(folder)
    load_model(folder)
    assert (tmp_path / "mark").exists()
    for broken in ("def features(", "import nothing_of_that_name"):
        (folder / NATIVE / "model.py").write_text(broken)
        seal(folder)
        for _ in range(2):
            with pytest.raises(Fault, match=r"model\.py cannot be run"):
                load_model(folder)


def test_an_old_version_keeps_its_own_features(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Project(lived).registry
    champion = registry.champion()
    assert champion
    before = load_model(registry.model(champion))
    contract = load_contract(lived / "conf" / "contract.yaml")
    rows = read(lived / "rows.csv", contract, before.needs)[0].head(50)
    edited = tmp_path / "model.py"
    source = Path(recipe.__file__).read_text("utf-8")
    edited.write_text(source.replace("    return rows\n", "    return rows.reverse()\n"), "utf-8")
    monkeypatch.setattr(recipe, "__file__", str(edited))
    monkeypatch.setattr(recipe, "features", lambda rows: rows.reverse())
    after = load_model(registry.model(champion))
    assert np.array_equal(
        after.predict(rows),
        before.code.scores(before.estimator, before.encoder.transform(rows.select(before.needs)), contract.task),
    )


def test_mlflow_gives_the_same_scores(lived: Path) -> None:
    import mlflow.pyfunc

    registry = Project(lived).registry
    champion = registry.champion()
    assert champion
    contract = load_contract(lived / "conf" / "contract.yaml")
    ours = load_model(registry.model(champion))
    raw = pl.read_csv(lived / "rows.csv", infer_schema_length=None).head(200)
    clean_rows = read(lived / "rows.csv", contract, ours.needs)[0].head(200)
    theirs = mlflow.pyfunc.load_model(str(registry.model(champion))).predict(raw.to_pandas())
    assert np.array_equal(theirs, ours.predict(clean_rows))


def test_scoring_in_batches_of_any_size_gives_the_same(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Project(lived).registry
    champion = registry.champion()
    assert champion
    model = load_model(registry.model(champion))
    contract = load_contract(lived / "conf" / "contract.yaml")
    rows = read(lived / "rows.csv", contract, model.needs)[0]
    whole = model.predict(rows)
    done = score(model, lived / "rows.csv", tmp_path / "out.parquet")
    assert done.rows == rows.height
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert np.array_equal(
        found[next(c for c in found.columns if c.startswith("score"))].to_numpy(),
        whole if whole.ndim == 1 else whole[:, 0],
    )
    from porto_seguro import clean
    from porto_seguro import score as scoring

    monkeypatch.setattr(scoring, "stream", lambda *a: clean.stream(*a, rows=777))
    scoring.score(model, lived / "rows.csv", tmp_path / "small.parquet")
    # Linear models multiply matrices, whose last bits depend on their shape.
    assert_frame_equal(pl.read_parquet(tmp_path / "small.parquet"), found, rel_tol=1e-5, abs_tol=1e-7)


def test_the_onnx_form_gives_the_scores_of_the_estimator(lived: Path) -> None:
    here = Project(lived)
    champion = here.registry.champion()
    assert champion
    assert champion.engine == "onnx"
    native, onnx = (load_model(here.registry.model(champion), champion.digest, e) for e in ("native", "onnx"))
    rows, problems, _ = read(lived / "rows.csv", here.contract, native.needs)
    assert not problems
    assert np.abs(native.predict(rows) - onnx.predict(rows)).max() < 1e-6
    # Thresholds between two float32 numbers: rounded up, one of them would let a value pass that it holds back.
    x = np.array([[1.0], [np.nextafter(np.float32(1), np.float32(2))]] * 200, np.float32)
    split = LGBMClassifier(n_estimators=1, min_child_samples=1, verbose=-1).fit(x, np.arange(400) % 2)
    runner = Runner(to_onnx(split, 1), "binary")
    assert np.allclose(runner.scores(x), split.predict_proba(x)[:, 1], atol=1e-6)


def test_an_onnx_form_that_scores_otherwise_is_not_used_and_said(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def wrong(estimator: Any, features: int) -> bytes:
        return to_onnx(LogisticRegression().fit(rng.normal(size=(50, features)), np.arange(50) % 2), features)

    def broken(estimator: Any, features: int) -> bytes:
        return b"no model"

    for name, make in (("wrong", wrong), ("broken", broken)):
        root = shutil.copytree(lived, tmp_path / name, ignore=shutil.ignore_patterns("runs", "mlflow.db*"))
        monkeypatch.setattr(train, "to_onnx", make)
        result = Project(root).run()
        assert result.decision == "promoted"
        assert any("not its ONNX form" in note for note in result.notes)
        champion = Project(root).registry.champion()
        assert champion
        assert champion.engine == "native"
        folder = Project(root).registry.model(champion)
        assert [path.name for path in folder.rglob("*.onnx")] == []
        assert load_model(folder, champion.digest, None).engine == "native"
        told = msgspec.json.decode((Path(result.report).parent / "evaluation.json").read_bytes())["model"]["onnx"]
        assert ("rows" in told["reason"]) == (name == "wrong")


def test_taking_the_onnx_form_out_survives_a_cut(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, known = copied(lived, tmp_path / "model")
    name = f"{NATIVE}/{ONNX}"

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for step in ("replace", "unlink"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, cut)
            with pytest.raises(KeyboardInterrupt):
                take_out(folder, name)
        assert (folder / name).exists()
    (folder / "more").touch()  # nothing else comes under the new seal
    take_out(folder, name)
    assert not (folder / name).exists()
    with pytest.raises(Fault, match="more"):
        load_model(folder)
    (folder / "more").unlink()
    assert digest(folder) != known
    assert load_model(folder, digest(folder), None).engine == "native"
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_a_version_of_before_keeps_its_folder_and_scores_natively(lived: Path, tmp_path: Path) -> None:
    """Registered when a form that gives other scores stayed in the folder: then the registry alone says so."""
    root = shutil.copytree(lived, tmp_path / "project")
    with sqlite3.connect(root / "mlflow.db") as db:
        db.execute("UPDATE model_version_tags SET value = 'native' WHERE key = 'engine'")
    db.close()
    champion, model = Project(root).model()
    assert (champion.engine, model.engine) == ("native", "native")
    registry = Project(root).registry
    assert registry.register(champion.run, registry.model(champion), champion.line, champion.tags) == champion
    assert (registry.model(champion) / NATIVE / ONNX).exists()
    assert digest(registry.model(champion)) == champion.digest


def test_a_version_that_somebody_registered_by_hand_is_left_alone(
    lived: Path, tmp_path: Path, command: Command
) -> None:
    root = shutil.copytree(lived, tmp_path / "project")
    registry = Project(root).registry
    for tags in ({"mine": "yes"}, {}):
        registry._client.create_model_version(registry._name, "file:///elsewhere", None, tags=tags)
    assert [v.version for v in registry.versions()] == [1]
    assert [v["version"] for v in decoded(command(root, "models", "--json")[1])["versions"]] == [1]
    code, said = command(root, "doctor")
    assert (code, "registered by hand, of no use here: 2, 3" in " ".join(said.split())) == (0, True), said
    assert command(root, "promote", "2")[0] == 2


@pytest.mark.parametrize("estimator", ["lightgbm", "linear"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_what_each_feature_adds_sums_to_the_raw_score(tmp_path: Path, task: Any, estimator: str) -> None:
    table = made_up(600, 1)
    amount = table["amount"].to_numpy()
    target = {
        "binary": table["bought"],
        "multiclass": pl.Series(np.array(["low", "mid", "high"])[np.digitize(amount, [60, 130])]),
        "regression": pl.Series(amount / 7 + table["age"].to_numpy()),
    }[task]
    table.with_columns(target.alias("bought")).write_csv(tmp_path / "t.csv")
    contract = infer(tmp_path / "t.csv", "bought", "test").contract
    assert contract.task == task
    frame = read(tmp_path / "t.csv", contract, contract.names)[0]
    features = frame.select(c.name for c in contract.of("feature"))
    encoder, y = fit_encoder(features, contract), encode_target(frame, contract)
    x = encoder.transform(features)
    x[::5, 0] = np.nan
    name = train.linear_name(task) if estimator == "linear" else estimator
    fitted = recipe.fit(recipe.build(name, {}, task, encoder, 0), x[:400], y[:400], x[400:], y[400:], task)
    told = contributions(Model(contract, encoder, fitted), x[:50])
    sums = np.array(told["contributions"]).sum(axis=-1) + np.array(told["base"])
    np.testing.assert_allclose(sums, told["raw"], atol=1e-9)
    assert told["features"] == encoder.names
    linked = {
        "binary": lambda raw: 1 / (1 + np.exp(-raw)),
        "multiclass": lambda raw: np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True),
        "regression": lambda raw: raw,
    }[task](sums)
    found = recipe.scores(fitted, x[:50], task)
    assert linked.shape == found.shape
    np.testing.assert_allclose(linked, found, rtol=1e-4, atol=1e-5)


def test_settings_with_a_slip_are_refused_by_name(project: Path) -> None:
    path = project / "conf" / "project.yaml"
    text = path.read_text("utf-8")
    for change, says in (
        (text + "\nretrian: true\n", "retrian"),
        (text.replace("holdout: 0.2", "holdout: 2"), "holdout"),
        (text.replace("confidence: 0.95", "confidence: high"), "confidence"),
        ("name: [", "project.yaml"),
    ):
        path.write_text(change, "utf-8")
        with pytest.raises(UsageError, match=says):
            load_settings(project / "conf")
