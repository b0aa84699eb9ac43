"""The interpreter of GitHub Actions does what GitHub's documentation says, and stops at what it does not know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Git
from pipelines import github
from pipelines.github_actions import ACTIONS
from pipelines.github_expressions import Closed, condition, evaluate, substitute
from pipelines.played import PipelineError, Played

CHECKOUT = f"actions/checkout@{ACTIONS['actions/checkout'].pin}"
UPLOAD = f"actions/upload-artifact@{ACTIONS['actions/upload-artifact'].pin}"
DOWNLOAD = f"actions/download-artifact@{'0' * 40}"
LOGIN = f"azure/login@{ACTIONS['azure/login'].pin}"
Play = Callable[..., Played]
Yaml = dict[str, Any]


@pytest.fixture
def play(tmp_path: Path, git: Git) -> Play:
    """Return `play(files, pipeline="ci", event="push", **more)`, which plays a repository of these files."""
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "--quiet", "--initial-branch", "main")

    def run(files: dict[str, Yaml], pipeline: str = "ci", event: str = "push", **more: Any) -> Played:
        for name, content in files.items():
            path = project / ".github" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--allow-empty", "--message", "change")
        count = len(list(tmp_path.glob("run*")))
        return github.play(project, pipeline, event=event, folder=tmp_path / f"run{count}", **more)

    return run


def job(*steps: str | Yaml, **more: Any) -> Yaml:
    """Return a job; a text is a script."""
    return {
        "runs-on": "ubuntu-24.04",
        **more,
        "steps": [{"run": one} if isinstance(one, str) else one for one in steps],
    }


def flow(on: Any = "push", env: Yaml | None = None, **jobs: Yaml) -> dict[str, Yaml]:
    """Return the files of a repository with one workflow, ci."""
    return {"workflows/ci.yml": {"on": on, "env": env or {}, "jobs": jobs}}


def recipe(*steps: str | Yaml, **more: Any) -> Yaml:
    """Return a composite action; a text is a script of bash."""
    listed = [{"run": one, "shell": "bash"} if isinstance(one, str) else one for one in steps]
    return {"name": "a", "description": "A.", **more, "runs": {"using": "composite", "steps": listed}}


def results(played: Played) -> dict[str, str]:
    return {name: job.result for name, job in played.jobs.items()}


def printed(played: Played, name: str = "one") -> str:
    return "".join(step.output for step in played.jobs[name].steps)


def test_jobs_follow_those_that_they_need(play: Play) -> None:
    played = play(flow(last=job("true", needs=["middle"]), middle=job("true", needs="first"), first=job("true")))

    assert played.ran == ["first", "middle", "last"]
    assert played.red == []


def test_a_red_step_stops_what_follows(play: Play) -> None:
    played = play(
        flow(
            one=job("false", "echo next"),
            two=job("true", needs="one"),
            three=job("true", needs="two"),
            cleanup=job("true", needs="one", **{"if": "failure()"}),
            last=job("exit 1", needs=["one", "three"], **{"if": "always() && needs.one.result == 'failure'"}),
            beside=job("true"),
        )
    )

    assert [step.result for step in played.jobs["one"].steps] == ["failure", "skipped"]
    assert results(played) == {
        "one": "failure", "two": "skipped", "three": "skipped", "cleanup": "success", "last": "failure",
        "beside": "success",
    }  # fmt: skip
    assert played.red == ["one/false", "last/exit 1"]


def test_what_needs_a_job_that_was_skipped_is_skipped_however_far_below(play: Play) -> None:
    """GitHub looks at all that came before: a job in between that ran all the same does not mend it."""
    played = play(
        flow(
            first=job("true", **{"if": "github.ref == 'refs/heads/other'"}),
            middle=job("true", needs="first", **{"if": "!cancelled()"}),
            last=job("true", needs="middle"),
            told=job("true", needs="middle", **{"if": "!cancelled() && needs.middle.result == 'success'"}),
        )
    )

    assert played.ran == ["middle", "told"]


def test_conditions_of_steps(play: Play) -> None:
    steps: list[str | Yaml] = [
        {"run": "false", "id": "soft", "continue-on-error": True},
        {"run": "echo ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }}"},
        {"run": "echo unusual", "if": "failure()"},
        "false",
        {"run": "echo always", "if": "always()"},
        {"run": "echo failed", "if": "failure() && github.event_name == 'push'"},
        {"run": "echo normal", "if": "github.event_name == 'push'"},
    ]

    played = play(flow(one=job(*steps)))

    assert printed(played).split() == ["failure", "success", "always", "failed"]


def test_a_shell_stops_at_the_first_failure_and_bash_in_a_pipe_too(play: Play) -> None:
    played = play(
        flow(
            plain=job("false; echo on"),
            pipe=job("false | cat; echo on"),
            bash=job({"run": "false | cat; echo on", "shell": "bash"}),
            usual=job("false | cat; echo on", defaults={"run": {"shell": "bash"}}),
        )
    )

    assert results(played) == {"plain": "failure", "pipe": "success", "bash": "failure", "usual": "failure"}


def test_outputs_go_through_recipes_and_jobs(play: Play) -> None:
    inner = recipe(
        {
            "id": "make",
            "shell": "bash",
            "run": 'echo "word=$WORD" >> "$GITHUB_OUTPUT"',
            "env": {"WORD": "${{ inputs.word }}"},
        },
        inputs={"word": {"description": "A word", "default": "usual"}},
        outputs={"word": {"description": "It", "value": "${{ steps.make.outputs.word }}"}},
    )
    outer = recipe(
        {"id": "inner", "uses": "./.github/actions/inner", "with": {"word": "${{ inputs.word }}"}},
        inputs={"word": {"description": "A word", "required": True}},
        outputs={"word": {"description": "It", "value": "${{ steps.inner.outputs.word }}"}},
    )
    one = job(
        {"uses": CHECKOUT},
        {"id": "a", "uses": "./.github/actions/outer", "with": {"word": "told"}},
        {"id": "b", "uses": "./.github/actions/inner"},
        {"id": "c", "run": 'printf "text<<END\\na\\nb\\nEND\\n" >> "$GITHUB_OUTPUT"'},
        outputs={
            name: f"${{{{ steps.{name}.outputs.{key} }}}}"
            for name, key in (("a", "word"), ("b", "word"), ("c", "text"))
        },
    )
    two = job({"run": "printf '%s|' \"$A\"", "env": {"A": "${{ needs.one.outputs.a }}"}}, needs="one")

    played = play({**flow(one=one, two=two), "actions/inner/action.yml": inner, "actions/outer/action.yml": outer})

    assert played.jobs["one"].outputs == {"a": "told", "b": "usual", "c": "a\nb"}
    assert printed(played, "two") == "told|"
    assert [step.recipe for step in played.jobs["one"].steps] == ["", "outer", "inner", ""]


def test_a_recipe_that_fails_is_red_at_its_step_and_what_follows_in_it_is_skipped(play: Play) -> None:
    files = {"actions/check/action.yml": recipe("echo one", "exit 3", "echo three")}

    played = play({**flow(one=job({"uses": "$/.github/actions/check"}, "echo next")), **files})

    assert played.red == ["one/check"]
    assert [step.result for step in played.jobs["one"].steps] == ["success", "failure", "skipped", "skipped"]


def test_variables_of_the_nearest_place_win(play: Play) -> None:
    show = "echo $A $B $C $D ${{ env.A }}"
    one = job(
        "echo D=file >> $GITHUB_ENV; echo B=file >> $GITHUB_ENV; mkdir bin; echo $PWD/bin >> $GITHUB_PATH",
        "printf '#!/bin/sh\\necho found' > bin/tool; chmod +x bin/tool",
        {"run": show, "env": {"A": "step"}},
        show,
        "tool",
        env={"B": "job", "C": "job"},
    )

    played = play(flow(env={"A": "flow", "B": "flow"}, one=one))

    assert printed(played).splitlines() == ["step file job file step", "flow file job file flow", "found"]


def test_a_step_sees_a_clean_machine(play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "mine")
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    (stand_ins / "az").write_text("#!/bin/sh\necho stand-in $WHERE\n")
    (stand_ins / "az").chmod(0o755)
    script = 'echo "$CI-$AZURE_CLIENT_SECRET-$GITHUB_REF_NAME-$RUNNER_OS"; test "$PWD" = "$GITHUB_WORKSPACE"; ls -A; az'

    played = play(flow(one=job(script)), bin=stand_ins, environ={"WHERE": "here"})

    lines = printed(played).splitlines()
    assert lines[0] == "true--main-Linux"
    assert lines[-1] == "stand-in here"
    assert str(Path.home()) not in "".join(lines)


CALLED: Yaml = {
    "on": {
        "workflow_call": {
            "inputs": {"word": {"type": "string", "required": True}, "loud": {"type": "boolean", "default": False}},
            "outputs": {"said": {"value": "${{ jobs.speak.outputs.said }}"}},
        }
    },
    "jobs": {
        "speak": job(
            {"id": "say", "run": "echo said=${{ inputs.word }}-${{ inputs.loud }} >> $GITHUB_OUTPUT"},
            outputs={"said": "${{ steps.say.outputs.said }}"},
        ),
        "after": job("true", needs="speak"),
    },
}


def calling(**given: Any) -> dict[str, Yaml]:
    call = {"uses": "$/.github/workflows/called.yml", "with": given, "needs": "first"}
    jobs = {"first": job("true"), "call": call, "last": job("echo ${{ needs.call.outputs.said }}", needs="call")}
    return {**flow(**jobs), "workflows/called.yml": CALLED}


def test_a_called_workflow_gets_inputs_and_gives_outputs(play: Play) -> None:
    played = play(calling(word="hi"))

    assert played.ran == ["first", "speak", "after", "last"]
    assert printed(played, "last") == "hi-false\n"


@pytest.mark.parametrize(
    ("given", "word"),
    [({}, "lacks word"), ({"word": "a", "more": "b"}, "more"), ({"word": "a", "loud": "yes"}, "must be a boolean")],
)
def test_a_called_workflow_refuses_wrong_inputs(play: Play, given: Yaml, word: str) -> None:
    with pytest.raises(PipelineError, match=word):
        play(calling(**given))


def test_a_called_workflow_may_not_do_more_than_its_caller(play: Play) -> None:
    files = calling(word="a")
    files["workflows/called.yml"] = {**CALLED, "permissions": {"id-token": "write"}}

    with pytest.raises(PipelineError, match="wants id-token: write"):
        play(files)


def test_the_jobs_of_a_call_that_is_not_made_are_skipped(play: Play) -> None:
    files = calling(word="a")
    files["workflows/ci.yml"]["jobs"]["first"] = job("false")

    assert play(files).ran == ["first"]


def test_an_approval_that_is_refused_ends_it(play: Play) -> None:
    jobs = {
        "one": job("true", environment="dev"),
        "two": job("true", environment={"name": "prod"}, needs="one"),
        "three": job("true", needs="two"),
        "told": job("echo ${{ needs.two.result }}", needs="two", **{"if": "failure()"}),
    }

    played = play(flow(**jobs), approve=lambda environment: environment != "prod")

    assert played.asked == ["dev", "prod"]
    assert results(played) == {"one": "success", "two": "skipped", "three": "skipped", "told": "success"}
    assert printed(played, "told") == "failure\n"


def test_variables_belong_to_an_environment(play: Play) -> None:
    show = "echo ${{ vars.NAME }} ${{ vars.OTHER }} ${{ vars.UNSET }}."
    jobs = {"dev": job(show, environment="dev"), "prod": job(show, environment="prod"), "none": job(show)}

    played = play(flow(**jobs), variables={"": {"NAME": "all"}, "dev": {"NAME": "d"}, "prod": {"OTHER": "p"}})

    assert [printed(played, name).strip() for name in jobs] == ["d .", "all p .", "all ."]


def test_a_login_wants_its_variables_and_the_permission(play: Play) -> None:
    ids = {name: f"${{{{ vars.{name.upper().replace('-', '_')} }}}}" for name in ACTIONS["azure/login"].required}
    values = {"dev": {"CLIENT_ID": "c", "TENANT_ID": "t", "SUBSCRIPTION_ID": "s"}}
    token = {"permissions": {"id-token": "write"}}
    step: Yaml = {"uses": LOGIN, "with": ids}
    jobs = {
        "good": job(step, 'grep -q \'"client-id": "c"\' ~/.azure/login.json', environment="dev", **token),
        "unset": job(step, environment="prod", **token),
        "forbidden": job(step, environment="dev"),
        "elsewhere": job("test ! -e ~/.azure", needs="good"),
    }

    played = play(flow(**jobs), variables=values)

    assert results(played) == {"good": "success", "unset": "failure", "forbidden": "failure", "elsewhere": "success"}
    assert "client-id" in printed(played, "unset")
    assert "id-token: write" in printed(played, "forbidden")


def test_artifacts_are_passed_on(play: Play) -> None:
    keep: Yaml = {
        "uses": UPLOAD,
        "with": {"name": "made", "path": "out/", "if-no-files-found": "error"},
        "if": "always()",
    }
    jobs = {
        "one": job("mkdir -p out/deep; echo a > out/a.txt; echo b > out/deep/b.txt; echo c > out/.hidden; false", keep),
        "two": job(
            {"uses": DOWNLOAD, "with": {"name": "made", "path": "in"}}, "cat in/a.txt in/deep/b.txt; ls -A in",
            needs="one", **{"if": "always()"},
        ),
        "none": job(keep | {"with": {**keep["with"], "name": "nothing"}}),
        "twice": job("mkdir out; touch out/a", keep, needs="one", **{"if": "always()"}),
    }  # fmt: skip

    played = play(flow(**jobs))

    assert printed(played, "two").split() == ["a", "b", "a.txt", "deep"]
    assert list(played.artifacts) == ["made"]
    assert (played.artifacts["made"] / "deep" / "b.txt").read_text() == "b\n"
    assert "there is no file" in printed(played, "none")
    assert "already" in printed(played, "twice")


def test_the_summary_is_kept(play: Play) -> None:
    assert play(flow(one=job("echo '# Good' >> $GITHUB_STEP_SUMMARY"))).summary == "# Good\n"


def test_a_matrix_is_played_whole(play: Play) -> None:
    matrix = {"a": [1, 2], "b": ["x", "y"], "exclude": [{"a": 2, "b": "y"}], "include": [{"a": 1, "c": "more"}]}
    one = job("echo ${{ matrix.a }}${{ matrix.b }}", strategy={"matrix": matrix})

    played = play(flow(one=one, two=job("true", needs="one")))

    assert played.ran == ["one (1, x, more)", "one (1, y, more)", "one (2, x)", "two"]


def test_a_checkout_is_as_deep_as_asked(play: Play, tmp_path: Path, git: Git) -> None:
    count = "git rev-list --count HEAD; git tag; ls -A"
    deep: Yaml = {"uses": CHECKOUT, "with": {"fetch-depth": 0}}
    files = flow(shallow=job({"uses": CHECKOUT}, count), deep=job(deep, count), none=job("ls -A"))
    play(files)
    git(tmp_path / "project", "tag", "v1")

    played = play(files)

    assert printed(played, "shallow").split() == ["1", ".git", ".github"]
    assert printed(played, "deep").split() == ["2", "v1", ".git", ".github"]
    assert printed(played, "none") == ""


def test_a_checkout_wants_its_permission(play: Play) -> None:
    assert play(flow(one=job({"uses": CHECKOUT}, permissions={}))).red == [f"one/{CHECKOUT}"]


def test_a_step_that_takes_too_long_is_stopped(play: Play) -> None:
    played = play(
        flow(one=job({"run": "sleep 60", "timeout-minutes": 0.005}), two=job("sleep 60", **{"timeout-minutes": 0.005}))
    )

    assert results(played) == {"one": "failure", "two": "failure"}


def test_only_some_jobs_are_played(play: Play) -> None:
    one = job("true", outputs={"word": "${{ github.sha }}"})
    files = flow(one=one, two=job("echo ${{ needs.one.outputs.word }}", needs="one"), three=job("true", needs="two"))

    played = play(files, only=["two"], given={"one": {"word": "given"}})

    assert list(played.jobs) == ["two"]
    assert printed(played, "two") == "given\n"


EVENTS: Yaml = {
    "push": {"branches": ["main"], "paths": ["src/**", "!src/**/*.md"]},
    "pull_request": {"branches": ["main"]},
    "schedule": [{"cron": "17 4 * * 1"}],
    "repository_dispatch": {"types": ["drift", "new-data"]},
    "workflow_dispatch": {
        "inputs": {
            "full": {"type": "boolean", "default": False},
            "purpose": {"type": "choice", "options": ["a", "b"], "default": "a"},
        }
    },
}
DATA = "${{ github.event.client_payload.data }}"
SHOW = f"echo ${{{{ github.event_name }}}} ${{{{ inputs.full }}}} ${{{{ inputs.purpose || 'none' }}}} {DATA}"


@pytest.mark.parametrize(
    ("event", "inputs", "said"),
    [
        ("pull_request", {}, "pull_request none"),
        ("schedule", {}, "schedule none"),
        ("repository_dispatch/new-data", {"data": "7"}, "repository_dispatch none 7"),
        ("workflow_dispatch", {}, "workflow_dispatch false a"),
        ("workflow_dispatch", {"full": "true", "purpose": "b"}, "workflow_dispatch true b"),
    ],
)
def test_events_start_a_workflow(play: Play, event: str, inputs: dict[str, str], said: str) -> None:
    assert printed(play(flow(EVENTS, one=job(SHOW)), event=event, inputs=inputs)).split() == said.split()


@pytest.mark.parametrize(
    ("on", "event", "inputs", "word"),
    [
        ("push", "pull_request", {}, "does not start"),
        ({"push": {"branches": ["release"]}}, "push", {}, "push to main does not start"),
        (EVENTS, "push", {}, "nothing in"),
        (EVENTS, "repository_dispatch/rain", {}, "rain does not start"),
        (EVENTS, "workflow_dispatch", {"fully": "true"}, "fully"),
        (EVENTS, "workflow_dispatch", {"full": "yes"}, "must be a boolean"),
        (EVENTS, "workflow_dispatch", {"purpose": "c"}, "must be one of"),
        ("workflow_call", "workflow_call", {}, "does not start"),
        ("release", "push", {}, "release is not known"),
    ],
)
def test_what_does_not_start_a_workflow_is_an_error(play: Play, on: Any, event: str, inputs: Yaml, word: str) -> None:
    with pytest.raises(PipelineError, match=word):
        play(flow(on, one=job("true")), event=event, inputs=inputs)


def test_a_pull_request_tells_of_its_base(play: Play, tmp_path: Path, git: Git) -> None:
    show = "echo ${{ github.event.pull_request.base.sha }} ${{ github.event.number }}"
    names = "echo ${{ github.base_ref }} ${{ github.head_ref }}"
    same = "echo ${{ github.event.pull_request.head.repo.full_name == github.repository }}"
    files = flow("pull_request", one=job(show, names, same))
    play(files, event="pull_request")
    base = git(tmp_path / "project", "rev-parse", "HEAD")
    git(tmp_path / "project", "switch", "--quiet", "--create", "better")

    assert printed(play(files, event="pull_request")).split() == [base, "7", "main", "better", "true"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": [{"uses": "actions/stale@" + "0" * 40}]}, "actions/stale is not known"),
        ({"steps": [{"uses": "actions/checkout@v7"}]}, "not at v7"),
        ({"steps": [{"uses": CHECKOUT, "with": {"depth": 1}}]}, "depth"),
        ({"steps": [{"run": "true", "shel": "bash"}]}, "shel"),
        ({"steps": [{"run": "true", "shell": "fish"}]}, "fish"),
        ({"steps": [{"run": "echo ${{ secret.A }}"}]}, "context secret"),
        ({"steps": [{"run": "echo ${{ github.branch }}"}]}, "asks for branch"),
        ({"steps": [{"run": "echo ${{ steps.none.outputs.a }}"}]}, "asks for none"),
        ({"steps": [{"run": "echo ${{ lower('A') }}"}]}, r"lower\(\)"),
        ({"steps": [{"run": "echo ::set-output name=a::b"}]}, "no longer obey"),
        ({"steps": [{"id": "a", "run": "true"}, {"id": "a", "run": "true"}]}, "given before"),
        ({"steps": [{"uses": "./.github/actions/none"}]}, "no action in none"),
        ({"steps": [{"run": "true", "if": "env.A == 'a' || ${{ true }}"}]}, "always true"),
        ({"needs": "nobody"}, "no such job"),
        ({"needs": "one"}, "need each other"),
        ({"runs-on": "windows-latest"}, "windows-latest"),
        ({"container": "ubuntu"}, "container"),
        ({"permissions": "write-all"}, "one by one"),
        ({"if": "env.A == 'a'"}, "context env"),
        ({"if": "secrets.A == 'a'"}, "context secrets"),
        ({"concurrency": {"group": "${{ steps.a }}"}}, "context steps"),
    ],
)
def test_what_is_not_known_is_an_error(play: Play, change: Yaml, word: str) -> None:
    with pytest.raises(PipelineError, match=word):
        play(flow(one={**job("true"), **change}))


@pytest.mark.parametrize(
    ("given", "word"), [({}, "lacks word"), ({"word": "a", "more": "b"}, "more")], ids=["missing", "unknown"]
)
def test_a_recipe_refuses_wrong_inputs(play: Play, given: Yaml, word: str) -> None:
    action = recipe("true", inputs={"word": {"description": "A word", "required": True}})
    files = {**flow(one=job({"uses": "$/.github/actions/say", "with": given})), "actions/say/action.yml": action}

    with pytest.raises(PipelineError, match=word):
        play(files)


def test_a_recipe_does_not_see_variables_and_needs(play: Play) -> None:
    files = {**flow(one=job({"uses": "$/.github/actions/say"})), "actions/say/action.yml": recipe("echo ${{ vars.A }}")}

    with pytest.raises(PipelineError, match="context vars"):
        play(files)


CONTEXTS = {
    "github": Closed(ref="refs/heads/main", event={"number": 7, "labels": [{"name": "a"}, {"name": "b"}]}),
    "needs": Closed(a=Closed(result="success", outputs=Closed(n="3")), b=Closed(result="skipped", outputs=Closed())),
    "env": {},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + ''", PipelineError),
        ("true && 'yes' || 'no'", "yes"),
        ("false && 'yes' || 'no'", "no"),
        ("!env.A && env.A == ''", True),
        ("'ABC' == 'abc'", True),
        ("'1' == 1", True),
        ("null == 0", True),
        ("'' == false", True),
        ("'x' == 0", False),
        ("needs.a.outputs.n > 2", True),
        ("needs.A.Result == 'success'", True),
        ("contains(needs.*.result, 'skipped')", True),
        ("contains(needs.*.result, 'failure') || contains('abcdef', 'CD')", True),
        ("join(github.event.labels.*.name, '+')", "a+b"),
        ("github.event.labels[1]['name']", "b"),
        ("github.event.none.deeper", None),
        ("format('{0}-{1} {{x}}', 'a', 2)", "a-2 {x}"),
        ("startsWith(github.ref, 'refs/HEADS') && endsWith(github.ref, 'main')", True),
        ("fromJSON('[1, 2]')[1]", 2),
        ("fromJSON(toJSON(github.event)).number", 7),
        ("'it''s'", "it's"),
        ("(1 == 1) == (2 < 3)", True),
        ("needs.c.result", PipelineError),
        ("contains('a')", PipelineError),
        ("1 ==", PipelineError),
        ('"double"', PipelineError),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    if value is PipelineError:
        with pytest.raises(PipelineError):
            evaluate(text, CONTEXTS)
    else:
        assert evaluate(text, CONTEXTS) == value


def test_expressions_in_a_text() -> None:
    assert substitute("${{ 1 == 1 }}", CONTEXTS) is True
    assert substitute("a${{ 1 == 1 }}b${{ github.event.none }}c${{ 1.50 }}", CONTEXTS) == "atruebc1.5"


def test_a_condition_without_a_status_holds_after_success_only() -> None:
    functions: dict[str, Callable[[], bool]] = {"success": lambda: False, "always": lambda: True}

    assert not condition("github.ref != ''", CONTEXTS, functions)
    assert not condition("github.ref != 'always()'", CONTEXTS, functions)
    assert condition("always() && github.ref != ''", CONTEXTS, functions)
    assert condition("${{ always() }}", CONTEXTS, functions)


def test_the_flow_is_read(play: Play, tmp_path: Path) -> None:
    files = calling(word="a")
    files["workflows/ci.yml"]["on"] = EVENTS
    files["workflows/ci.yml"]["jobs"]["first"] = job(
        {"uses": CHECKOUT}, {"uses": "./.github/actions/say"}, environment="dev"
    )
    files["actions/say/action.yml"] = recipe("# why\nnox -s \\\n  lint   types\necho done")
    play(files, event="schedule")

    read = github.flow(tmp_path / "project", "ci")

    assert read.triggers == [
        "push to main of !src/**/*.md src/**", "pull request to main", "schedule 17 4 * * 1", "event drift",
        "event new-data", "by hand",
    ]  # fmt: skip
    assert read.inputs == {"full": "false", "purpose": "a"}
    assert [(one.name, one.needs, one.environment) for one in read.jobs] == [
        ("first", [], "dev"), ("speak", ["first"], ""), ("after", ["speak"], ""), ("last", ["after"], ""),
    ]  # fmt: skip
    assert read.jobs[0].recipes == [("say", ["nox -s lint types", "echo done"])]


def test_a_check_of_the_same_files_is_remembered(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: Git
) -> None:
    monkeypatch.setenv("PIPELINES_MEMORY", str(tmp_path / "memory"))
    stand_ins, count = tmp_path / "bin", tmp_path / "count"
    stand_ins.mkdir()
    (stand_ins / "nox").write_text(
        f"#!/bin/sh\necho run >> {count}\nmkdir -p reports\necho r > reports/x.xml\necho ok\n"
    )
    (stand_ins / "nox").chmod(0o755)
    script = "nox -s lint types"
    files = flow(one=job({"uses": CHECKOUT}, script, "cat reports/x.xml"))

    first, second = play(files, bin=stand_ins), play(files, bin=stand_ins)
    (tmp_path / "project" / "new.txt").write_text("new")
    third = play(files, bin=stand_ins)

    assert [printed(played) for played in (first, second, third)] == ["ok\nr\n"] * 3
    assert count.read_text().split() == ["run", "run"]
