"""The interpreter of Azure Pipelines does what the service documents: on small pipelines, each for one thing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipelines.azure_devops import flow, play
from pipelines.azure_expressions import Scope, evaluate
from pipelines.played import PipelineError, Played

Run = Callable[..., Played]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return `run(pipeline, files={path: text}, ...)`, which plays a pipeline in a repository of these files."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.delenv("PIPELINES_MEMORY", raising=False)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "tester@example.com")

    def _run(text: str, files: dict[str, str] | None = None, event: str = "workflow_dispatch", **more: Any) -> Played:
        project = repository(tmp_path / "project", {".azuredevops/x.yml": text, **(files or {})})
        return play(project, "x", event=event, folder=tmp_path / "run", **more)

    return _run


def repository(folder: Path, files: dict[str, str]) -> Path:
    """Make a repository of two commits, the second with all files."""
    for name, text in {"README.md": "first\n", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
        if name == "README.md":
            git(folder, "init", "--quiet", "--initial-branch", "main")
            git(folder, "add", "--all")
            git(folder, "commit", "--quiet", "--message", "first")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "second")
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git."""
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def said(played: Played, job: str) -> str:
    """Return what the steps of a job printed."""
    return "\n".join(step.output.strip() for step in played.jobs[job].steps)


def results(played: Played) -> dict[str, str]:
    """Return how each job ended."""
    return {name: job.result for name, job in played.jobs.items()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eq('A', 'a')", True),
        ("eq(1, '1')", True),
        ("eq('1.0', 1)", False),
        ("eq(true, 'false')", True),  # any text but the empty one is true
        ("eq('false', true)", False),
        ("and(true, '')", False),
        ("and('false', true)", True),
        ("or(false, eq(1, 2), ne(1, 2))", True),
        ("not(contains('Retraining', 'TRAIN'))", False),
        ("in('b', 'a', 'B')", True),
        ("notIn('b', 'a', 'c')", True),
        ("coalesce('', null, 'x')", "x"),
        ("format('{0}-{1} {{x}}', 'a', 2)", "a-2 {x}"),
        ("join('; ', split('a,b', ','))", "a; b"),
        ("replace(upper(trim(' it''s ')), 'S', 'x')", "IT'x"),
        ("iif(gt(length('abc'), 2), 'long', 'short')", "long"),
        ("variables['a.b']", "dotted"),
        ("VARIABLES.x", None),
        ("variables.nothing", None),
        ("containsValue(variables, 'DOTTED')", True),
        ("convertToJson(variables)", '{\n  "a.b": "dotted"\n}'),
        ("xor(true, false)", True),
        ("startsWith('refs/heads/main', 'refs/')", True),
        ("le('a', 'B')", True),
    ],
)
def test_an_expression(text: str, value: object) -> None:
    scope = Scope({"variables": {"a.b": "dotted"}, "VARIABLES": {}})
    assert evaluate(text, scope) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("equals(1, 1)", "no function 'equals'"),
        ("eq(1)", "does not take 1 arguments"),
        ("eq(1, 2", "is expected, not 'its end'"),
        ("eq(1, 2))", "unexpected"),
        ("parameters.nothing", "no parameters 'nothing'"),
        ("secrets.x", "no 'secrets' here"),
        ("eq(a b)", "',' is expected"),
        ("succeeded()", "no function 'succeeded' here"),
        ("1 == 1", "what is"),
        ("gt(1, 'x')", "gt"),
    ],
)
def test_a_wrong_expression(text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        evaluate(text, Scope({"parameters": {}}))


def test_jobs_run_in_the_order_of_what_they_depend_on_and_a_failure_stops_what_follows(run: Run) -> None:
    played = run("""
jobs:
  - job: last
    dependsOn: [bad]
    steps: [{bash: echo never}]
  - job: bad
    dependsOn: [good]
    steps: [{bash: exit 3, displayName: breaks}, {bash: echo never}, {bash: echo always, condition: always()}]
  - job: after_all
    dependsOn: [last]
    condition: always()
    steps: [{bash: echo after}]
  - job: on_failure
    dependsOn: [good, bad]
    condition: failed()
    steps: [{bash: echo mended}]
  - job: of_bad
    dependsOn: [good, bad]
    condition: failed('good')
    steps: [{bash: echo never}]
  - job: one_of
    dependsOn: [last]
    condition: succeededOrFailed('last')
    steps: [{bash: echo never}]
  - job: good
    steps: [{bash: "false\\ntrue", displayName: bash goes on}]
  - job: whole
    dependsOn: [after_all]
    steps: [{bash: echo never}]
""")

    assert results(played) == {
        "good": "success", "bad": "failure", "last": "skipped", "after-all": "success", "on-failure": "success",
        "of-bad": "skipped", "one-of": "skipped", "whole": "skipped",
    }  # fmt: skip
    assert list(played.jobs)[:3] == ["good", "bad", "last"]
    assert played.red == ["bad/breaks"]
    assert [step.result for step in played.jobs["bad"].steps] == ["success", "failure", "skipped", "success"]


def test_a_condition_of_a_step_replaces_the_usual_one(run: Run) -> None:
    played = run("""
steps:
  - bash: exit 1
    continueOnError: true
  - bash: echo issues=$(Agent.JobStatus)
  - bash: exit 1
  - bash: echo only if green
  - bash: echo although red
    condition: eq(variables['Build.Reason'], 'Manual')
  - bash: echo red
    condition: failed()
  - bash: echo off
    enabled: false
    condition: always()
""")

    assert "issues=SucceededWithIssues" in said(played, "Job")
    assert "although red" in said(played, "Job")
    assert "only if green" not in said(played, "Job")
    assert [step.result for step in played.jobs["Job"].steps][-3:] == ["success", "success", "skipped"]


def test_variables_at_every_level_and_macros(run: Run) -> None:
    played = run(
        """
variables:
  - template: v.yml
  - {name: level, value: root}
  - {name: is.manual, value: "$[ eq(variables['Build.Reason'], 'Manual') ]"}
jobs:
  - job: a
    variables: {level: job, nested: $(level)-$(shared), early: "${{ variables.level }}/${{ variables.shared }}"}
    steps:
      - bash: echo "$LEVEL $NESTED $EARLY $IS_MANUAL $BUILD_SOURCEBRANCHNAME $OWN [$(unset.one)]"
        env: {OWN: $(level)!}
      - bash: |
          echo "##vso[task.setvariable variable=level]changed%0Atwice"
          echo "##vso[task.setvariable variable=token;isSecret=true]hush-hush"
      - bash: echo "$LEVEL|${TOKEN-unset}|$(token)|$GIVEN"
        env: {GIVEN: $(token)}
      - bash: echo "${SYSTEM_ACCESSTOKEN-no token}${CI-no CI} $TF_BUILD $HOME"
      - bash: test -n "$TOKEN"
        env: {TOKEN: $(System.AccessToken)}
""",
        {".azuredevops/v.yml": "variables: {shared: everywhere}"},
    )

    text = said(played, "a")
    assert "job job-everywhere root/everywhere True main job! []" in text
    assert "unset.one: command not found" in text, "what is not set stays as written, and bash takes it for a command"
    assert "changed\ntwice|unset|***|***" in text
    assert "hush" not in text
    assert "no tokenno CI True" in text
    assert str(Path.home()) not in text.split("True ")[-1].splitlines()[0]
    assert played.red == []


def test_outputs_reach_later_jobs_and_stages(run: Run) -> None:
    output = "bash: 'echo \"##vso[task.setvariable variable=x;isOutput=true]{}\"', name: set"
    played = run(f"""
stages:
  - stage: one
    jobs:
      - job: a
        steps: [{{{output.format("from a")}}}, {{bash: 'echo "here: $SET_X $(set.x)"'}}]
      - job: b
        dependsOn: [a]
        variables: {{x: "$[ dependencies.a.outputs['set.x'] ]", r: "$[ dependencies.a.result ]"}}
        condition: eq(dependencies.a.outputs['set.x'], 'FROM A')
        steps: [{{bash: 'echo "b: $X $R"'}}]
      - deployment: d
        environment: project-test
        strategy:
          runOnce: {{deploy: {{steps: [checkout: none, {{{output.format("from d")}}}]}}}}
  - stage: two
    condition: and(succeeded(), eq(dependencies.one.outputs['d.d.set.x'], 'from d'))
    jobs:
      - job: c
        variables:
          a: $[ stageDependencies.one.a.outputs['set.x'] ]
          d: $[ stageDependencies.one.d.outputs['d.set.x'] ]
        steps: [{{bash: 'echo "c: $A, $D"'}}]
  - stage: three
    dependsOn: [one]
    condition: eq(dependencies.one.outputs['a.set.x'], 'other')
    jobs: [{{job: never, steps: [{{bash: echo never}}]}}]
""")

    assert "here: from a from a" in said(played, "a")
    assert "b: from a Succeeded" in said(played, "b")
    assert "c: from a, from d" in said(played, "c")
    assert results(played)["never"] == "skipped"
    assert played.jobs["a"].outputs == {"x": "from a"}
    assert played.jobs["d"].environment == "test"


def test_templates_and_parameters(run: Run) -> None:
    files = {
        ".azuredevops/recipes/greet.yml": """
parameters:
  - {name: names, type: object}
  - {name: loud, type: boolean, default: false}
  - {name: times, type: number, default: 1}
steps:
  - ${{ each name in parameters.names }}:
      - bash: echo "hello $WHO $TIMES$(end)"
        env:
          WHO: ${{ name }}
          TIMES: ${{ parameters.times }}
        ${{ if parameters.loud }}:
          displayName: LOUD ${{ upper(name) }}
        ${{ else }}:
          displayName: quiet ${{ name }}
""",
        ".azuredevops/base.yml": """
parameters:
  - {name: extra, type: stepList, default: []}
  - {name: loud, type: boolean}
variables: {end: "!"}
stages:
  - stage: all
    jobs:
      - job: greet
        steps:
          - template: recipes/greet.yml
            parameters: {names: [a, b], loud: "${{ parameters.loud }}"}
          - ${{ parameters.extra }}
""",
    }
    played = run(
        """
parameters:
  - {name: loud, type: boolean, default: false}
extends:
  template: base.yml
  parameters:
    loud: ${{ parameters.loud }}
    extra: [{bash: echo extra}]
""",
        files,
        inputs={"loud": "true"},
    )

    steps = played.jobs["greet"].steps
    assert [step.name for step in steps] == ["checkout self", "LOUD A", "LOUD B", "echo extra"]
    assert [step.recipe for step in steps] == ["", "greet", "greet", ""]
    assert "hello a 1!\nhello b 1!\nextra" in said(played, "greet")


def test_commands_to_the_agent(run: Run) -> None:
    played = run("""
jobs:
  - job: a
    steps:
      - bash: |
          mkdir tools && printf '#!/bin/sh\\necho found\\n' > tools/mine && chmod +x tools/mine
          echo "##vso[task.prependpath]$PWD/tools"
      - bash: mine && echo "# Good" > s.md && echo "##vso[task.uploadsummary]$PWD/s.md" >&2
      - bash: echo "##vso[task.complete result=SucceededWithIssues]"
      - {bash: 'echo "##vso[task.complete result=Failed]"', displayName: says so}
  - job: b
    steps: [{bash: 'echo "##vso[task.uploadsummary]$PWD/none.md"', displayName: no file}]
""")

    assert "found" in said(played, "a")
    assert played.summary == "# Good\n\n"
    assert played.red == ["a/says so", "b/no file"]


def test_artifacts_go_from_job_to_job(run: Run) -> None:
    played = run("""
jobs:
  - job: a
    steps:
      - bash: mkdir out && echo one > out/1.txt
      - {publish: out, artifact: things}
      - {publish: nothing, artifact: empty, displayName: nothing there}
  - job: b
    dependsOn: [a]
    condition: always()
    steps:
      - {download: current, artifact: things}
      - bash: cat "$(Pipeline.Workspace)/things/1.txt"
      - {download: current, artifact: missing}
  - deployment: c
    dependsOn: [a]
    condition: always()
    environment: p-dev
    strategy: {runOnce: {deploy: {steps: [checkout: none, {bash: 'cat "$PIPELINE_WORKSPACE/things/1.txt"; ls'}]}}}
""")

    assert (played.artifacts["things"] / "1.txt").read_text() == "one\n"
    assert played.red == ["a/nothing there", "b/download current"]
    assert "one" in said(played, "b")
    assert "one" in said(played, "c")
    assert "README.md" not in said(played, "c")


GATES = """
stages:
  - stage: build
    jobs: [{job: build, steps: [{bash: echo build}]}]
  - stage: test
    jobs:
      - deployment: test
        environment: shop-test
        strategy: {runOnce: {deploy: {steps: [checkout: none, bash: echo in test]}}}
  - stage: prod
    jobs:
      - deployment: prod
        environment: {name: shop-prod}
        strategy: {runOnce: {deploy: {steps: [checkout: none, bash: echo in prod]}}}
  - stage: tell
    dependsOn: [test]
    condition: failed()
    jobs: [{job: tell, steps: [{bash: echo refused}]}]
"""


def test_environments_are_gates(run: Run) -> None:
    played = run(GATES, approve=lambda environment: environment != "prod")

    assert played.asked == ["test", "prod"]
    assert results(played) == {"build": "success", "test": "success", "prod": "skipped", "tell": "skipped"}


def test_what_follows_a_refused_gate_is_not_run(run: Run) -> None:
    played = run(GATES, approve=lambda environment: False)

    assert played.asked == ["test"]
    assert results(played) == {"build": "success", "test": "skipped", "prod": "skipped", "tell": "success"}


@pytest.mark.parametrize(("code", "heard"), [("0", "well"), ("1", "badly")])
def test_the_parts_of_a_deployment(run: Run, code: str, heard: str) -> None:
    played = run(f"""
jobs:
  - deployment: d
    environment: shop-prod
    strategy:
      runOnce:
        preDeploy: {{steps: [checkout: none, bash: echo before; touch here]}}
        deploy: {{steps: [checkout: none, bash: "ls; exit {code}"]}}
        postRouteTraffic: {{steps: [checkout: none, bash: echo watched]}}
        on:
          failure: {{steps: [checkout: none, bash: echo badly]}}
          success: {{steps: [checkout: none, bash: echo well]}}
""")

    assert said(played, "d").split()[-1] == heard
    assert ("watched" in said(played, "d")) == (code == "0")
    assert "here" not in said(played, "d"), "each part has a machine of its own"
    assert played.jobs["d"].result == ("success" if code == "0" else "failure")


def test_a_script_with_the_azure_cli(run: Run, tmp_path: Path) -> None:
    stand_in = tmp_path / "bin" / "az"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "az $* as $AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"\n')
    stand_in.chmod(0o755)
    task = (
        "{task: AzureCLI@2, inputs: {azureSubscription: sc-dev, scriptType: bash, scriptLocation: inlineScript, "
        "inlineScript: 'az account show \"$WHAT\"'}, env: {WHAT: now}}"
    )

    played = run(f"steps: [{task}]", bin=stand_in.parent)

    assert "az account show now as sc-dev" in said(played, "Job")


RESULTS = '<testsuites><testsuite><testcase name="a"/><testcase name="b">{}</testcase></testsuite></testsuites>'
COVERAGE = (
    '<coverage line-rate="1"><packages><package><classes><class name="a"/></classes></package></packages></coverage>'
)


@pytest.mark.parametrize(
    ("content", "more", "red"),
    [
        (RESULTS.format(""), "", []),
        (RESULTS.format("<failure/>"), "", []),
        (RESULTS.format("<failure/>"), ", failTaskOnFailedTests: true", ["Job/results"]),
        ("<testsuites/>", "", ["Job/results"]),
        ("no XML", "", ["Job/results"]),
        (COVERAGE, "", ["Job/results"]),
        ("", "", ["Job/results"]),
    ],
)
def test_results_are_published_if_they_are_results(run: Run, content: str, more: str, red: list[str]) -> None:
    inputs = f"{{testResultsFormat: JUnit, testResultsFiles: r/*.xml, testRunTitle: mine{more}}}"
    task = f"{{task: PublishTestResults@2, displayName: results, inputs: {inputs}}}"
    played = run(f"steps: [{task}]", {"r/x.xml": content} if content else {})

    assert played.red == red
    assert ("mine" in played.published) == content.startswith("<testsuites><")


@pytest.mark.parametrize(("content", "red"), [(COVERAGE, []), ("<coverage/>", ["Job/c"]), ("", ["Job/c"])])
def test_coverage_is_published_if_it_is_coverage(run: Run, content: str, red: list[str]) -> None:
    task = "{task: PublishCodeCoverageResults@2, displayName: c, inputs: {summaryFileLocation: c.xml}}"

    assert run(f"steps: [{task}]", {"c.xml": content} if content else {}).red == red


def test_results_that_a_failed_step_did_not_write_are_only_missed(run: Run) -> None:
    played = run("""
steps:
  - {bash: exit 1, displayName: breaks}
  - {task: PublishTestResults@2, condition: succeededOrFailed(), inputs: {testResultsFiles: none.xml}}
""")

    assert played.red == ["Job/breaks"]


def test_a_cache_needs_the_files_of_its_key(run: Run) -> None:
    inputs = "{{key: 'pip | \"$(Agent.OS)\" | {}', path: cache, cacheHitVar: HIT}}"
    text = f"{{{{task: Cache@2, displayName: c, inputs: {inputs}}}}}"
    played = run(f"steps: [{text.format('README.md')}, {{bash: echo hit=$HIT}}, {text.format('none.txt')}]")

    assert "hit=false" in said(played, "Job")
    assert played.red == ["Job/c"]


def test_a_python_of_its_own(run: Run) -> None:
    played = run("""
steps:
  - {task: UsePythonVersion@0, inputs: {versionSpec: "3.12"}}
  - bash: |
      set -e
      python -c "import sys; assert sys.prefix != sys.base_prefix; print(sys.version_info[:2])"
      python -m pip --version
      python -c "import pytest" 2>/dev/null && echo "the kit's own" || echo clean
""")

    assert "(3, 12)" in said(played, "Job")
    assert "clean" in said(played, "Job")


def test_a_checkout_is_as_deep_as_it_says(run: Run) -> None:
    played = run("""
jobs:
  - job: shallow
    steps: [{checkout: self, fetchDepth: 1}, {bash: "git log --format='- %s'"}]
  - job: deep
    steps: [{checkout: self, fetchDepth: 0}, {bash: "git log --format='- %s'; git rev-parse HEAD^1"}]
  - job: bare
    steps: [{checkout: none}, {bash: ls -a}]
  - job: usual
    steps: [{bash: cat README.md}]
""")

    assert "- second" in said(played, "shallow")
    assert "- first" not in said(played, "shallow")
    assert "- second\n- first" in said(played, "deep")
    assert ".git" not in said(played, "bare")
    assert said(played, "usual").endswith("first")


def test_a_pull_request_is_built_merged_into_its_target(run: Run, tmp_path: Path) -> None:
    look = "git log -1 --format=%P; ls; echo $(System.PullRequest.TargetBranch)"
    text = f"pr: {{branches: {{include: [main]}}}}\nsteps: [{{checkout: self, fetchDepth: 0}}, {{bash: '{look}'}}]"
    project = repository(tmp_path / "project", {".azuredevops/x.yml": text})
    git(project, "switch", "--quiet", "--create", "feature")
    (project / "new.txt").write_text("new\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "third")

    played = play(project, "x", event="pull_request", folder=tmp_path / "run")

    assert len(said(played, "Job").splitlines()[1].split()) == 2, "two parents"
    assert "new.txt" in said(played, "Job")
    assert "refs/heads/main" in said(played, "Job")


def test_only_some_jobs_are_played(run: Run) -> None:
    played = run(
        """
stages:
  - stage: one
    jobs:
      - job: make_it
        steps: [{bash: 'echo "##vso[task.setvariable variable=x;isOutput=true]1"', name: set}]
  - stage: two
    condition: eq(dependencies.one.outputs['make_it.set.x'], 'given')
    jobs:
      - job: use
        variables: {x: "$[ stageDependencies.one.make_it.outputs['set.x'] ]"}
        steps: [{bash: echo "x=$X"}]
""",
        only=["use"],
        given={"make-it": {"x": "given"}},
    )

    assert list(played.jobs) == ["use"]
    assert "x=given" in said(played, "use")


@pytest.mark.parametrize(
    ("head", "event", "why"),
    [
        ("trigger: none", "push", "trigger is none"),
        ("trigger: {branches: {include: [release/*]}}", "push", "only to release"),
        ("trigger: {branches: {include: [main]}, paths: {include: [src/**]}}", "push", "nothing in src"),
        ("pr: none", "pull_request", "pr is none"),
        ("name: x", "schedule", "schedules is none"),
        ("name: x", "deployment", "not known"),
    ],
)
def test_an_event_that_does_not_start_it(run: Run, head: str, event: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        run(f"{head}\nsteps: [{{bash: echo}}]", event=event)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("steps: [{task: Unknown@1}]", "task Unknown@1 is not known"),
        ("steps: [{task: UsePythonVersion@0, inputs: {version: 3}}]", "inputs version"),
        ("steps: [{task: UsePythonVersion@0}]", "lacks versionSpec"),
        ("steps: [{powershell: dir}]", "a step has powershell"),
        ("steps: [{bash: echo, shell: zsh}]", "it has shell"),
        ("steps: [{bash: echo, condition: equals(1, 1)}]", "no function 'equals'"),
        ("steps: [{bash: 'echo \"##vso[task.unknown]x\"'}]", "task.unknown"),
        ("steps: [{bash: echo, env: {X: $(nowhere)}}]", "reads nowhere, which nothing"),
        ("pool: windows-latest\nsteps: [{bash: echo}]", "windows-latest is not played"),
        ("variables: [{group: portal}]\nsteps: [{bash: echo}]", "variable groups"),
        ("jobs: [{job: a, needs: [b], steps: [{bash: echo}]}]", "has needs"),
        ("jobs: [{job: a, dependsOn: [b], steps: [{bash: echo}]}]", "depends on b"),
        ("jobs: [{job: a, dependsOn: [a], steps: [{bash: echo}]}]", "depend on each other"),
        ("jobs: [{job: a, steps: [{bash: echo}]}, {job: a, steps: [{bash: echo}]}]", "two jobs a"),
        (
            "stages: [{stage: s, jobs: [{deployment: d, environment: e, strategy: {runOnce: {deploy: {steps: ["
            "checkout: none, {bash: 'echo variable=x;isOutput=true', name: set}]}}}}, {job: j, dependsOn: d, "
            "variables: {x: \"$[ dependencies.d.outputs['deploy.set.x'] ]\"}, steps: [{bash: echo}]}]}]",
            "begin with its name",
        ),
        ("jobs: [{job: deploy, steps: [{bash: echo}]}]", "no name of a job"),
        ("jobs: [{job: a, steps: [{bash: echo}], strategy: {matrix: {x: {y: z}}}}]", "has strategy"),
        ("steps: [{bash: echo}]\njobs: []", "exactly one"),
        ("steps: [{bash: echo, bash: echo}]", "stands twice"),
        ("jobs: [{deployment: d, environment: e, strategy: {canary: {}}}]", "has canary"),
        (
            "jobs: [{deployment: d, environment: e, strategy: {runOnce: {deploy: {steps: [bash: echo]}}}}]",
            "checks nothing out",
        ),
    ],
)
def test_what_is_not_known_is_an_error(run: Run, text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        run(text)


def test_the_flow_of_a_pipeline(tmp_path: Path, run: Run) -> None:
    files = {
        ".azuredevops/recipes/go.yml": "steps:\n  - bash: |\n      set -euo pipefail\n      go  now\n  - publish: x\n",
        ".azuredevops/x.yml": """
trigger: {branches: {include: [main]}}
parameters: [{name: full, type: boolean, default: false}]
stages:
  - stage: one
    jobs:
      - {job: a, steps: [template: recipes/go.yml, template: recipes/go.yml]}
      - {job: b, dependsOn: a, steps: [bash: echo]}
  - stage: two
    jobs:
      - deployment: c_d
        environment: shop-prod
        strategy: {runOnce: {deploy: {steps: [checkout: none, template: recipes/go.yml]}}}
""",
    }

    made = flow(repository(tmp_path / "project", files), "x")

    assert made.triggers == ["push to main", "by hand"]
    assert made.inputs == {"full": "false"}
    assert [(job.name, job.needs, job.environment) for job in made.jobs] == [
        ("a", [], ""),
        ("b", ["a"], ""),
        ("c-d", ["b"], "prod"),
    ]
    assert made.jobs[0].recipes == [("go", ["go now"]), ("go", ["go now"])]
