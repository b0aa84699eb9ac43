"""dev, test and prod as `conf/environments/*.yaml` define them: names and sizes, typed and checked."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from ..errors import UsageError

NAMES = ("dev", "test", "prod")
# What Azure takes as a name or value: the pattern, and the same in words.
RULES = {
    "storage_account": (r"[a-z0-9]{3,24}", "3 to 24 small letters and digits"),
    "key_vault": (r"(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]", "3 to 24 letters, digits and single hyphens"),
    "container_registry": (r"[A-Za-z0-9]{5,50}", "5 to 50 letters and digits"),
    "endpoint": (r"[A-Za-z][A-Za-z0-9-]{1,24}[A-Za-z0-9]", "3 to 26 letters, digits and hyphens, a letter first"),
    "workspace": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}", "3 to 33 letters, digits, hyphens and underscores"),
    "registry": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}", "3 to 33 letters, digits, hyphens and underscores"),
    "resource_group": (r"[\w().-]{0,89}[\w()-]", "at most 90 letters, digits, hyphens and underscores"),
    "log_analytics": (r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]", "4 to 63 letters, digits and hyphens"),
    "application_insights": (r"[^%&\\?/]{1,259}[^%&\\?/. ]", "at most 260 characters, none of %&\\?/"),
    "function_app": (r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]", "2 to 60 letters, digits and hyphens"),
    "identities": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", "3 to 128 letters, digits, hyphens and underscores"),
    "compute": (r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]", "3 to 32 letters, digits and hyphens, a letter first"),
    "location": (r"[a-z0-9]+", "a region as az names it: small letters and digits, such as westeurope"),
    "notify": (r"[^@\s]+@[^@\s]+", "an e-mail address"),
    "health_url": (r"(https://\S+)?", "an address that begins with https://, or empty"),
    "compute.vm_size": (r"Standard_\w+", "a size of machine, such as Standard_D4as_v4"),
    "online.instance_type": (r"Standard_\w+", "a size of machine, such as Standard_DS3_v2"),
    "groups": (r"([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?", "an object id (a UUID), or empty"),
}
Count = Annotated[int, Meta(ge=0)]


class Identities(Struct, forbid_unknown_fields=True, frozen=True):
    """Names of the user-assigned identities, one for each who acts."""

    jobs: str
    endpoint: str
    pipeline: str
    events: str


class Compute(Struct, forbid_unknown_fields=True, frozen=True):
    """The cluster on which jobs run; without jobs it has no nodes."""

    name: str
    vm_size: str
    priority: Literal["Dedicated", "LowPriority"]
    max_nodes: Annotated[int, Meta(ge=1)]


class Online(Struct, forbid_unknown_fields=True, frozen=True):
    """What a deployment of the online endpoint begins with; later, autoscaling decides."""

    instance_type: str
    instances: Annotated[int, Meta(ge=1)]
    max_instances: Annotated[int, Meta(ge=1)]
    kubernetes: str = ""  # an attached cluster to use in place of managed instances


class Federated(Struct, forbid_unknown_fields=True, frozen=True):
    """Whom CI's identity trusts."""

    issuer: str
    subject: str = ""


class Groups(Struct, forbid_unknown_fields=True, frozen=True):
    """Object ids of the Entra groups that get our roles."""

    data_scientist: str = ""
    ml_engineer: str = ""
    model_validator: str = ""
    operator: str = ""


