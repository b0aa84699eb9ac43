"""All that is checked of a folder of Bicep files without Azure, in one list of sentences."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from validate.bicep_models import differences, unknown
from validate.bicep_resources import ENVIRONMENTS, Resource, estate, sources
from validate.bicep_syntax import symbols


def problems(folder: Path, environments: Iterable[str] = ENVIRONMENTS) -> list[str]:
    """Tell what is wrong with the files of a folder.

    Syntax, names, modules and their params; then, for each environment, what the expressions are worth: every path into
    conf/environments, every function, every property of every resource against the models of the Azure SDK, and names
    that two resources have.
    """
    read = sources(folder)
    found = [said for source in read for said in symbols(source)]
    used = {one.target for source in read for one in source.declared.values() if one.kind == "module"}
    files = {source.path.name for source in read}
    found += [f"{name}: no file uses it" for name in sorted(files - used - {"main.bicep"})]
    if found:
        return found  # what follows would only repeat it
    for environment in environments:
        made = estate(folder, environment)
        said = [*made.problems, *unknown(made)]
        for one in (*made.resources, *made.existing):
            said += differences(one)
        names = Counter(_identity(one) for one in made.resources)
        said += [f"{kind} {name} is made {count} times" for (kind, name, _), count in names.items() if count > 1]
        found += [f"{environment}: {one}" for one in dict.fromkeys(said)]
    return found


def _identity(one: Resource) -> tuple[str, str, str]:
    """What no two resources share. The name of a grant is unique in the whole tenant, not only where it holds."""
    place = (
        ""
        if one.kind.startswith("Microsoft.Authorization/")
        else f"{one.properties.get('parent')} {one.properties.get('scope')}"
    )
    return one.kind, one.name, place
