"""Files of `azureml/` with their values for one environment: written where a person can read what Azure was told."""

from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..table import replacing


def filled(template: Path, target: Path, values: dict[str, Any]) -> Path:
    """Write a YAML file with other values, and return its path.

    Args:
        template: the file.
        target: where to write.
        values: by path within the file: `environment_variables.MODEL_VERSION`. A value of None takes the key out.

    Raises:
        UsageError: the template cannot be read.
    """
    try:
        found = yaml.safe_load(template.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{template} cannot be read: {error}") from None
    for path, value in values.items():
        *parents, key = path.split(".")
        place = found
        for name in parents:
            place = place.setdefault(name, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    with replacing(target) as part:
        part.write_text(yaml.safe_dump(found, sort_keys=False, allow_unicode=True), "utf-8", newline="\n")
    return target
