"""GitHub Actions and Azure DevOps deliver alike: one table of starts, inputs, gates, recipes and commands."""

import copy
from pathlib import Path

import flows as page
import pytest
from conftest import Bake
from pipelines import azure_devops, flows, github
from pipelines.played import Flow

VARIANTS: dict[str, dict[str, str]] = {
    "azure": {},
    "batch": {"serving": "batch"},
    "local": {"platform": "local"},
    "by-hand": {"ci_triggers": "no"},
}
PIPELINES = {name: ("ci",) if name == "local" else ("ci", "train", "release") for name in VARIANTS}
# The only differences, each with its reason, by pipeline and what differs.
ALLOWED: dict[tuple[str, str], str] = {
    (
        "train",
        "triggers",
    ): "events from outside start GitHub by repository_dispatch, Azure DevOps by `az pipelines run`",
}


def both(bake: Bake, variant: str) -> Path:
    """Return a project for both platforms."""
    return bake(use_case="porto-seguro", ci="both", **VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_platforms_do_the_same(bake: Bake, variant: str) -> None:
    project = both(bake, variant)
    found = [
        one
        for pipeline in PIPELINES[variant]
        for one in flows.differences(pipeline, github.flow(project, pipeline), azure_devops.flow(project, pipeline))
    ]
    assert [one for one in found if one[:2] not in ALLOWED] == []


def test_every_allowed_difference_is_there(bake: Bake) -> None:
    project = both(bake, "azure")
    found = {
        one[:2]
        for pipeline in PIPELINES["azure"]
        for one in flows.differences(pipeline, github.flow(project, pipeline), azure_devops.flow(project, pipeline))
    }
    assert set(ALLOWED) <= found


def changed(flow: Flow, what: str) -> Flow:
    """Return a flow with one thing changed, as a hurried edit of one platform would."""
    flow = copy.deepcopy(flow)
    job = next(job for job in flow.jobs if job.name == "production")
    if what == "trigger":
        flow.triggers.append("tag")
    elif what == "input":
        flow.inputs.popitem()
    elif what == "job":
        flow.jobs.pop(0)
    elif what == "needs":
        job.needs.clear()
    elif what == "gate":
        job.environment = ""
    elif what == "recipe":
        job.recipes.pop()
    elif what == "command":
        name, commands = job.recipes[-1]
        job.recipes[-1] = (name, [*commands[:-1], commands[-1] + " --force"])
    return flow


@pytest.mark.parametrize("what", ["trigger", "input", "job", "needs", "gate", "recipe", "command"])
def test_a_change_of_one_platform_is_found(bake: Bake, what: str) -> None:
    project = both(bake, "azure")
    here, there = github.flow(project, "release"), azure_devops.flow(project, "release")
    assert list(flows.differences("release", here, there)) == []
    assert list(flows.differences("release", here, changed(there, what))) != []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pictures_in_the_docs_are_drawn_from_that_table(bake: Bake, variant: str) -> None:
    project = both(bake, variant)
    text = (project / "docs" / "ci-cd.md").read_text("utf-8")
    named = [name for name in page.BLOCKS if f"flow: {name} -->" in text]
    assert [name.split(",")[0] for name in named] == list(PIPELINES[variant])
    if variant != "by-hand":  # there, the page says so in words, for what starts a pipeline is all that differs
        assert page.filled(text, {name: flows.of_page(github.flow, project, name) for name in named}) == text
