"""Every file of .azuredevops is one that Azure Pipelines takes, for every answer and every value of its parameters."""

import itertools
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from pipelines.azure_plan import crossed, plan, unsafe
from pipelines.azure_templates import FOLDER, declared, expand, read
from pipelines.played import PipelineError
from validate import azure_language

# Together: each pair of answers that the files look at.
BAKES: list[dict[str, str]] = [
    {"platform": "azure-ml", "serving": "both", "ci_triggers": "yes", "ci": "azure-devops"},
    {"platform": "azure-ml", "serving": "batch", "ci_triggers": "no", "ci": "azure-devops"},
    {"platform": "local", "serving": "both", "ci_triggers": "no", "ci": "azure-devops"},
    {"platform": "local", "serving": "batch", "ci_triggers": "yes", "ci": "azure-devops"},
    {"platform": "azure-ml", "serving": "online", "ci_triggers": "yes", "ci": "both", "engine": "cookiecutter"},
]
COMPOSED = {"azure-ml": ["ci", "release", "train"], "local": ["ci"]}
ANY = "porto-seguro"  # a value of a parameter that takes any text


@pytest.fixture(scope="module", params=BAKES, ids=lambda one: "-".join(one.values()))
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    """The answers of a project."""
    return dict(request.param)


@pytest.fixture(scope="module")
def project(bake: Bake, answers: dict[str, str]) -> Path:
    """A project of these answers."""
    return bake(**{"engine": "copier", **answers})


def files(project: Path) -> list[Path]:
    """Return all files of a project's pipelines."""
    return sorted((project / FOLDER).rglob("*.yml"))


def every_value(path: Path) -> Iterator[dict[str, Any]]:
    """Yield parameters of a file, so that each value of each is met with each of the others."""
    values: dict[str, list[Any]] = {}
    for one in declared(read(path)):
        kind, default = one.get("type", "string"), [one["default"]] if "default" in one else []
        more = {"boolean": ["true", "false"], "string": [ANY], "number": ["7"]}.get(kind, [])
        values[one["name"]] = (
            list(dict.fromkeys([*default, *(one.get("values") or more)])) if kind != "object" else default
        )
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen, strict=True))


def test_the_language_service_finds_nothing(project: Path) -> None:
    assert len(files(project)) > 8
    assert list((project / FOLDER).rglob("*.yaml")) == []
    assert {path.name: found for path, found in azure_language.problems(files(project)).items() if found} == {}


def test_every_pipeline_expands_with_every_value_of_its_parameters(
    project: Path, answers: dict[str, str], tmp_path: Path
) -> None:
    composed = sorted((project / FOLDER).glob("*.yml"))
    composed = [path for path in composed if path.name != "variables.yml"]
    assert [path.stem for path in composed] == COMPOSED[answers["platform"]]

    made = []
    for path in composed:
        for number, inputs in enumerate(every_value(path)):
            document = expand(project, path, inputs).document
            assert crossed(plan(document)) == []
            made.append(azure_language.written(document, tmp_path / f"{path.stem}-{number}.yml"))

    assert {path.name: found for path, found in azure_language.problems(made).items() if found} == {}


def test_every_recipe_can_be_used_alone_and_as_its_header_shows(project: Path, tmp_path: Path) -> None:
    made = []
    for recipe in sorted((project / FOLDER / "recipes").glob("*.yml")):
        header, example = head_of(recipe)
        assert re.search(r"^Inputs: ", header, re.MULTILINE), f"{recipe.name}: the header tells no inputs"
        uses = [yaml.load(example, yaml.BaseLoader)]
        uses += [[{"template": f"recipes/{recipe.name}", "parameters": inputs}] for inputs in every_value(recipe)]
        for number, steps in enumerate(uses):
            document = {"jobs": [{"job": "alone", "steps": steps}]}
            path = azure_language.written(document, project / FOLDER / f"alone-{recipe.stem}-{number}.yml")
            try:
                made.append(azure_language.written(expand(project, path).document, tmp_path / path.name))
            finally:
                path.unlink()
        for one in declared(read(recipe)):
            assert one["name"] in header, f"{recipe.name}: the header does not tell of {one['name']}"

    assert len(made) > 10
    assert {path.name: found for path, found in azure_language.problems(made).items() if found} == {}


