"""Bicep and Terraform make the same estate, whichever a project has chosen.

Bicep's expressions are worked out, Terraform's files are planned with a provider that foretells ids; then every
property of every resource is compared. What azurerm says in its own words is translated by terraform_arm.py, and an
argument for which that has no word is an error. So is anything that only one of the two makes.
"""

import re
import shutil
from pathlib import Path

import hcl2
import pytest
import yaml
from conftest import EVERY_PART, Bake
from validate import parity, parity_bicep, terraform_arm, terraform_run
from validate.bicep_syntax import read

GROUP = "00000000-0000-0000-0000-0000000000{:02}"
LANGUAGES = ("bicep", "terraform")
CHANGES = yaml.safe_load(Path(__file__).with_name("parity_changes.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def pair(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two projects with every part, one in each language; groups and CI are known."""
    made = {}
    for language in LANGUAGES:
        made[language] = mutable(bake(iac=language, extras=EVERY_PART), tmp_path_factory.mktemp(language))
        for path in (made[language] / "conf" / "environments").glob("*.yaml"):
            text = path.read_text("utf-8").replace('subject: ""', "subject: repo:org@1/project@2:environment:dev")
            groups = yaml.safe_load(text)["groups"]
            given = {name: GROUP.format(index) for index, name in enumerate(groups)}
            path.write_text(re.sub(r"^groups: .*", f"groups: {given}", text, flags=re.M), "utf-8")
    terraform_run.begin(made["terraform"] / "infra" / "terraform")
    return made


@pytest.fixture(scope="module")
def estates(pair: dict[str, Path]) -> dict[str, list[parity.Resource]]:
    """What the two projects make in dev."""
    return {"bicep": parity.of_bicep(pair["bicep"], "dev"), "terraform": parity.of_terraform(pair["terraform"], "dev")}


def mutable(project: Path, into: Path) -> Path:
    """Return a copy of what a project says of its infrastructure."""
    for name in ("infra", "conf"):
        shutil.copytree(project / name, into / name, dirs_exist_ok=True)
    for path in (into / "conf" / "environments").glob("*.yaml"):
        text = path.read_text("utf-8")
        path.write_text(text.replace('health_url: ""', "health_url: https://service.example.com/health"), "utf-8")
    return into


def test_both_languages_make_the_same_estate(estates: dict[str, list[parity.Resource]]) -> None:
    assert parity.differences(**estates) == []
    assert len(estates["bicep"]) > 100
    kinds = {one["type"] for one in estates["bicep"]}
    assert {kind for kind, _ in parity.ALLOWED} <= kinds, "a difference is allowed that there cannot be"


@pytest.mark.parametrize(("serving", "environment"), [("online", "test"), ("batch", "prod")])
def test_a_project_without_extras_is_the_same_in_both(
    bake: Bake, tmp_path: Path, serving: str, environment: str
) -> None:
    made = {language: mutable(bake(iac=language, serving=serving), tmp_path / language) for language in LANGUAGES}
    terraform_run.begin(made["terraform"] / "infra" / "terraform")

    bicep, terraform = (
        parity.of_bicep(made["bicep"], environment),
        parity.of_terraform(made["terraform"], environment),
    )

    assert parity.differences(bicep, terraform) == []


def test_both_ask_for_the_same_and_give_back_the_same(pair: dict[str, Path]) -> None:
    main = read(pair["bicep"] / "infra" / "bicep" / "main.bicep")
    folder = pair["terraform"] / "infra" / "terraform"
    variables = [hcl2.loads((folder / name).read_text("utf-8")) for name in ("variables.tf", "outputs.tf")]
    asked, given = (
        {name.strip('"') for one in said[key] for name in one}
        for said, key in zip(variables, ("variable", "output"), strict=True)
    )

    assert {parity.camel(name) for name in asked} == main.params()
    assert {parity.camel(name) for name in given} == set(main.outputs)

    planned = terraform_run.foretold(folder, "environment=dev")["outputs"]
    said = {parity.camel(name): terraform_arm.in_azures_words(one["value"]) for name, one in planned.items()}
    assert said == parity_bicep.outputs(pair["bicep"] / "infra" / "bicep", "dev")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_one_language_says_otherwise_is_found(
    pair: dict[str, Path], estates: dict[str, list[parity.Resource]], tmp_path: Path, language: str
) -> None:
    """All changes at once, for a plan takes a second; each has a line of its own."""
    changed = mutable(pair[language], tmp_path)
    for one in CHANGES[language]:
        path = changed / "infra" / language / one["file"]
        text = path.read_text("utf-8")
        assert one["says"] in text, f"{path.name} does not say {one['says']} any more"
        path.write_text(text.replace(one["says"], one["then"]), "utf-8")
    made = {"bicep": parity.of_bicep, "terraform": parity.of_terraform}[language](changed, "dev")

    found = "\n".join(parity.differences(**{**estates, language: made}))

    assert [one["found"] for one in CHANGES[language] if not re.search(one["found"], found)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_resource_of_one_language_alone_is_found(estates: dict[str, list[parity.Resource]], language: str) -> None:
    ours = estates[language]
    for kind in sorted({one["type"] for one in ours}):
        index = next(index for index, one in enumerate(ours) if one["type"] == kind)

        (line,) = parity.differences(**{**estates, language: ours[:index] + ours[index + 1 :]})
        assert line.startswith(kind)
        assert "only in" in line
    assert parity.differences(**{**estates, language: [*ours, ours[0]]}) == [f"{language} makes something twice"]


def test_an_argument_that_nobody_translates_is_an_error() -> None:
    values = {"name": "a", "id": "/a", "scope": "/b", "principal_id": "c", "description": "new"}
    planned = {"type": "azurerm_role_assignment", "values": values}

    with pytest.raises(AssertionError, match=r"does not say what becomes of \['description'\]"):
        terraform_arm.resources(planned, parity.settable("azurerm_role_assignment"))
