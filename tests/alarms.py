"""How often the monitor calls without need, and sees what was planted; as a script, inside a baked project.

Arguments: the package, the first seed, seeds, quiet months, rows of a window, rows to learn from. Prints JSON.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# Rows of a window, so that about 2,000 of the rarer class are among them; and rows to learn from.
SIZES = {"porto-seguro": (60_000, 60_000), "german-credit": (10_000, 20_000)}
# What makes the AUC of the project's own model fall by 0.03; that of a perfect one falls by a little more.
DROP = {"porto_seguro": 0.033, "german_credit": 0.031}


def played(project: Path, use_case: str, first: int, seeds: int, months: int) -> dict[str, Any]:
    """Play months in which nothing happens, then a shift and a drop, in one world for each seed."""
    words = [use_case.replace("-", "_"), first, seeds, months, *SIZES[use_case]]
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, __file__, *map(str, words)], cwd=project, env=env, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    found: dict[str, Any] = json.loads(done.stdout)
    print(use_case, json.dumps(found))
    return found


def main(package: str, first: int, seeds: int, months: int, rows: int, learnt: int) -> None:
    """Play, and print what was found."""

    def module(name: str) -> Any:
        return import_module(f"{package}.{name}")

    project_of, shifts, watch = module("pipeline").Project, module("watch.shifts"), module("watch.monitor")
    reference_of, batch_of = module("watch.window").reference_of, module("watch.window").Batch
    encode_target, past_of = module("encode").encode_target, module("watch.performance").Past
    found: dict[str, Any] = {"windows": 0, "false": [], "shift": [], "drop": [], "lost": []}
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch, "project")
            for name in ("conf", "requirements"):
                shutil.copytree(name, root / name)
            project = project_of(root)
            world = shifts.World(project.contract, seed)
            table = Path(scratch, "first.parquet")
            world.draw(learnt, 0).write_parquet(table)
            result = project.run(str(table))
            assert result.decision == "promoted", result.reasons
            version, model = project.model(1)
            reference = reference_of(1, model, project.registry.model(version), project.settings)
            past: list[Any] = []
            strongest = shifts.ranked(project.contract, False)[0]

            def look(number: int, *planted: Any) -> Any:
                frame = world.draw(rows, number, planted)  # noqa: B023
                truth, score = encode_target(frame, project.contract), model.predict(frame)  # noqa: B023
                parts = [slice(k, k + 32_768) for k in range(0, rows, 32_768)]
                batches = [batch_of(frame[p].select(model.needs), score[p], truth[p]) for p in parts]  # noqa: B023
                span = (f"{number:04}", f"{number + 1:04}")
                return watch.monitor(reference, batches, batches, project.settings, "", span, past)  # noqa: B023

            def kept(report: Any) -> None:
                m = report.metric
                past.append(past_of(m.since, m.until, m.value, m.error))  # noqa: B023

            for number in range(1, months + 1):
                report = look(number)
                found["windows"] += 1
                if report.severity("drift", "prediction", "performance", "quality") == 2:
                    found["false"].append([seed, number, report.of("drift", "prediction", "performance", "quality")])
                kept(report)
            moved = shifts.Shift(kind="covariate", columns=(strongest,), size=0.25)
            found["shift"].append(any(look(months + n, moved).severity("drift") == 2 for n in (1, 2)))
            # The size that lowers the AUC of this very model by 0.03.
            weaker = shifts.Shift(kind="weaker", size=DROP[package])
            noticed = []
            for n in (3, 4):
                report = look(months + n, weaker)
                noticed.append(report.severity("performance") == 2)
                found["lost"].append(report.metric.reference - report.metric.value)
                kept(report)
            found["drop"].append(any(noticed))
            print(seed, found["false"], found["shift"][-1], found["drop"][-1], file=sys.stderr, flush=True)
    found["mean_lost"] = float(np.mean(found["lost"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
