"""What fits together in the files for Azure ML: steps, inputs, outputs, command lines."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .audit import Document, Files, Found, Rule, part

BINDING = re.compile(r"\$\{\{\s*([^}]*?)\s*\}\}")
OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
ASSETS = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model")


def steps_of(document: Document) -> dict[str, dict[str, Any]]:
    """Return the steps of a pipeline, by name."""
    return {name: step for name, step in part(document.content, "jobs").items() if isinstance(step, dict)}


def component_of(document: Document, files: Files, step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the component of a step; empty where it is its own, or another workspace's."""
    reference = step.get("component") or step.get("trial")
    if isinstance(reference, dict):
        return reference
    if not isinstance(reference, str):
        return {}
    if reference.startswith("azureml:"):
        named = files.named(reference, "Component")
        return named.content if named else {}
    path = (document.path.parent / reference).resolve()
    return next((d.content for d in files.documents if d.path.resolve() == path), {})


def kind_of(declared: Any) -> str:
    """Return the type of an input or output, as far as it says one."""
    return str(declared.get("type", "")) if isinstance(declared, Mapping) else ""


def known_keys(document: Document, files: Files) -> Found:
    """In components and in steps, the loader drops a key that it does not know, without a word."""
    from azure.ai.ml._schema.component import command_component, parallel_component, spark_component
    from azure.ai.ml._schema.pipeline import component_job, pipeline_component

    kinds = {
        "commandComponent": command_component.CommandComponentSchema,
        "parallelComponent": parallel_component.ParallelComponentSchema,
        "sparkComponent": spark_component.SparkComponentSchema,
        "pipelineComponent": pipeline_component.PipelineComponentSchema,
        "command": component_job.CommandSchema,
        "parallel": component_job.ParallelSchema,
        "spark": component_job.SparkSchema,
        "sweep": component_job.SweepSchema,
        "pipeline": pipeline_component.PipelineSchema,
    }
    looked = {"": (document.kind, document.content)}
    looked |= {f"jobs.{name}.": (str(step.get("type", "command")), step) for name, step in steps_of(document).items()}
    for where, (kind, content) in looked.items():
        if kind in kinds:
            for key in _unknown(kinds[kind](context={"base_path": document.path.parent}), content):
                yield where + key, "there is no such key"


def _unknown(schema: Any, content: Mapping[str, Any]) -> Iterator[str]:
    fields = {field.data_key or name: field for name, field in schema.fields.items()}
    for key, value in content.items():
        if key not in fields:
            yield str(key)
        elif hasattr(fields[key], "schema") and isinstance(value, Mapping):
            yield from (f"{key}.{below}" for below in _unknown(fields[key].schema, value))


def known_inputs(document: Document, files: Files) -> Found:
    """Every input and output of a step is its component's, and every input that must be there is."""
    nodes = {f"jobs.{name}": step for name, step in steps_of(document).items()}
    if document.kind == "pipelineJob" and "component" in document.content:
        nodes[""] = document.content
    for where, step in nodes.items():
        component, dot = component_of(document, files, step), f"{where}." if where else ""
        if not component:
            continue
        inputs, given = part(component, "inputs"), part(step, "inputs")
        for name in given.keys() - inputs.keys():
            yield f"{dot}inputs.{name}", f"the component {component.get('name')} has no such input"
        searched = part(step, "search_space")
        for name, declared in inputs.items():
            needed = not (isinstance(declared, Mapping) and (declared.get("optional") or "default" in declared))
            if needed and name not in given and name not in searched:
                yield f"{dot}inputs", f"the component {component.get('name')} needs the input {name}"
        for name in part(step, "outputs").keys() - part(component, "outputs").keys():
            yield f"{dot}outputs.{name}", f"the component {component.get('name')} has no such output"
        for name in searched.keys() - inputs.keys():
            yield f"{dot}search_space.{name}", f"the component {component.get('name')} has no such input"


def bindings(document: Document, files: Files) -> Found:
    """What a step is bound to is there, and is of the type that it takes."""
    steps = steps_of(document)
    inputs, outputs = part(document.content, "inputs"), part(document.content, "outputs")
    filled = set()
    for name, step in steps.items():
        component = component_of(document, files, step)
        for side in ("inputs", "outputs"):
            for key, value in part(step, side).items():
                where = f"jobs.{name}.{side}.{key}"
                takes = kind_of(part(component, side).get(key))
                for expression in BINDING.findall(str(value)):
                    match expression.split("."):
                        case ["parent", "inputs", source] if side == "inputs" and source in inputs:
                            gives = kind_of(inputs[source])
                        case ["parent", "outputs", target] if side == "outputs" and target in outputs:
                            gives = kind_of(outputs[target])
                            filled.add(target)
                        case ["parent", "jobs", other, "outputs", source] if side == "inputs" and other in steps:
                            theirs = part(component_of(document, files, steps[other]), "outputs")
                            if theirs and source not in theirs:
                                yield where, f"the step {other} has no output {source}"
                            gives = kind_of(theirs.get(source))
                        case _:
                            yield where, f"there is nothing called {expression}"
                            continue
                    if takes in ASSETS and gives in ASSETS and takes != gives:
                        yield where, f"it is of type {takes}, and {expression} of type {gives}"
    for name in outputs.keys() - filled if steps else ():
        yield f"outputs.{name}", "no step writes it"


def order(document: Document, files: Files) -> Found:
    """No step waits for itself."""
    waits = {
        name: {e.split(".")[2] for e in BINDING.findall(str(step.get("inputs"))) if e.startswith("parent.jobs.")}
        for name, step in steps_of(document).items()
    }
    while ready := [name for name, others in waits.items() if not others & waits.keys()]:
        for name in ready:
            del waits[name]
    for name in waits:
        yield f"jobs.{name}", f"it waits in a circle, with {', '.join(sorted(waits[name] & waits.keys()))}"


def line_of(content: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a component's command line stands, and what stands there."""
    if "command" in content:
        return "command", str(content["command"])
    if "args" in content:
        return "args", str(content["args"])
    return "task.program_arguments", str(part(content, "task").get("program_arguments", ""))


def command(document: Document, files: Files) -> Found:
    """A command line names what its component declares, all of it; what is optional stands in `$[[ ]]`, and only that."""
    content = document.content
    if document.kind not in ("commandComponent", "parallelComponent", "sparkComponent"):
        return
    where, line = line_of(content)
    used = {*BINDING.findall(line), *BINDING.findall(str(content.get("input_data", "")))}
    declared = {f"{side}.{name}" for side in ("inputs", "outputs") for name in part(content, side)}
    for name in used - declared:
        yield where, f"{name} is not declared"
    for name in declared - used:
        yield name, f"the {where} does not use it"
    bare = {*BINDING.findall(OPTIONAL.sub("", line))}
    for name, about in part(content, "inputs").items():
        optional = isinstance(about, Mapping) and bool(about.get("optional"))
        if optional and f"inputs.{name}" in bare:
            yield where, f"the optional input {name} must stand in $[[ ]]"
        if not optional and f"inputs.{name}" in used - bare and "inputs." + name not in str(content.get("input_data")):
            yield where, f"the input {name} stands in $[[ ]], but is not optional"


WIRING: tuple[Rule, ...] = (known_keys, known_inputs, bindings, order, command)