class Environment(Struct, forbid_unknown_fields=True, frozen=True):
    """One environment; every name in it is the whole name of the resource."""

    name: Literal["dev", "test", "prod"]
    location: str
    tags: dict[str, str]
    resource_group: str
    workspace: str
    log_analytics: str
    application_insights: str
    identities: Identities
    storage_account: str
    key_vault: str
    container_registry: str
    function_app: str
    endpoint: str
    registry: str
    compute: Compute
    isolation: Literal["Disabled", "AllowInternetOutbound", "AllowOnlyApprovedOutbound"]
    retention_days: Annotated[int, Meta(ge=7, le=730)]
    approvals: Count
    notify: str
    budget: Annotated[float, Meta(gt=0)]
    federated: Federated
    groups: Groups
    online: Online | None = None
    health_url: str = ""

    @property
    def scope(self) -> tuple[str, ...]:
        """The words by which `az ml` knows the workspace."""
        return ("--resource-group", self.resource_group, "--workspace-name", self.workspace)

    def sent(self, root: Path) -> Path:
        """Where copies of what was sent to Azure, or came from there, stay in a project."""
        return root / "data" / "azure" / self.name

    @property
    def batch_endpoint(self) -> str:
        """The endpoint that scores files."""
        return f"{self.endpoint}-batch"

    @property
    def training_endpoint(self) -> str:
        """The endpoint that holds the training pipeline: who calls it, retrains."""
        return f"{self.endpoint}-train"

    @property
    def state_group(self) -> str:
        """The resource group of Terraform's state, which outlives the environment."""
        return f"{self.resource_group}-state"

    @property
    def state_account(self) -> str:
        """The storage account of Terraform's state; a name has 24 characters at most."""
        return f"{self.storage_account[:22]}tf"

    @property
    def budget_name(self) -> str:
        """The budget, as the files of the infrastructure call it."""
        return f"budget-{self.workspace}"


def load(root: Path, name: str) -> Environment:
    """Read one environment.

    Raises:
        UsageError: there is none of that name, or its file cannot be meant like that; every wrong name is told.
    """
    path = root / "conf" / "environments" / f"{name}.yaml"
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
        found = msgspec.convert(given, Environment)
    except FileNotFoundError:
        raise UsageError(f"There is no environment {name}: {path} is missing; there are {', '.join(NAMES)}.") from None
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be used: {error}") from None
    if problems := misnamed(found):
        raise UsageError(f"{path} cannot be used: {' '.join(problems)}")
    if found.name != name:
        raise UsageError(f"{path} cannot be used: its name is {found.name}.")
    return found


def misnamed(environment: Environment) -> list[str]:
    """Return a sentence for each name or value that Azure would refuse."""
    given = msgspec.structs.asdict(environment)
    named = [(key, given[key]) for key in RULES if isinstance(given.get(key), str)]
    named += [("identities", name) for name in msgspec.structs.astuple(environment.identities)]
    named += [("groups", group) for group in msgspec.structs.astuple(environment.groups)]
    named += [("compute", environment.compute.name), ("compute.vm_size", environment.compute.vm_size)]
    if environment.online:
        named.append(("online.instance_type", environment.online.instance_type))
    wrong = [(key, name) for key, name in named if not re.fullmatch(RULES[key][0], name)]
    problems = [f"{key} is {name!r}, but must be {RULES[key][1]}." for key, name in wrong]
    if environment.online and environment.online.instances > environment.online.max_instances:
        problems.append("online.instances is more than online.max_instances.")
    for key, text in environment.tags.items():
        if len(key) > 512 or len(text) > 256 or re.search(r"[<>%&\\?/]", key):
            problems.append(f"The tag {key} is too long or has one of <>%&\\?/ in its name.")
    return problems


def load_all(root: Path) -> list[Environment]:
    """Read dev, test and prod.

    Raises:
        UsageError: as `load`, or two of them share what only one can have.
    """
    found = [load(root, name) for name in NAMES]
    for key in ("resource_group", "storage_account", "key_vault", "container_registry", "function_app", "endpoint"):
        if len({getattr(one, key) for one in found}) < len(found):
            raise UsageError(f"conf/environments: two environments have the same {key}; each needs its own.")
    if len({one.registry for one in found}) > 1:
        raise UsageError("conf/environments: `registry` must be the same for all: a version goes through it.")
    return found


def differences(environments: list[Environment]) -> list[tuple[str, ...]]:
    """Return the keys whose values differ, each with its values; that a name carries its environment is no difference."""
    flat = [_flat(msgspec.to_builtins(one)) for one in environments]
    rows = []
    for key in dict.fromkeys(key for values in flat for key in values):
        values = [str(one.get(key, "")) for one in flat]
        plain = {text.replace(one.name, "*") for text, one in zip(values, environments, strict=True)}
        if len(plain) > 1:
            rows.append((key, *values))
    return rows


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return found
