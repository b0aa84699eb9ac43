"""The questions: one definition, true documentation, and answers that are refused."""

import importlib.metadata
import keyword
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from conftest import Bake, Tool, tree
from questions import COPIER, translate
from render import ENGINES, ROOT, TEMPLATE

QUESTIONS: dict[str, Any] = yaml.safe_load(COPIER.read_text("utf-8"))
ASKED = {key: q for key, q in QUESTIONS.items() if key[0] != "_" and q.get("when") is not False}


def test_cookiecutter_json_is_fresh(tmp_path: Path) -> None:
    check = [sys.executable, "scripts/questions.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The check itself can fail: a changed default is noticed.
    for name in ("copier.yml", "cookiecutter.json"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8").replace("Data Science Team", name), "utf-8")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "questions.py").write_text((ROOT / "scripts" / "questions.py").read_text("utf-8"))
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "nox -s questions" in done.stderr


def test_translation_renames_variables_only() -> None:
    names = {"slug": "slug", "package": "__package"}
    assert translate("{{ slug }} slug {{ 'slug' }}", names) == "{{ cookiecutter.slug }} slug {{ 'slug' }}"
    assert translate("{% if package.slug | slug %}", names) == "{% if cookiecutter.__package.slug | slug %}"


def test_nothing_in_the_template_needs_trust() -> None:
    assert not {"_tasks", "_migrations", "_jinja_extensions"} & QUESTIONS.keys()


@pytest.mark.parametrize("page", ["README.md", "docs/generate.md"])
def test_documented_questions_are_the_questions(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    documented = {key: (text, default) for key, text, default in rows}
    assert list(documented) == list(ASKED)
    for key, question in ASKED.items():
        text, told = documented[key]
        assert text == question["help"]
        default, choices = question["default"], question.get("choices", {})
        if question["type"] == "bool":
            default, choices = ("yes" if default else "no"), {"Yes": "yes", "No": "no"}
        if "{" not in default:
            assert f"`{default}`" in told
        assert re.findall(r"`([^`]+)`", told)[1:] == [value for value in choices.values() if value != default]


def test_the_question_names_every_part() -> None:
    parts = QUESTIONS["parts"]["default"].split()
    assert f"({', '.join(parts)})" in QUESTIONS["extras"]["help"]
    table = " ".join(QUESTIONS["_exclude"])
    assert sorted(set(re.findall(r"'([\w-]+)' not in cookiecutter\.extras", table))) == parts


def test_no_project_may_hide_a_module_that_it_needs() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-.]+", "_", name).lower()

    lock = (ROOT / TEMPLATE[-1] / "requirements" / "dev.txt").read_text("utf-8")
    locked = {plain(name) for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    imports = {
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if locked & {plain(name) for name in names}
    }
    needed = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names, *locked, *imports}
    possible = {name for name in needed if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)}
    missing = sorted(possible - set(QUESTIONS["reserved"]["default"].split()))
    assert not missing, f"add to `reserved` in copier.yml: {' '.join(missing)}"


COMPUTED = {key: QUESTIONS[key]["default"] for key in ("reserved", "parts")}
SLUG = "must start with a letter and hold at most 40"
TAKEN = "is a name that Python, a library or a system already uses"
LINE = 'must be one line without " \\ {'
EMPTY = "must not be empty"
ADDRESS = "must look like name@host"
PARTS = "may name ab, data-factory, kubernetes, private-network, spark, with spaces between, or be none; not known: "
REGION = "must be the name of a region without spaces"
BASE = "must be 3 to 10 lower-case letters and digits"

# Shown to both engines' command lines.
REFUSED = {
    "keyword": ("project_slug", "class", TAKEN),
    "unicode": ("project_slug", "prédiction", SLUG),
    "outside": ("project_slug", "../evil", SLUG),
    "quote": ("description", 'say "hi"', LINE),
    "newline": ("full_name", "a\nb", LINE),
    "blank": ("project_name", "  ", EMPTY),
    "part": ("extras", "ab helm", f"{PARTS}helm"),
    "region": ("region", "West Europe", REGION),
    "base": ("base_name", "claims-model", BASE),
}


@pytest.mark.parametrize(
    ("question", "sentence", "answers"),
    [
        (
            "project_slug",
            SLUG,
            ["", "My-Slug", "my slug", "my_slug", "1st", "-x", "x-", "x--y", "x" * 41, "a/b", "a\\b", "é"],
        ),
        (
            "project_slug",
            TAKEN,
            ["class", "json", "py-compile", "mlflow", "scikit-learn", "sklearn", "tests", "com1", "nul", "no", "null"],
        ),
        ("project_slug", "", ["x", "porto-seguro", "model-2", "x" * 40]),
        ("project_name", EMPTY, ["", "   "]),
        ("project_name", LINE, ['"', "\\", "a\nb", "a\tb", "\x1b[31m", "{{ 7 }}", "{% if %}"]),
        ("project_name", "", ["猫", "O'Brien & <b>", "100 % #1 🚗", "../../x"]),
        ("description", EMPTY, [""]),
        ("description", LINE, ["C:\\x", "a\r\nb"]),
        ("full_name", EMPTY, [" "]),
        ("email", ADDRESS, ["", "nobody", "@host", "name@", "a b@c", "a@b@c", 'a"@b', "<a@b>", "a@b\n"]),
        ("email", "", ["o'brien+ml@example.co.uk"]),
        ("extras", PARTS, ["helm", "kubernetes,ab", "Kubernetes", "none ab", "a", "{{ 7 }}", "../x"]),
        ("extras", "", ["none", "", " ", "ab", "kubernetes", "kubernetes  ab", "ab\nkubernetes", "data-factory spark"]),
        ("region", REGION, ["", "West Europe", "westEurope", "west-europe", "1west", "wésteurope", "{{ 7 }}"]),
        ("region", "", ["westeurope", "eastus2"]),
        ("base_name", BASE, ["", "ab", "x" * 11, "Claims", "my-claims", "my_claims", "1claims", "clàims"]),
        ("base_name", "", ["abc", "claims2026"]),
    ],
)
def test_validators_accept_and_refuse(question: str, sentence: str, answers: list[str]) -> None:
    validator = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(QUESTIONS[question]["validator"])
    for answer in answers:
        said = validator.render({**COMPUTED, question: answer})
        # Copier takes even a blank for a refusal.
        assert said.startswith(sentence) if sentence else not said, f"{answer!r}: {said!r}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("question", "answer", "sentence"), REFUSED.values(), ids=REFUSED)
def test_bad_answers_are_refused_with_a_sentence_and_leave_nothing(
    tool: Tool, template: Path, tmp_path: Path, engine: str, question: str, answer: str, sentence: str
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    slug = {} if question == "project_slug" else {"project_slug": "fine"}
    done = generate(tool, engine, template, inside, **{question: answer}, **slug)
    assert done.returncode != 0
    assert sentence in done.stdout + done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("question", "answer"), [("use_case", "else"), ("licence", "GPL"), ("ci", "gitlab"), ("project_slug", "")]
)
def test_what_the_engines_refuse_themselves_leaves_nothing_either(
    tool: Tool, template: Path, tmp_path: Path, engine: str, question: str, answer: str
) -> None:
    done = generate(tool, engine, template, tmp_path, **{question: answer})
    assert done.returncode != 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ENGINES)
def test_an_existing_folder_stays_as_it_is(tool: Tool, template: Path, tmp_path: Path, engine: str) -> None:
    project = tmp_path / "mine"
    project.mkdir()
    (project / "pyproject.toml").write_text("my own work")
    done = generate(tool, engine, template, tmp_path, folder="mine", project_slug="mine")
    assert done.returncode != 0
    assert tree(project)["pyproject.toml"] == b"my own work"


def generate(
    tool: Tool, engine: str, template: Path, into: Path, folder: str = "out", **answers: str
) -> subprocess.CompletedProcess[str]:
    """Run an engine's command line."""
    pairs = [f"{key}={value}" for key, value in answers.items()]
    if engine == "cookiecutter":
        return tool(into, engine, "--no-input", str(template), *pairs)
    data = [word for pair in pairs for word in ("-d", pair)]
    return tool(into, engine, "copy", "--defaults", *data, str(template), folder)


def test_defaults_follow_the_use_case(bake: Bake) -> None:
    assert bake(use_case="german-credit").name == "german-credit"
    assert bake(use_case="own").name == "my-model"