def head_of(path: Path) -> tuple[str, str]:
    """Return the header of a recipe, and the example in it."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
    header, _, example = "\n".join(line[2:] for line in lines).partition("Example:\n")
    return header, example


def test_no_value_is_pasted_into_a_script(project: Path) -> None:
    assert [found for path in files(project) for found in unsafe(path)] == []


def test_every_file_is_used(project: Path, answers: dict[str, str]) -> None:
    used = {
        path.relative_to(project.resolve() / FOLDER).as_posix()
        for name in COMPOSED[answers["platform"]]
        for inputs in every_value(project / FOLDER / f"{name}.yml")
        for path in expand(project, project / FOLDER / f"{name}.yml", inputs).files
    }
    by_hand = {"recipes/roll-back.yml"} if answers["platform"] == "azure-ml" else set()  # no pipeline goes back unasked

    assert {path.relative_to(project / FOLDER).as_posix() for path in files(project)} - used <= by_hand


def test_ci_triggers_off_means_by_hand_only(project: Path, answers: dict[str, str]) -> None:
    starts = {}
    for name in COMPOSED[answers["platform"]]:
        document = read(project / FOLDER / f"{name}.yml")
        starts[name] = {key for key in ("trigger", "pr", "schedules") if document.get(key, "none") != "none"}

    on = {"ci": {"trigger", "pr"}, "train": {"trigger", "schedules"}, "release": set()}
    assert starts == {name: on[name] if answers["ci_triggers"] == "yes" else set() for name in starts}
    assert all("trigger" in read(project / FOLDER / f"{name}.yml") for name in starts), "none stands for every branch"


def test_what_was_added_to_the_schema_is_missing_there() -> None:
    assert [name for name in azure_language.TASKS if azure_language.described(name)] == []


# What is broken: the file, a text in it, what stands there instead, who finds it, and what it says.
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "a wrong key": ("ci.yml", "timeoutInMinutes: 30", "timeoutMinutes: 30", "language", "timeoutMinutes"),
    "an unknown task": ("recipes/setup.yml", "UsePythonVersion@0", "UsePython@0", "language", "."),
    "a wrong version of a task": ("recipes/wait.yml", "AzureCLI@2", "AzureCLI@9", "language", "."),
    "a wrong input": ("recipes/setup.yml", "versionSpec:", "version:", "language", "version"),
    "a wrong input of coverage": ("recipes/test.yml", "summaryFileLocation:", "summary:", "language", "summary"),
    "a wrong choice": ("recipes/wait.yml", "scriptType: bash", "scriptType: bsh", "language", "."),
    "a missing input": ("recipes/wait.yml", "      scriptType: bash\n", "", "language", "scriptType"),
    "a wrong type of a parameter": ("ci.yml", "type: boolean", "type: bool", "language", "."),
    "a wrong key of a schedule": ("train.yml", "cron:", "crontab:", "language", "."),
    "a wrong strategy": ("stages/release.yml", "runOnce:", "once:", "language", "once"),
    "a wrong lock": ("train.yml", "lockBehavior: sequential", "lockBehavior: none", "language", "."),
    "a wrong key of a variable": ("stages/release.yml", "value: test", "is: test", "language", "."),
    "no YAML": ("ci.yml", "jobs:\n", "jobs: [\n", "language", "."),
    "no YAML, for the expander": ("ci.yml", "jobs:\n", "jobs: [\n", "expander", "ci.yml: while parsing"),
    "an unknown parameter": ("ci.yml", "parameters.full", "parameters.all", "expander", "no parameters 'all'"),
    "a missing template": ("ci.yml", "check-code.yml", "check-it.yml", "expander", "no template recipes/check-it"),
    "an unexpected parameter": ("ci.yml", "full: $", "whole: $", "expander", "unexpected parameter whole"),
    "a missing parameter": ("ci.yml", "          against: HEAD~1\n", "", "expander", "value for the parameter against"),
    "a value of the wrong type": ("ci.yml", "full: ${{ parameters.full }}", "full: maybe", "expander", "no boolean"),
    "a value that is none of those allowed": (
        "train.yml", "purpose: ${{ parameters.purpose }}", "purpose: fun", "expander", "'fun' is none of retraining",
    ),
    "an unknown function": ("stages/train.yml", "if eq(", "if equal(", "expander", "no function 'equal'"),
    "a wrong number of arguments": ("stages/train.yml", "if eq(", "if not(", "expander", "not does not take 2"),
    "an unknown variable": ("stages/train.yml", "parameters.project", "variables.project", "expander", "'project'"),
    "an open expression": ("ci.yml", "${{ parameters.full }}", "${{ parameters.full }", "expander", "not closed"),
    "an expression in a trigger": ("ci.yml", "include: [main]", 'include: ["${{ x }}"]', "expander", "no \\$\\{\\{"),
    "a template in the wrong place": (
        "ci.yml", "template: recipes/check-code.yml", "template: variables.yml", "expander", "variables, where steps",
    ),
    "a template that includes itself": (
        "recipes/check-code.yml", "steps:\n", "steps:\n  - template: check-code.yml\n", "expander", "too deep",
    ),
    "a template of another repository": (
        "ci.yml", "recipes/check-code.yml", "recipes/check-code.yml@other", "expander", "only files of this repository",
    ),
    "a key that stands twice": ("ci.yml", "jobs:\n", "pool: x\njobs:\n", "expander", "'pool' stands twice"),
    "a variable group": (
        "ci.yml", "  - template: variables", "  - group: x\n  - template: variables", "expander", "variable groups",
    ),
    "an else without if": ("stages/train.yml", "- ${{ if eq(", "- ${{ elseif eq(", "expander", "elseif without if"),
    "an unknown need": ("ci.yml", "[code, tests, data]", "[code, test, data]", "expander", "depends on test"),
    "jobs that need each other": (
        "ci.yml", "  - job: code\n", "  - job: code\n    dependsOn: [ci]\n", "expander", "depend on each other",
    ),
    "a job twice": ("ci.yml", "- job: security", "- job: code", "expander", "two jobs code"),
    "an unknown machine": ("ci.yml", "ubuntu-24.04", "ubuntu-20.04", "expander", "ubuntu-20.04 is not played"),
    "an output that no step sets": (
        "stages/train.yml", "['submit.job']", "['submit.run']", "expander", "submit.run, an output that no step",
    ),
    "an output of a step that there is not": (
        "stages/train.yml", "['submit.job']", "['start.job']", "expander", "start.job, an output that no step",
    ),
    "an output of a stage's condition": (
        "stages/train.yml", "evaluate.evaluate.decision", "evaluate.decision", "expander", "decision, an output that",
    ),
    "an output of a job before which it is not": (
        "stages/train.yml", "dependsOn: [submit]", "dependsOn: []", "expander", "reads of submit, which is no",
    ),
    "an output of a stage further back": (
        "stages/release.yml", "          - register\n      - staging", "          - staging",
        "expander", "reads of \\['register'\\], on which its stage does not depend",
    ),
    "a condition on what nothing sets": (
        "recipes/evaluate.yml", "['evaluate.decision']", "['evaluate.gate']", "expander", "reads evaluate.gate, which",
    ),
    "a macro of what nothing sets": (
        "stages/release.yml", "$(register.model_version)", "$(register.version)", "expander", "reads register.version",
    ),
    "an unknown function of a condition": (
        "stages/release.yml", "default: succeeded()", "default: successful()", "expander", "no function 'successful'",
    ),
    "a deployment that says nothing of the checkout": (
        "stages/release.yml", "- checkout: none\n", "- bash: exit 0\n", "expander", "checks nothing out by itself",
    ),
    "a service connection known too late": (
        "recipes/wait.yml", "azureSubscription: ${{ parameters.connection }}", "azureSubscription: $(connection)",
        "expander", "must be known before the run",
    ),
    "a parameter pasted into a script": (
        "recipes/wait.yml", '"$JOB"', '"${{ parameters.job }}"', "rule", "a value is pasted into the script",
    ),
    "a variable pasted into a script": ("recipes/wait.yml", '"$JOB"', "$(job)", "rule", "a value is pasted"),
    "a script that goes on after an error": (
        "recipes/comment.yml", "      set -euo pipefail\n", "", "rule", "goes on after an error",
    ),
    "a connection of another environment": (
        "stages/release.yml", "parameters.project }}-test\n                - template",
        "parameters.project }}-prod\n                - template", "rule", "signs in to prod, in a job for test",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(bake: Bake) -> Path:
    """The project that faults are planted into."""
    return bake(**{"engine": "copier", **BAKES[0]})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(good: Path, tmp_path: Path, fault: str) -> None:
    name, text, instead, who, message = FAULTS[fault]
    shutil.copytree(good / FOLDER, tmp_path / FOLDER)
    path = tmp_path / FOLDER / name
    written = path.read_text("utf-8")
    assert text in written, f"{name} has changed: plant this fault elsewhere"
    path.write_text(written.replace(text, instead), "utf-8")

    found = list(judges(tmp_path, path)[who]())

    assert re.search(message, "\n".join(found)), found


def judges(project: Path, changed: Path) -> Mapping[str, Any]:
    """Return what can find a fault: the language service, the expander, and rules of ours."""

    def language() -> Iterator[str]:
        yield from azure_language.problems([changed])[changed]

    def expander() -> Iterator[str]:
        for name in COMPOSED["azure-ml"]:
            path = project / FOLDER / f"{name}.yml"
            try:
                plan(expand(project, path).document)
            except PipelineError as error:
                yield str(error)

    def rule() -> Iterator[str]:
        yield from unsafe(changed)
        for name in COMPOSED["azure-ml"]:
            yield from crossed(plan(expand(project, project / FOLDER / f"{name}.yml").document))

    return {"language": language, "expander": expander, "rule": rule}


def test_nobody_finds_a_fault_where_there_is_none(good: Path) -> None:
    everyone = judges(good, good / FOLDER / "ci.yml")

    assert {who: list(look()) for who, look in everyone.items()} == {"language": [], "expander": [], "rule": []}
