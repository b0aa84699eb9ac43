"""Who decides: `conf/people.yaml`, typed and checked; the owners of files and the approvals come from it."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta, Struct

from ..errors import UsageError

ROLES = {  # what each approves: environments of the pipelines
    "model_validator": ("models",),
    "ml_engineer": ("test", "prod"),
}
GITHUB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:/[\w.-]+)?")
HEAD = """\
# Who must approve a change of which files. `bootstrap` writes this from conf/people.yaml: change that file, run
# `bootstrap github`, and commit this one. The last line that fits a file decides. GitHub passes over owners who do not
# exist or may not write; `bootstrap github` names them.
"""


class Role(Struct, forbid_unknown_fields=True, frozen=True):
    """People who decide about something, as each service knows them, and the files they own."""

    paths: Annotated[list[Annotated[str, Meta(pattern=r"^/[^\s;]+$")]], Meta(min_length=1)]
    github: list[str] = []
    azure_devops: list[str] = []


class People(Struct, forbid_unknown_fields=True, frozen=True):
    """The roles; `self_approval`: whether somebody may approve what they began themselves."""

    model_validator: Role
    ml_engineer: Role
    self_approval: bool = False

    @property
    def roles(self) -> dict[str, Role]:
        """Role by name."""
        return {name: getattr(self, name) for name in ROLES}

    def approvers(self, environment: str, service: str) -> list[str]:
        """Who approves what goes into an environment, as `github` or `azure_devops` knows them."""
        return [
            one for name, role in self.roles.items() if environment in ROLES[name] for one in getattr(role, service)
        ]

    def nobody(self, service: str) -> list[str]:
        """Return the roles for which a service knows nobody."""
        return [name for name, role in self.roles.items() if not getattr(role, service)]


def load(root: Path) -> People:
    """Read conf/people.yaml.

    Raises:
        UsageError: it is missing, or cannot be meant like that.
    """
    path = root / "conf" / "people.yaml"
    try:
        found = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), People)
    except FileNotFoundError:
        raise UsageError(f"{path} is missing: it says who approves.") from None
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be used: {error}") from None
    for name, role in found.roles.items():
        for one in role.github:
            if not GITHUB.fullmatch(one):
                raise UsageError(
                    f"{path} cannot be used: {name}.github has {one!r}, but a user is `ada`, a team `acme/ml`."
                )
    return found


def require(people: People, service: str, waived: bool) -> None:
    """Refuse to make approvals that nobody could give.

    Raises:
        UsageError: a role is empty, and that was not asked for.
    """
    if (empty := people.nobody(service)) and not waived:
        raise UsageError(
            f"conf/people.yaml names nobody for {' and '.join(f'{name}.{service}' for name in empty)}: without them, "
            "anybody who may push can release. Fill them in; or, to begin without approvals: --without-reviewers"
        )


def codeowners(people: People) -> str:
    """Return the text of .github/CODEOWNERS."""
    lines = []
    for name, role in people.roles.items():
        owners = " ".join(f"@{one}" for one in role.github)
        lines.append(f"\n# {name}{'' if owners else ': nobody yet'}\n")
        lines += [f"{path} {owners}\n" if owners else f"# {path}\n" for path in role.paths]
    return HEAD + "".join(lines)
