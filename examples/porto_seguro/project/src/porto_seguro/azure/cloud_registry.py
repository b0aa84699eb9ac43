"""The model versions of an environment: `az ml model`, in the workspace and in the registry that all share."""

from typing import Any

from ..errors import Fault, UsageError
from ..registry import OURS, Version
from .az import Az, Conflict, Forbidden, NotFound
from .endpoint_tags import EndpointTags, unpack
from .environments import Environment

NEEDED = OURS - {"folder"}  # tags without which nobody knows what a version is


class CloudRegistry:
    """Versions by number: one number is one model everywhere, in each workspace and in the shared registry.

    The champion of an environment is what the deployment with the most traffic serves; until its release has ended, what
    is on its way is no champion. Who was champion before stands in the endpoint's tags.
    """

    def __init__(self, az: Az, environment: Environment, name: str) -> None:
        """Look after the versions of a model for an environment; tags are those of its endpoint."""
        self._az, self._environment, self._name = az, environment, name
        self._endpoint = EndpointTags(az, environment, "online" if environment.online else "batch")
        self._known: dict[int, tuple[Version, str]] | None = None

    def versions(self) -> list[Version]:
        """Return all versions that were registered by us, the workspace's and the shared ones, oldest first."""
        return [version for version, _ in self._all().values()]

    def get(self, version: int) -> Version:
        """Return one version.

        Raises:
            UsageError: there is no such version.
        """
        return self._one(version)[0]

    def reference(self, version: int) -> str:
        """Return how YAML names a version: in the workspace if it is there, else in the shared registry.

        Raises:
            UsageError: there is no such version.
        """
        return self._one(version)[1]

    def _one(self, version: int) -> tuple[Version, str]:
        found = self._all()
        if version not in found and self._az.dry:  # nothing was asked
            unknown = Version(version=version, run="JOB", line="LINE", digest="DIGEST", tags={})
            return unknown, f"azureml:{self._name}:{version}"
        if version not in found:
            known = ", ".join(map(str, found)) or "none yet"
            raise UsageError(f"There is no model version {version} in {self._environment.name}; known: {known}.")
        return found[version]

    def _all(self) -> dict[int, tuple[Version, str]]:
        """Versions and their references, by number; read once, for nobody else registers while a command runs."""
        if self._known is None:
            shared = self._environment.registry
            there = self._shared() or {}
            here = self._listed(*self._environment.scope)
            for number in there.keys() & here.keys():
                if there[number].digest != here[number].digest:
                    raise Fault(
                        f"Version {number} of {self._name} is one model in {self._environment.workspace} and another in "
                        f"{shared}. Archive the wrong one: az ml model archive"
                    )
            found = {
                n: (v, f"azureml://registries/{shared}/models/{self._name}/versions/{n}") for n, v in there.items()
            }
            found |= {n: (v, f"azureml:{self._name}:{n}") for n, v in here.items()}
            self._known = dict(sorted(found.items()))
        return self._known

    def _shared(self) -> dict[int, Version] | None:
        """What the shared registry has; None if there is none yet, for one environment alone needs none.

        Raises:
            UsageError: the registry lets nobody in who was not told to it.
        """
        try:
            return self._listed("--registry-name", self._environment.registry)
        except NotFound:
            return None
        except Forbidden:
            raise self._locked() from None

    def _locked(self) -> UsageError:
        return UsageError(
            f"You may not use the registry {self._environment.registry}. An Owner of it lets in the groups and identities "
            f"of {self._environment.name}: azure infra registry --env {self._environment.name}"
        )

    def _listed(self, *where: str) -> dict[int, Version]:
        told: list[dict[str, Any]] = self._az.read("ml", "model", "list", "--name", self._name, *where, assume=[]) or []
        found = {}
        for one in told:
            tags, number = one.get("tags") or {}, str(one.get("version"))
            if number.isdigit() and tags.keys() >= NEEDED:
                found[int(number)] = Version(
                    version=int(number), run=tags["run"], line=tags["line"], digest=tags["digest"], tags=tags
                )
        return found

    def register(self, run: str, path: str, tags: dict[str, str]) -> Version:
        """Make the model of a job a version; the same job twice gives the same version.

        Args:
            run: the job.
            path: where its model is, as `azureml://` address.
            tags: `line` and `digest`, and whatever else shall be known.
        """
        for _ in range(3):
            for version in self.versions():
                if version.run == run:
                    return version
            number = max(self._all(), default=0) + 1
            told = [f"{key}={_short(text)}" for key, text in (tags | {"run": run}).items()]
            about = ("--name", self._name, "--version", str(number), "--type", "custom_model", "--path", path)
            try:
                self._az.write("ml", "model", "create", *about, *self._environment.scope, "--tags", *told)
            except Conflict:  # somebody else took the number
                self._known = None
                continue
            self._known = None
            made = Version(version=number, run=run, line=tags["line"], digest=tags["digest"], tags=tags | {"run": run})
            return made if self._az.dry else self.get(number)
        raise Fault(f"The model of {run} could not be registered: others register at the same time. Try again.")

    def share(self, version: int) -> bool:
        """Copy a version of this workspace, and what the gate decided about it, into the shared registry.

        Returns:
            Whether it is new there.

        Raises:
            UsageError: this workspace has no such version, or not what the gate decided.
        """
        here = self._listed(*self._environment.scope)
        if version not in here and not self._az.dry:
            raise UsageError(
                f"{self._environment.workspace} has no version {version}; it has {sorted(here) or 'none'}."
            )
        self._known = None
        shared = self._environment.registry
        there = self._shared()
        if there is None:
            raise UsageError(f"There is no registry {shared} yet: azure infra registry --env prod")
        self._all()  # and if it is there, it is the same one
        try:
            self._copy("data", f"{self._name}-decision", version)  # first: a shared version has it
            if version not in there:
                self._copy("model", self._name, version)
        except Forbidden:
            raise self._locked() from None
        except NotFound as error:
            run = here[version].run if version in here else "JOB"
            raise UsageError(f"{error} First: azure register {run}; then again.") from None
        return version not in there

    def _copy(self, kind: str, name: str, version: int) -> None:
        shared, about = self._environment.registry, ("--name", name, "--version", str(version))
        if kind == "data" and self._az.find("ml", "data", "show", *about, "--registry-name", shared):
            return
        self._az.write(
            "ml", kind, "share", *about, "--registry-name", shared,
            "--share-with-name", name, "--share-with-version", str(version), *self._environment.scope,
        )  # fmt: skip

    @property
    def remembers(self) -> bool:
        """Whether there is an endpoint, whose tags know the champions (where commands are only shown: yes)."""
        return self._az.dry or self._endpoint.show() is not None

    def history(self) -> list[int]:
        """Return the champions so far, the present one last."""
        return self._endpoint.champions()

    def champion(self) -> Version | None:
        """Return the present champion."""
        told = self._endpoint.show()
        if told is None:
            return None
        history, kept = self._endpoint.champions(told), unpack(told.get("tags") or {})
        traffic = {name: share for name, share in (told.get("traffic") or {}).items() if share}
        if kept is None or not traffic:  # a batch endpoint has none
            return self.get(history[-1]) if history else None
        release = kept.release or {}
        name = max(traffic, key=lambda one: traffic[one])
        if release.get("status") in ("running", "promoting") and history[-1:] != [release["version"]]:
            name = release["base"]
        return self.get(kept.deployments[name]) if name in kept.deployments else None

    def promote(self, version: int) -> None:
        """Note a version as the champion; its predecessor is kept for `rollback`.

        Raises:
            UsageError: there is no such version, or no endpoint yet.
        """
        self.get(version)
        history = self.history()
        if history[-1:] == [version]:
            return
        try:
            self._endpoint.note_champions([*history, version])
        except NotFound:
            raise UsageError(
                f"There is no endpoint {self._endpoint.name} yet, which would remember that version {version} is champion. "
                f"First: azure {'deploy' if self._environment.online else 'publish'}; then: azure promote {version}"
            ) from None

    def previous(self) -> Version:
        """Return the champion before the present one.

        Raises:
            UsageError: there is none, or it answers another question.
        """
        history = self.history()
        if len(history) < 2:
            raise UsageError("There is no previous champion to go back to.")
        now, before = self.get(history[-1]), self.get(history[-2])
        if now.line != before.line:
            raise UsageError(
                f"The previous champion, version {before.version}, answers another question (other target, columns or "
                f"split) than version {now.version}."
            )
        return before

    def rollback(self) -> tuple[int, int]:
        """Note the previous champion as the champion; return (from, to).

        Raises:
            UsageError: as `previous`.
        """
        before, history = self.previous(), self.history()
        self._endpoint.note_champions(history[:-1])
        return history[-1], before.version


def _short(text: str) -> str:
    """A tag may have 256 characters."""
    return text if len(text) <= 256 else text[:253] + "..."
