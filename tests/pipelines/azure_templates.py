"""Expand a pipeline of Azure DevOps as the service does before a run: templates, typed parameters, `${{ }}`.

The result is one document without templates and `${{ }}`. All its scalars are texts, as the service reads them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pipelines.azure_expressions import COMPILE, Scope, evaluate, plain, truth
from pipelines.played import PipelineError

FOLDER = ".azuredevops"
LISTS = ("stages", "jobs", "steps", "variables")  # what a template may hold, and where one may stand
# Read before there are parameters: no `${{ }}` is computed in them.
EARLY = ("trigger", "pr", "schedules", "parameters")
PREDEFINED = re.compile(r"(Build|System|Agent|Pipeline|Environment|Strategy|Checks)\.[\w.]+", re.IGNORECASE)
DIRECTIVE = re.compile(r"\$\{\{\s*(if|elseif|else|each|insert)\b\s*(.*?)\s*\}\}", re.DOTALL)
EACH = re.compile(r"([A-Za-z_]\w*)\s+in\s+(.+)", re.DOTALL)
TYPES = ("string", "number", "boolean", "object", "stringList")
PARTS = {"step": dict, "job": dict, "deployment": dict, "stage": dict}
PARTS |= {f"{name}List": list for name in PARTS}  # type: ignore[misc]
DEEPEST = 50  # the service allows 100 levels; ours are three


class Step(dict[str, Any]):
    """A step that knows what it came from.

    Attributes:
        recipe: The name of the innermost template in `recipes/`; "" if none.
        use: Steps of one use of a recipe have the same number.
        outputs: Variables that the recipe's header says it sets, if it is the step named there.
    """

    recipe: str = ""
    use: int = 0
    outputs: frozenset[str] = frozenset()


@dataclass
class Expanded:
    """A pipeline without templates, the files it was made of, and the values its parameters had."""

    document: dict[str, Any]
    files: set[Path] = field(default_factory=set)
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Here:
    """Where the expander stands: the file, and what expressions may use there."""

    file: Path
    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    loops: Mapping[str, Any] = field(default_factory=dict)

    def value(self, text: str) -> Any:
        names = {"parameters": self.parameters, "variables": _Variables(self.variables), **self.loops}
        try:
            return evaluate(text, Scope(names, strict=("parameters", "variables")))
        except PipelineError as error:
            raise self.wrong(str(error)) from None

    def scalar(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        if (whole := COMPILE.fullmatch(text.strip())) and "${{" not in whole[1]:
            return self.value(whole[1])
        made = COMPILE.sub(lambda found: plain(self.value(found[1])), text)
        if "${{" in made:
            raise self.wrong(f"{text!r} is not closed")
        return made

    def wrong(self, what: str) -> PipelineError:
        return PipelineError(f"{self.file.name}: {what}")


class _Variables(dict[str, Any]):
    """Variables at compile time: one that the service may set is empty, any other unknown one is an error."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or bool(PREDEFINED.fullmatch(str(name)))

    def __missing__(self, name: str) -> Any:
        return next((value for key, value in self.items() if key.lower() == name.lower()), None)


class _Loader(yaml.BaseLoader):
    """Scalars stay texts, and a key that stands twice is an error."""


def _mapping(loader: yaml.BaseLoader, node: yaml.MappingNode) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in node.value:
        name = loader.construct_object(key, deep=True)
        if name in made:
            raise PipelineError(f"line {key.start_mark.line + 1}: {name!r} stands twice")
        made[name] = loader.construct_object(value, deep=True)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(path: Path) -> dict[str, Any]:
    """Return a file of a pipeline as it is written.

    Raises:
        PipelineError: it is missing, or no YAML of a pipeline.
    """
    if not path.is_file():
        raise PipelineError(f"there is no template {path.name}: {path}")
    try:
        document = yaml.load(path.read_text("utf-8"), _Loader)
    except (yaml.YAMLError, PipelineError) as error:
        raise PipelineError(f"{path.name}: {error}") from None
    if not isinstance(document, dict):
        raise PipelineError(f"{path.name}: a mapping is expected")
    return document


