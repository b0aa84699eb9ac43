"""What the tests of bootstrap say again and again."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from bootstrap_stand_in import Service

CLOUD = find_spec("{{ cookiecutter.__package }}.bootstrap.cloud") is not None
Typed = Callable[..., tuple[int, str]]
State = dict[str, Any]
Drift = tuple[Callable[[State], Any], str]  # what changes, and what is said of its mending
TRAINED = ("release", "train") if CLOUD else ()


def named(root: Path, **roles: Any) -> None:
    """Change conf/people.yaml."""
    path = root / "conf" / "people.yaml"
    given = yaml.safe_load(path.read_text("utf-8"))
    given |= {name: given[name] | value if isinstance(value, dict) else value for name, value in roles.items()}
    path.write_text(yaml.safe_dump(given), "utf-8")


def outcome(said: str) -> State:
    """Read what `--json` printed, among the commands that were shown."""
    found: State = json.loads(next(line for line in said.splitlines() if line.startswith('{"changed"')))
    return found


def mended(run: Typed, service: Service, drift: Drift) -> None:
    """Let one thing drift: it is mended by one command, and all is as it was."""
    change, expected = drift
    assert run()[0] == 0
    right = ordered(service.state)
    change(service.state)
    service.writes.clear()
    code, said = run("--json")
    found = outcome(said)
    assert (code, len(found["changed"]), len(service.writes)) == (0, 1, 1), said
    assert expected in found["changed"][0]
    assert ordered(service.state) == right


def ordered(state: State) -> State:
    """The state without the order in which rules and policies were made."""
    text = json.dumps(state, sort_keys=True)
    again: State = json.loads(text)
    for rule in again["rulesets"].values():
        rule["rules"].sort(key=lambda one: str(one["type"]))
    for place in again["environments"].values():
        place["protection_rules"].sort(key=lambda one: str(one["type"]))
    for name in ("policies", "checks"):
        again[name].sort(key=lambda one: int(one["id"]))
    return again
