"""What tasks of Azure Pipelines do that our pipelines use, as far as a run on this machine can tell."""

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.azure_agent import Agent, Failed
from pipelines.azure_templates import Step
from pipelines.machine import make_python, system
from pipelines.played import PipelineError

Inputs = Mapping[str, str]
Result = tuple[int, str]


def do(agent: Agent, step: Step, kind: str) -> Result:
    """Do what a step says.

    Returns:
        (the exit code, what was printed).

    Raises:
        PipelineError: a task or an input is not known, or a required one is missing.
        Failed: it fails without a script of ours.
    """
    if kind in ("bash", "script"):
        code, output = agent.run(step[kind], step, step.get("workingDirectory", ""))
        return code, output
    if kind == "checkout":
        return _checkout(agent, step)
    if kind == "publish":
        name = agent.filled(step.get("artifact", "artifact"))
        agent.keep(name, agent.workspace / agent.filled(step["publish"]))
        return 0, f"artifact {name}"
    if kind == "download":
        if step["download"] not in ("current", "none"):
            raise PipelineError(f"download: {step['download']} is not known to the interpreter")
        wanted = step["download"] == "current"
        return _download(agent, step.get("artifact", ""), step.get("path", "")) if wanted else (0, "")
    return _task(agent, step)


def _task(agent: Agent, step: Step) -> Result:
    name = step["task"]
    if name not in TASKS:
        raise PipelineError(f"the task {name} is not known to the interpreter")
    task = TASKS[name]
    given = {key: agent.filled(value) for key, value in step.get("inputs", {}).items()}
    if strange := sorted(set(given) - set(task.inputs) - set(task.required)):
        raise PipelineError(f"{name} has the inputs {', '.join(strange)}, which the interpreter does not know")
    if missing := [key for key in task.required if not given.get(key)]:
        raise PipelineError(f"{name} lacks {', '.join(missing)}")
    return task.do(agent, given, step)


