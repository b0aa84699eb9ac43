"""Check every file for Azure ML with no account: by Azure's own loader, and by rules for what that one lets pass."""

import ast
import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import UsageError

FOLDER = "azureml"
# Kind of file, by the name of its schema -> the function of the SDK that loads it.
LOADERS = {
    "environment": "load_environment",
    "data": "load_data",
    "model": "load_model",
    "commandComponent": "load_component",
    "pipelineComponent": "load_component",
    "parallelComponent": "load_component",
    "sparkComponent": "load_component",
    "commandJob": "load_job",
    "pipelineJob": "load_job",
    "sweepJob": "load_job",
    "parallelJob": "load_job",
    "sparkJob": "load_job",
    "managedOnlineEndpoint": "load_online_endpoint",
    "kubernetesOnlineEndpoint": "load_online_endpoint",
    "managedOnlineDeployment": "load_online_deployment",
    "kubernetesOnlineDeployment": "load_online_deployment",
    "batchEndpoint": "load_batch_endpoint",
    "modelBatchDeployment": "load_model_batch_deployment",
    "pipelineComponentBatchDeployment": "load_pipeline_component_batch_deployment",
    "schedule": "load_schedule",
    "monitorSchedule": "load_schedule",
    "azureBlob": "load_datastore",
    "azureDataLakeGen2": "load_datastore",
    "amlCompute": "load_compute",
    "registry": "load_registry",
}
VALIDATED = ("load_component", "load_job")  # the others' own `_validate` does nothing, or fails
_SCHEMA = re.compile(r"https://azuremlschemas\.azureedge\.net/latest/(\w+)\.schema\.json")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Problem(NamedTuple):
    """What is wrong, and where: the file from the project's folder, and the place in it."""

    file: str
    where: str
    what: str


class Document(NamedTuple):
    """A file below `azureml/`."""

    path: Path
    name: str  # from the project's folder
    kind: str  # of LOADERS; empty for none
    text: str
    content: dict[str, Any]


class Files(NamedTuple):
    """All of them."""

    root: Path
    documents: list[Document]

    def named(self, reference: str, *kinds: str) -> Document | None:
        """Return the file that defines `azureml:NAME:VERSION`."""
        name = reference.removeprefix("azureml:").partition(":")[0].partition("@")[0]
        found = (d for d in self.documents if d.content.get("name") == name and d.kind.endswith(kinds))
        return next(found, None)


Found = Iterator[tuple[str, str]]  # where, what
Rule = Callable[[Document, Files], Found]


def walk(value: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield each place below a value of YAML, its key and what stands there."""
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, below in pairs:
        place = f"{where}.{key}" if where else str(key)
        yield place, str(key), below
        yield from walk(below, place)


def part(value: Any, *keys: str) -> dict[str, Any]:
    """Return what stands below keys, where that is a mapping; else an empty one."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def check(root: Path, only: Collection[str] = ()) -> list[Problem]:
    """Check all files below `azureml/`, and what they refer to; neither network nor account is used.

    Args:
        root: the project's folder.
        only: files to check, as `Problem.file` names them; the others are read for what these refer to.

    Returns:
        The problems, by file; none means that the files are well-formed and fit each other and the code. Only Azure can
        tell whether it has what they ask for: quotas, machine sizes, rights.

    Raises:
        UsageError: azure-ai-ml is not installed, or there is nothing to check.
    """
    from .audit_files import FILES
    from .audit_values import VALUES
    from .audit_wiring import WIRING

    sdk, files = _sdk(), read(root)
    found = set[Problem]()
    for document in files.documents:
        if not only or document.name in only:
            found |= {Problem(document.name, *one) for one in _loads(document, sdk)}
            for rule in (*WIRING, *FILES, *VALUES):
                found |= {Problem(document.name, *one) for one in _asked(rule, document, files)}
    return sorted(found)


def _asked(rule: Rule, document: Document, files: Files) -> list[tuple[str, str]]:
    """What a rule says; where a file is too odd for it, that is a problem, too."""
    try:
        with _quiet():
            return list(rule(document, files))
    except Exception as error:  # of a value that nobody foresaw
        return [("", f"it cannot be checked ({rule.__name__}): {type(error).__name__}: {error}")]


def read(root: Path) -> Files:
    """Read the files; one that is no YAML has no content, and the loader will say so.

    Raises:
        UsageError: there is none.
    """
    documents = []
    for path in sorted((root / FOLDER).rglob("*.y*ml")):
        text = path.read_text("utf-8")
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError:
            content = None
        content = content if isinstance(content, dict) else {}
        schema = _SCHEMA.fullmatch(str(content.get("$schema", "")))
        kind = schema[1] if schema and schema[1] in LOADERS else ""
        documents.append(Document(path, path.relative_to(root).as_posix(), kind, text, content))
    if not documents:
        raise UsageError(f"There is nothing to check: {root / FOLDER} holds no YAML file.")
    return Files(root, documents)


def _sdk() -> Any:
    try:
        with _quiet():  # some loaders are public nowhere else; the lock pins what is imported here
            from azure.ai.ml.entities import _load_functions
    except ImportError:
        raise UsageError(
            "The files for Azure ML are checked by azure-ai-ml: pip install -r requirements/azure.txt"
        ) from None
    return _load_functions


def _loads(document: Document, sdk: Any) -> Found:
    """What Azure's own loader says."""
    if not document.kind:
        yield "$schema", f"no schema that is known; give one of {', '.join(LOADERS)}"
        return
    loader = LOADERS[document.kind]
    try:
        with _quiet():
            loaded = getattr(sdk, loader)(document.path)
            result = loaded._validate() if loader in VALIDATED else None
    except Exception as error:  # of many kinds
        yield from _told(error)
    else:
        for one in result._errors if result else ():
            yield one.yaml_path or "", str(one.message)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _told(error: Exception) -> Found:
    """Yield places and sentences in what the loader says at length: JSON, or what Python prints of it, or nothing."""
    text = _COLOUR.sub("", str(error))
    found: Any = None
    with contextlib.suppress(ValueError, SyntaxError):
        found, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    with contextlib.suppress(ValueError, SyntaxError):
        found = found or ast.literal_eval(text.strip())
    if errors := found.get("errors") if isinstance(found, dict) else None:
        yield from ((str(one["path"]), _first(one["message"])) for one in errors)
        return
    leaves = [(where.rpartition(".")[0], text) for where, _, text in walk(found) if isinstance(text, str)]
    yield from leaves or [("", _first(text) or f"it cannot be loaded, and {type(error).__name__} is all that is said")]


def _first(text: str) -> str:
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "")