def declared(document: Mapping[str, Any], file: str = "") -> list[dict[str, Any]]:
    """Return the parameters that a file declares, in order."""
    found = document.get("parameters") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) and one.get("name") for one in found):
        raise PipelineError(f"{file}: parameters are a list, each with a name and a type")
    names = [one["name"] for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PipelineError(f"{file}: parameters stand twice: {', '.join(sorted(twice))}")
    return found


def expand(
    project: Path,
    path: Path,
    inputs: Mapping[str, Any] | None = None,
    predefined: Mapping[str, str] | None = None,
) -> Expanded:
    """Expand a pipeline.

    Args:
        project: the root of the repository, where `/...` begins.
        path: the pipeline's file.
        inputs: values of its parameters; the others have their defaults.
        predefined: variables that the service knows before the run (`Build.Reason`, ...).

    Raises:
        PipelineError: the service would refuse it, with the file and the reason.
    """
    expander = _Expander(project.resolve())
    document, parameters = expander.file(path.resolve(), inputs or {}, predefined or {}, root=True)
    texts = _texts(document)
    if not isinstance(texts, dict) or len(work := [name for name in LISTS[:3] if name in texts]) != 1:
        raise PipelineError(f"{path.name}: exactly one of stages, jobs, steps is expected, not {work}")
    return Expanded(texts, expander.files, parameters)


class _Expander:
    def __init__(self, root: Path) -> None:
        self.root, self.files, self.depth, self.uses = root, set[Path](), 0, 1

    def file(
        self, path: Path, given: Mapping[str, Any], variables: Mapping[str, Any], root: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the expansion of a file, and its parameters."""
        document = read(path)
        self.files.add(path)
        if self.depth > DEEPEST:
            raise PipelineError(f"{path.name}: templates are nested too deep; does one include itself?")
        if root:
            for key in EARLY:
                if "${{" in str(document.get(key, "")):
                    raise PipelineError(f"{path.name}: {key}: no ${{{{ }}}} is computed there")
        elif "${{" in str(document.get("parameters", "")):
            raise PipelineError(f"{path.name}: parameters: a default is no expression")
        parameters = _parameters(declared(document, path.name), given, path.name)
        here = _Here(path, parameters, variables)
        rest = {key: value for key, value in document.items() if key not in ("parameters", "extends")}
        made = self.mapping(rest, here)
        if "extends" in document:
            if both := [name for name in LISTS[:3] if name in made]:
                raise here.wrong(f"extends and {both[0]} exclude each other")
            here = replace(here, variables={**variables, **_named(made.get("variables", []))})
            base = self.reference(document["extends"], here)
            if "variables" in made and "variables" in base:
                base["variables"] = [*made["variables"], *base["variables"]]
            made |= base
        return made, parameters

    def reference(self, item: Mapping[str, Any], here: _Here) -> dict[str, Any]:
        """Return the expansion of the template that `- template: ...` names."""
        if wrong := set(item) - {"template", "parameters"}:
            raise here.wrong(f"a template takes no {', '.join(sorted(wrong))}")
        name = plain(here.scalar(item["template"])).removesuffix("@self")
        if "@" in name or "$(" in name:
            raise here.wrong(f"template {name}: only files of this repository can be read")
        path = self.root / name[1:] if name.startswith("/") else here.file.parent / name
        if not path.is_file():
            raise here.wrong(f"there is no template {name}")
        given = self.node(item.get("parameters") or {}, here, "parameters")
        if not isinstance(given, dict):
            raise here.wrong(f"template {name}: parameters are a mapping")
        self.depth += 1
        made = self.file(path.resolve(), given, here.variables)[0]
        self.depth -= 1
        return made

    def node(self, node: Any, here: _Here, place: str = "") -> Any:
        if isinstance(node, list):
            return self.items(node, here, place)
        return self.mapping(node, here) if isinstance(node, dict) else here.scalar(node)

    def mapping(self, node: Mapping[str, Any], here: _Here) -> dict[str, Any]:
        made: dict[str, Any] = {}
        variables: list[Any] = []
        if "variables" in node:  # first, for they can be used beside it
            found = node["variables"]
            if isinstance(found, dict):
                found = [{"name": name, "value": value} for name, value in self.mapping(found, here).items()]
            variables = self.node(found, here, "variables")
            if any("group" in one for one in variables):
                raise here.wrong("variable groups are made by hand on the portal: use a variables template")
            here = replace(here, variables={**here.variables, **_named(variables)})
        for key, value, inside in self.branches(list(node.items()), here):
            if key is None:
                body = self.node(value, inside)
                if not isinstance(body, dict):
                    raise here.wrong(f"a mapping is expected, not {str(body)[:80]!r}")
                pairs = body
            elif key == "variables":
                pairs = {key: variables}
            else:
                pairs = {plain(inside.scalar(key)): self.node(value, inside, key)}
            if twice := set(made) & set(pairs):
                raise here.wrong(f"{', '.join(sorted(twice))} stands twice")
            made |= pairs
        return made

    def items(self, node: list[Any], here: _Here, place: str) -> list[Any]:
        pairs: list[tuple[Any, Any]] = []
        for item in node:
            only = isinstance(item, dict) and item and all(DIRECTIVE.fullmatch(str(key).strip()) for key in item)
            pairs += list(item.items()) if only else [("", item)]
        made: list[Any] = []
        for key, value, inside in self.branches(pairs, here):
            if key is None:
                body = self.node(value, inside, place)
                made += body if isinstance(body, list) else [body]
            elif isinstance(value, dict) and "template" in value:
                made += self.included(value, inside, place)
            else:
                # `- ${{ parameters.steps }}` puts a list in place of the item.
                whole = isinstance(value, str) and COMPILE.fullmatch(value.strip())
                body = self.node(value, inside, place)
                made += body if whole and isinstance(body, list) else [body]
        if place == "steps":
            made = [one if isinstance(one, Step) or not isinstance(one, dict) else Step(one) for one in made]
        return made

    def included(self, item: Mapping[str, Any], here: _Here, place: str) -> list[Any]:
        """Return what a template gives to the list it stands in."""
        if place not in LISTS:
            raise here.wrong(f"a template stands in {' or '.join(LISTS)}, not in {place or 'a list'}")
        body = self.reference(item, here)
        if set(body) != {place}:
            raise here.wrong(f"{item['template']} gives {', '.join(body) or 'nothing'}, where {place} are expected")
        path = Path(plain(here.scalar(item["template"])))
        if place == "steps" and path.parent.name == "recipes":
            for step in body[place]:
                if not step.recipe:
                    step.recipe, step.use = path.stem, self.uses
                    step.outputs = promised(here.file.parent / path, step.get("name", ""))
            self.uses += 1
        return list(body[place])

    def branches(self, items: list[tuple[Any, Any]], here: _Here) -> Iterator[tuple[Any, Any, _Here]]:
        """Yield each key with its value, or None with the body of a directive that applies."""
        taken: bool | None = None
        for key, value in items:
            found = DIRECTIVE.fullmatch(str(key).strip())
            word, rest = (found[1], found[2]) if found else ("", "")
            if word in ("elseif", "else") and taken is None:
                raise here.wrong(f"{word} without if")
            if word == "if":
                taken = applies = truth(here.value(rest))
            elif word == "elseif":
                applies = not taken and truth(here.value(rest))
                taken = taken or applies
            elif word == "else":
                taken, applies = None, not taken
            else:
                taken, applies = None, True
                if not word:
                    yield key, value, here
                    continue
            if word == "each":
                yield from ((None, value, inside) for inside in self.turns(rest, here))
            elif applies:
                yield None, value, here

    def turns(self, text: str, here: _Here) -> Iterator[_Here]:
        """Yield the place of each turn of `${{ each name in list }}`."""
        if not (found := EACH.fullmatch(text)):
            raise here.wrong(f"each {text}: 'each NAME in LIST' is expected")
        inside = here.value(found[2])
        if isinstance(inside, Mapping):
            inside = [{"key": key, "value": value} for key, value in inside.items()]
        if not isinstance(inside, list):
            raise here.wrong(f"each {text}: {str(inside)[:80]!r} is no list")
        for one in inside:
            yield replace(here, loops={**here.loops, found[1]: one})


def promised(recipe: Path, step: str) -> frozenset[str]:
    """Return the outputs that a recipe's header promises: "# Outputs of the step `submit`: job, data."."""
    found = re.search(
        rf"^# Outputs of the step `{re.escape(step)}`: ([\w, ]+)", recipe.read_text("utf-8"), re.MULTILINE
    )
    return frozenset(re.findall(r"\w+", found[1])) if found and step else frozenset()


def _parameters(declarations: list[dict[str, Any]], given: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return the value of each declared parameter, converted to its type."""
    if unknown := set(given) - {one["name"] for one in declarations}:
        raise PipelineError(f"{file}: unexpected parameter {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {}
    for one in declarations:
        name = one["name"]
        if wrong := set(one) - {"name", "type", "default", "values", "displayName"}:
            raise PipelineError(f"{file}: parameter {name} takes no {', '.join(sorted(wrong))}")
        if name not in given and "default" not in one:
            raise PipelineError(f"{file}: a value for the parameter {name} must be given")
        value = given[name] if name in given else one["default"]
        values[name] = _typed(value, one.get("type", "string"), f"{file}: parameter {name}")
        allowed = [_typed(item, one.get("type", "string"), file) for item in one.get("values", [])]
        if allowed and values[name] not in allowed:
            raise PipelineError(f"{file}: parameter {name}: {value!r} is none of {', '.join(map(str, allowed))}")
    return values


def _typed(value: Any, kind: str, where: str) -> Any:
    if kind in PARTS:
        if not isinstance(value, PARTS[kind]):
            raise PipelineError(f"{where}: {str(value)[:80]!r} is no {kind}")
        return value
    if kind not in TYPES:
        raise PipelineError(f"{where}: there is no type {kind}")
    if kind == "object":
        return value
    if isinstance(value, list) == (kind != "stringList") and isinstance(value, dict | list):
        raise PipelineError(f"{where}: {str(value)[:80]!r} is no {kind}")
    text = "" if kind == "stringList" else plain(value)
    if kind == "boolean":
        if text.lower() not in ("true", "false"):
            raise PipelineError(f"{where}: {text!r} is no boolean")
        return text.lower() == "true"
    if kind == "number":
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):
            raise PipelineError(f"{where}: {text!r} is no number")
        return float(text) if "." in text else int(text)
    return value if kind == "stringList" else text


def _named(variables: Any) -> dict[str, Any]:
    return {one["name"]: one.get("value", "") for one in variables if isinstance(one, dict) and "name" in one}


def _texts(node: Any) -> Any:
    """Return a tree with every scalar as text."""
    if isinstance(node, Step):
        made = Step({key: _texts(value) for key, value in node.items()})
        made.recipe, made.use, made.outputs = node.recipe, node.use, node.outputs
        return made
    if isinstance(node, dict):
        return {key: _texts(value) for key, value in node.items()}
    return [_texts(one) for one in node] if isinstance(node, list) else plain(node)