def git(*words: str, cwd: Path) -> str:
    """Run git, and return what it printed.

    Raises:
        Failed: it fails.
    """
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failed(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _checkout(agent: Agent, step: Step) -> Result:
    """Fetch the commit of the run: as deep as asked, 0 being the whole history; one commit unless told."""
    if step["checkout"] == "none":
        return 0, ""
    if step["checkout"] != "self":
        raise PipelineError(f"checkout: {step['checkout']} is not known to the interpreter")
    where = agent.workspace
    for entry in where.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    git("init", "--quiet", "--initial-branch", "main", cwd=where)
    git("remote", "add", "origin", agent.project.absolute().as_uri(), cwd=where)
    depth = step.get("fetchDepth", "1")
    if depth == "0":
        git("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*", cwd=where)
    git("fetch", "--quiet", "--no-tags", *(["--depth", depth] if depth != "0" else []), "origin", agent.ref, cwd=where)
    git("checkout", "--quiet", "--detach", "FETCH_HEAD", cwd=where)
    return 0, git("log", "-1", "--format=%H %s", cwd=where)


def _download(agent: Agent, name: str, path: str) -> Result:
    artifacts = agent.played.artifacts
    wanted = [agent.filled(name)] if name else list(artifacts)
    for one in wanted:
        if one not in artifacts:
            raise Failed(f"there is no artifact {one}")
        target = agent.workspace / agent.filled(path) if path else agent.root / one
        shutil.copytree(artifacts[one], target, dirs_exist_ok=True)
    return 0, ", ".join(wanted)


def _python(agent: Agent, given: Inputs, step: Step) -> Result:
    """Put a fresh Python first on the PATH, as if nothing was ever installed into it."""
    folder = agent.root / f"python-{given['versionSpec']}"
    make_python(given["versionSpec"], folder)
    agent.path[:0] = [str(folder / "bin"), str(system(folder))]
    return 0, str(folder)


def _azure_cli(agent: Agent, given: Inputs, step: Step) -> Result:
    """Run a script with `az` signed in as the service connection: in settings that only this task sees."""
    if given["scriptType"] != "bash":
        raise PipelineError(f"scriptType {given['scriptType']} is not known to the interpreter")
    connection = given["azureSubscription"]
    if "$(" in connection:
        raise PipelineError(f"{connection}: a service connection must be known before the run")
    settings = agent.temp / f"azure-{len(agent.steps)}"
    settings.mkdir(exist_ok=True)
    more = {"AZURE_CONFIG_DIR": str(settings), "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": connection}
    if shutil.which("az", path=agent.environment({})["PATH"]) is None:
        raise Failed("az is not on the PATH")
    inline = given.get("scriptLocation", "scriptPath") == "inlineScript"
    script = given.get("inlineScript", "") if inline else f'bash "{given.get("scriptPath", "")}"'
    if not script or (not inline and not given.get("scriptPath")):
        raise PipelineError("AzureCLI@2 has no script")
    arguments = f" {given['arguments']}" if given.get("arguments") else ""
    code, output = agent.run(script + arguments, step, given.get("workingDirectory", ""), more)
    return code, output


def _files(agent: Agent, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute():
        return sorted(Path("/").glob(pattern.lstrip("/")))
    return sorted(agent.workspace.glob(pattern))


def _title(agent: Agent, wanted: str) -> str:
    return wanted if wanted not in agent.played.published else f"{wanted} {len(agent.played.published)}"


def _test_results(agent: Agent, given: Inputs, step: Step) -> Result:
    """Take the results of tests. Missing ones are an error where nothing failed before, whatever the task would say."""
    if given.get("testResultsFormat", "JUnit") != "JUnit":
        raise PipelineError("only JUnit is known to the interpreter")
    pattern = given.get("testResultsFiles", "**/TEST-*.xml")
    found = _files(agent, pattern)
    if not found:
        if given.get("failTaskOnMissingResultsFile", "false").lower() == "true" or not agent.failed:
            raise Failed(f"there are no test results at {pattern}")
        return 0, f"##[warning]there are no test results at {pattern}"
    failures = cases = 0
    for path in found:
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise Failed(f"{path.name} is no XML: {error}") from None
        if root.tag not in ("testsuites", "testsuite"):
            raise Failed(f"{path.name} holds no test results, but <{root.tag}>")
        cases += len(list(root.iter("testcase")))
        failures += len([one for one in root.iter("testcase") if {"failure", "error"} & {part.tag for part in one}])
    if not cases:
        raise Failed(f"{pattern} holds no test")
    for path in found:
        agent.played.published[_title(agent, given.get("testRunTitle", path.stem))] = _kept(agent, path)
    if failures and given.get("failTaskOnFailedTests", "false").lower() == "true":
        raise Failed(f"{failures} of {cases} tests failed")
    return 0, f"{cases} tests, {failures} failed"


def _coverage(agent: Agent, given: Inputs, step: Step) -> Result:
    """Take a report of coverage; missing, it is an error where nothing failed before."""
    found = _files(agent, given["summaryFileLocation"])
    if not found:
        if given.get("failIfCoverageEmpty", "false").lower() == "true" or not agent.failed:
            raise Failed(f"there is no coverage at {given['summaryFileLocation']}")
        return 0, "##[warning]there is no coverage"
    for path in found:
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise Failed(f"{path.name} is no XML: {error}") from None
        if root.tag != "coverage" or not list(root.iter("class")):
            raise Failed(f"{path.name} holds no coverage")
        agent.played.published[_title(agent, "coverage")] = _kept(agent, path)
    return 0, "coverage"


def _kept(agent: Agent, path: Path) -> Path:
    """Keep a published file beside the artifacts: the agent's folders go with it."""
    target = agent.shelf.parent / "published" / f"{len(agent.played.published):02}-{path.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)
    return target


def _cache(agent: Agent, given: Inputs, step: Step) -> Result:
    """Find nothing. A part of the key that names a file must name one that is there."""
    for part in (part.strip() for part in given["key"].split("|")):
        if not part.startswith('"') and ("/" in part or "." in part or "*" in part) and not _files(agent, part):
            raise Failed(f"Cache@2: no file is called {part}")
    if name := given.get("cacheHitVar"):
        agent.variables[name] = "false"
    return 0, "not in the cache"


def _publish(agent: Agent, given: Inputs, step: Step) -> Result:
    name = given.get("artifact") or given.get("artifactName") or "artifact"
    agent.keep(name, agent.workspace / given["targetPath"])
    return 0, f"artifact {name}"


def _fetch(agent: Agent, given: Inputs, step: Step) -> Result:
    return _download(
        agent, given.get("artifact") or given.get("artifactName", ""), given.get("path") or given.get("targetPath", "")
    )


def _bash(agent: Agent, given: Inputs, step: Step) -> Result:
    if given.get("targetType", "filePath") != "inline":
        return agent.run(
            f'bash "{given["filePath"]}" {given.get("arguments", "")}', step, given.get("workingDirectory", "")
        )
    return agent.run(given["script"], step, given.get("workingDirectory", ""))


@dataclass
class Task:
    """A task: what it does, its required inputs, and those it may have besides."""

    do: Callable[[Agent, Inputs, Step], Result]
    required: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


AZURE = ("scriptLocation", "scriptPath", "inlineScript", "arguments", "workingDirectory", "keepAzSessionActive",
         "addSpnToEnvironment", "useGlobalConfig", "failOnStandardError", "visibleAzLogin")  # fmt: skip
TESTS = ("testResultsFormat", "testResultsFiles", "testRunTitle", "failTaskOnFailedTests", "mergeTestResults",
         "failTaskOnMissingResultsFile", "failTaskOnFailureToPublishResults", "publishRunAttachments")  # fmt: skip
TASKS = {
    "AzureCLI@2": Task(_azure_cli, ("azureSubscription", "scriptType"), AZURE),
    "Bash@3": Task(_bash, (), ("targetType", "filePath", "arguments", "script", "workingDirectory", "failOnStderr")),
    "Cache@2": Task(_cache, ("key", "path"), ("restoreKeys", "cacheHitVar")),
    "DownloadPipelineArtifact@2": Task(_fetch, (), ("artifact", "artifactName", "path", "targetPath")),
    "PublishCodeCoverageResults@2": Task(_coverage, ("summaryFileLocation",), ("pathToSources", "failIfCoverageEmpty")),
    "PublishPipelineArtifact@1": Task(_publish, ("targetPath",), ("artifact", "artifactName")),
    "PublishTestResults@2": Task(_test_results, (), TESTS),
    "UsePythonVersion@0": Task(_python, ("versionSpec",), ("addToPath", "architecture")),
}
