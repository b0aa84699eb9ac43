"""Both engines give the same project, and nothing in it that should not be there."""

import itertools
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import EVERY_PART, Bake, Tool, tree
from render import ANSWERS_FILE, ENGINES, EXAMPLE, ROOT, TEMPLATE, example_answers, render

USE_CASES = ("porto-seguro", "german-credit", "own")
SERVING = ("both", "online", "batch")
LICENCES = ("Proprietary", "MIT", "Apache-2.0", "BSD-3-Clause")
CLOUD = ({"platform": "local"}, {"platform": "azure-ml", "iac": "bicep"}, {"platform": "azure-ml", "iac": "terraform"})
EXTRAS = ("none", "ab spark", EVERY_PART, "data-factory kubernetes private-network")
CI = ("github", "azure-devops", "both", "none")
# What people type. Names do not interact with the other answers, nor do licences with parts: they are cycled through.
NAMES = (
    "Claims",
    "O'Brien & <b>Söhne</b>",
    "猫",
    "Prédiction été",
    "2nd model",
    "../../x",
    "risk 🚗 # 100 %",
    "a: b, - c | d",
    "[x] } $HOME $(z) %PATH%",
    "@decorated *bold* `code`",
    "!tag &anchor",
    "A name that is far too long for the folder of a project on any system that we know of",
)
GRID = [
    {
        "use_case": use_case,
        "licence": licence,
        "serving": SERVING[(2 * (n // 4) + n % 4) % 3],
        "extras": EXTRAS[n % 4],
        "ci": CI[n % 4],  # parts and pipelines do not interact, so the two go along with each other
        "ci_triggers": ("yes", "no")[n // 4 % 2],
        "project_name": name,
        "full_name": name,
        **CLOUD[(n // 4 + n % 4) % 3],
    }
    for n, (name, (use_case, licence)) in enumerate(
        zip(NAMES, ((u, c) for u in USE_CASES for c in LICENCES), strict=True)
    )
]

# The files of a project with every part. What an answer leaves out stands below.
FILES = (Path(__file__).parent / "files.txt").read_text("utf-8").split()
CLOUD_PIPELINES = "train(?!-)|release|login|submit|wait|evaluate|register|share|package|deploy|smoke|shift|roll|renew"
LEFT_OUT = {
    "own": {"conf/contract.yaml"},
    "both": {"azureml/components/newest.yml"},
    "online": {"azureml/components/newest.yml"},
    "batch": {path for path in FILES if path.startswith(("monitoring/", "src/PACKAGE/serving/", "azureml/online/"))}
    | {"Dockerfile", ".dockerignore", "docs/runbook.md", "requirements/otel.in", "requirements/otel.txt"}
    | {f"tests/{name}.py" for name in ("release_places", "test_release", "test_serve", "test_tracing")}
    | {path for path in FILES if path.startswith("src/PACKAGE/azure/online/")}
    | {"azureml/schedules/drift.yml", "tests/azure_endpoint.py"}
    | {f"tests/test_azure_{name}.py" for name in ("online", "smoke")}
    | {path for path in FILES if re.search("/(package-image|smoke-test|shift-traffic)", path)},
    "local": {
        path
        for path in FILES
        if re.search(r"(?<!\.)azure|amlignore|^(conf/environments|events|infra)/|/events\.|/cloud|_cloud", path)
        or re.search(rf"^\.\w+/(workflows/|stages/|actions/|recipes/)?({CLOUD_PIPELINES})\b", path)
    },
    "ci github": {path for path in FILES if path.startswith(".azuredevops/")},
    "ci azure-devops": {path for path in FILES if path.startswith(".github/")},
    "ci none": {path for path in FILES if path.startswith((".azuredevops/", ".github/")) or "bootstrap" in path}
    | {"conf/people.yaml", "docs/ci-cd.md"},
    "bicep": {path for path in FILES if path.startswith("infra/terraform/")},
    "terraform": {path for path in FILES if path.startswith("infra/bicep/")},
}
PARTS = {
    "ab": {path for path in FILES if path in ("src/PACKAGE/serving/ab.py", "tests/test_ab.py")},
    "data-factory": {path for path in FILES if "data_factory" in path},
    "kubernetes": {path for path in FILES if "kubernetes" in path},
    "private-network": {path for path in FILES if re.search(r"/network\.", path)},
    "spark": {path for path in FILES if "spark" in path},
}
# Of a project without parts; what is for the cloud comes on top: see docs/decisions/0003-file-budget.md
BUDGET = {"local": 155, "azure-ml": 265}
FOR_CI = {"none": 0, "github": 55, "azure-devops": 52, "both": 80}


def left_out(answers: dict[str, str]) -> set[str]:
    """Return the files that a project lacks; parts of the service go with it."""
    named = {f"ci {answer}" if key == "ci" else answer for key, answer in answers.items() if key != "extras"}
    lacking = set().union(*(LEFT_OUT.get(answer, set()) for answer in named))
    chosen = answers["extras"].split()
    if answers["serving"] == "batch":
        lacking |= {path for part in ("ab", "kubernetes") for path in PARTS[part] if not path.startswith("infra/")}
    return lacking.union(*(files for part, files in PARTS.items() if part not in chosen))


def package(project: Path) -> str:
    """Return the name of a project's one package."""
    (folder,) = (project / "src").iterdir()
    return folder.name


@pytest.mark.parametrize("answers", GRID, ids=lambda answers: "-".join(list(answers.values())[:2]))
def test_both_engines_give_the_same_bytes_and_files_that_parse(bake: Bake, answers: dict[str, str]) -> None:
    projects = [bake(engine, **answers) for engine in ENGINES]
    first, second = (tree(project, ANSWERS_FILE) for project in projects)
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []

    settings = tomllib.loads(first["pyproject.toml"].decode())["project"]
    assert settings["authors"] == [{"name": answers["full_name"], "email": "team@example.com"}]
    assert settings["license"] == answers["licence"].replace("Proprietary", "LicenseRef-Proprietary")
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", settings["name"])
    assert len(settings["name"]) <= 40
    for path, content in first.items():
        if path.endswith((".yaml", ".yml")):
            list(yaml.safe_load_all(content))
        elif path.endswith((".json", ".ipynb")):
            json.loads(content)
        elif path.endswith(".toml"):
            tomllib.loads(content.decode())
        elif path.endswith(".py"):
            compile(content, path, "exec")


DECIDING = ("use_case", "serving", "cloud", "extras", "ci")


def deciding(answers: dict[str, str]) -> dict[str, str]:
    """Return the answers that decide about files; `cloud` joins the two that make three cases."""
    return answers | {"cloud": answers.get("iac", "local")}


@pytest.mark.parametrize("pair", [*itertools.combinations(DECIDING, 2)][:-1], ids="-".join)
def test_the_grid_holds_every_pair_of_answers_that_decide_about_files(pair: tuple[str, str]) -> None:
    values = {"use_case": USE_CASES, "serving": SERVING, "extras": EXTRAS, "ci": CI}
    values["cloud"] = ("local", "bicep", "terraform")
    assert {tuple(deciding(answers)[key] for key in pair) for answers in GRID} == set(
        itertools.product(*(values[key] for key in pair))
    )


@pytest.mark.parametrize("answers", GRID, ids=lambda answers: "-".join(deciding(answers)[key] for key in DECIDING))
def test_project_holds_the_listed_files_and_nothing_else(bake: Bake, answers: dict[str, str]) -> None:
    project = bake(**answers)
    expected = {path.replace("PACKAGE", package(project)) for path in set(FILES) - left_out(answers)}
    assert set(tree(project, ANSWERS_FILE)) == expected
    extra = {path for part in answers["extras"].split() for path in PARTS.get(part, ())}
    assert len(expected) - len(extra - left_out(answers)) <= BUDGET[answers["platform"]] + FOR_CI[answers["ci"]]
    folders = {path for path in project.rglob("*") if path.is_dir()}
    assert [str(folder) for folder in folders if not any(folder.iterdir())] == []


def test_source_is_the_same_for_every_use_case_and_is_no_template(bake: Bake) -> None:
    template = ROOT / TEMPLATE[-1] / "src" / "{{cookiecutter.__package}}"
    source = {path: content for path, content in tree(template).items() if path.endswith(".py")}
    assert source
    for path, content in source.items():
        for number, line in enumerate(content.decode().splitlines(), 1):
            assert not re.search(r"\{\{|\{%|\{#", line), f"{path}:{number}: Jinja in src/: {line.strip()}"
    for use_case in USE_CASES:
        project = bake(use_case=use_case, extras=EVERY_PART)
        assert tree(project / "src" / package(project)) == source


@pytest.mark.parametrize("use_case", USE_CASES)
def test_nothing_of_this_machine_or_of_the_template_is_left(bake: Bake, use_case: str) -> None:
    project = bake(use_case=use_case, extras=EVERY_PART)
    leftovers = re.compile(
        r"(?<!\$)\{\{(?! \$)|\{%|cookiecutter\.|(?<![\w.])(?:/home|/root|/Users|/work|/tmp)/|[A-Z]:\\"
        r"|--(?:extra-)?index-url|--find-links"
    )
    for path, content in tree(project, ANSWERS_FILE).items():
        found = leftovers.search(content.decode("utf-8"))
        assert not found, f"{path}: {found}"
    for lock in (project / "requirements").glob("*.txt"):
        assert "://" not in lock.read_text("utf-8"), f"{lock.name} names a host"


def test_names_are_safe_on_windows(bake: Bake) -> None:
    project = bake(use_case="own", project_name="x" * 40, extras=EVERY_PART)
    paths = set(tree(project))
    assert len({path.lower() for path in paths}) == len(paths)
    for path in paths:
        assert len(path) <= 120, path
        for part in path.split("/"):
            assert re.fullmatch(r"[\w.-]*[\w-]", part), path
            assert part.split(".")[0].lower() not in ("con", "prn", "aux", "nul"), path


def test_licence_names_its_owner(bake: Bake) -> None:
    texts = {
        licence: (bake(licence=licence, full_name="Jane & Co") / "LICENSE").read_text("utf-8") for licence in LICENCES
    }
    assert all("Copyright (c) Jane & Co" in text for licence, text in texts.items() if licence != "Apache-2.0")
    assert "Apache License" in texts["Apache-2.0"]
    assert len(set(texts.values())) == len(LICENCES)


def test_example_is_fresh(bake: Bake) -> None:
    """`nox -s examples` renews it."""
    answers = example_answers()
    # Caches of a tool that ran inside the example are none of its files.
    committed = {
        path: content
        for path, content in tree(EXAMPLE / "project").items()
        if not re.search(r"(^|/)(\.\w+_cache|__pycache__|\.nox|\.venv|runs|mlflow\.db)(/|$)", path)
    }
    assert committed == tree(bake(**answers), ANSWERS_FILE)


@pytest.mark.parametrize("example", ["porto_seguro", "german_credit"])
def test_answers_of_an_example_serve_both_command_lines(
    tool: Tool, template: Path, tmp_path: Path, example: str
) -> None:
    answers = ROOT / "examples" / example / "answers.yml"
    first = tool(tmp_path, "cookiecutter", "--no-input", "--config-file", str(answers), str(template), "-o", "a")
    second = tool(tmp_path, "copier", "copy", "--defaults", "--data-file", str(answers), str(template), "b")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    slug = example_answers(answers.parent)["project_slug"]
    assert tree(tmp_path / "a" / slug) == tree(tmp_path / "b", ANSWERS_FILE)


def test_without_hooks_every_variant_stays_and_nothing_else_differs(
    bake: Bake, tool: Tool, template: Path, tmp_path: Path
) -> None:
    answers = {
        "use_case": "own",
        "serving": "batch",
        "platform": "local",
        "iac": "terraform",
        "extras": "none",
        "ci": "none",
    }
    words = [f"{key}={answer}" for key, answer in answers.items()]
    done = tool(tmp_path, "cookiecutter", "--no-input", "--accept-hooks", "no", str(template), *words)
    assert done.returncode == 0, done.stderr
    more = set(tree(tmp_path / "my-model")) - set(tree(bake(**answers)))
    assert more == {path.replace("PACKAGE", "my_model") for path in left_out(answers)}


def test_an_unknown_name_is_an_error_and_not_an_empty_place(template: Path, tmp_path: Path) -> None:
    broken = tmp_path / "template"
    shutil.copytree(template, broken)
    (broken / TEMPLATE[-1] / "data" / "README.md").write_text("{{ cookiecutter.unknown }}")
    for engine in ENGINES:
        with pytest.raises(Exception, match="unknown"):
            render(engine, broken, {}, tmp_path / engine)


def test_no_module_is_longer_than_a_reader_likes(bake: Bake) -> None:
    for path in (bake(extras=EVERY_PART) / "src").rglob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 250, path.name


@pytest.mark.parametrize("answers", GRID, ids=lambda answers: "-".join(deciding(answers)[key] for key in DECIDING))
def test_the_map_in_the_readme_is_that_of_the_project(bake: Bake, answers: dict[str, str]) -> None:
    project = bake(**answers)
    text = (project / "README.md").read_text("utf-8")
    modules = text.partition("| module | its job |")[2].partition("\n\n")[0]
    told = re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in modules.splitlines() if "|" in line))
    there = {path.stem for path in (project / "src").rglob("*.py")} - {"__init__", "__main__"}
    assert sorted(told) == sorted(there)
    places = text.partition("| place | what |")[2].partition("\n\n")[0]
    named = re.findall(r"`([\w./-]+)`", "".join(line.split("|")[1] for line in places.splitlines() if "|" in line))
    made_later = {"runs/", "mlflow.db", "endpoint.json", "conf/contract.yaml"}
    assert [name for name in named if name not in made_later and not (project / name).exists()] == []
    assert ("kubernetes/" in named) == (project / "kubernetes").exists()
