"""A project of Azure DevOps, as `az devops`, `az repos` and `az pipelines` are told about it."""

from typing import Any

from ..errors import UsageError
from .tool import Missing, Tool

PREVIEW = "7.1-preview"  # `az devops invoke` cannot read a version with a further number
WHOLE = ("IMS", "Security")  # areas of the whole organization


class Place:
    """Where a repository is, and the ids behind the names."""

    def __init__(self, az: Tool, organization: str, project: str, repository: str) -> None:
        """Give the organization's address, and the names of project and repository."""
        self.az, self.organization, self.project, self.repository = az, organization, project, repository
        self.where = ("--organization", organization, "--project", project)
        self._organization = ("--organization", organization)
        self.project_id = self.team = self.repository_id = ""
        self._people: dict[str, str] = {}

    def open(self) -> None:
        """Ask for the ids.

        Raises:
            UsageError: there is no such project or repository, or nothing was pushed to main.
        """
        assumed: dict[str, Any] = {"id": "PROJECT_ID", "defaultTeam": {"name": f"{self.project} Team"}}
        found = self.az.read("devops", "project", "show", *self.where, assume=assumed)
        self.project_id, self.team = found["id"], found["defaultTeam"]["name"]
        assumed = {"id": "REPOSITORY_ID", "defaultBranch": "refs/heads/main"}
        found = self.az.read("repos", "show", "--repository", self.repository, *self.where, assume=assumed)
        if found.get("defaultBranch") != "refs/heads/main":
            raise UsageError(
                f"The default branch of {self.repository} is {found.get('defaultBranch') or 'none yet'}, but the pipelines run "
                "on main: git push origin main, then: az repos update --default-branch main --repository "
                + self.repository
            )
        self.repository_id = found["id"]

    def invoke(
        self, area: str, resource: str, *route: str, method: str = "GET", query: tuple[str, ...] = (), body: Any = None
    ) -> Any:
        """Call the REST interface where `az` has no command of its own; `route` and `query` are NAME=VALUE.

        Raises:
            UsageError, Fault: as `Tool.write`.
        """
        words = ["devops", "invoke", "--area", area, "--resource", resource, "--http-method", method]
        words += ["--api-version", PREVIEW, *self._organization]
        if area not in WHOLE:
            route = (f"project={self.project}", *route)
        words += ["--route-parameters", *route] if route else []
        words += ["--query-parameters", *query] if query else []
        if method == "GET":
            return self.az.read(*words)
        return self.az.write(*words, body=body, option="--in-file")

    def listed(self, area: str, resource: str, *route: str, query: tuple[str, ...] = ()) -> list[Any]:
        """Return what a list holds; where nothing is run, nothing."""
        found: list[Any] = (self.invoke(area, resource, *route, query=query) or {}).get("value", [])
        return found

    def person(self, name: str) -> str:
        """Return the id of a user (an e-mail address) or of a group of the project (its name).

        Raises:
            UsageError: there is none.
        """
        if name not in self._people:
            self._people[name] = self._asked(name)
        return self._people[name]

    def _asked(self, name: str) -> str:
        assumed = {"id": f"ID_OF_{name}", "graphGroups": [{"displayName": name, "originId": f"ID_OF_{name}"}]}
        try:
            if "@" in name:
                found = self.az.read("devops", "user", "show", "--user", name, *self._organization, assume=assumed)
                return str(found["id"])
            told = self.az.read("devops", "security", "group", "list", *self.where, assume=assumed)["graphGroups"]
            return next(str(one["originId"]) for one in told if name in (one["displayName"], one.get("principalName")))
        except (Missing, StopIteration):
            raise UsageError(
                f"conf/people.yaml names {name}, but the project {self.project} knows no such "
                f"{'user' if '@' in name else 'group'}."
            ) from None
