"""What each `azure` command is told besides: which environment, and whether commands are only shown."""

import functools
import inspect
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import show

if TYPE_CHECKING:
    from ..pipeline import Project
    from .az import Az
    from .cloud_registry import CloudRegistry
    from .environments import Environment
    from .jobs import Jobs

Env = Annotated[
    Literal["dev", "test", "prod"], typer.Option("--env", envvar="TARGET_ENVIRONMENT", help="The environment.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the commands for Azure, and run none.")]
_told: tuple[str, bool] = ("dev", False)


class Here:
    """The project and the environment that a command works on; each part is opened when it is needed."""

    @cached_property
    def project(self) -> "Project":
        """The project."""
        return show.project()

    @cached_property
    def environment(self) -> "Environment":
        """The environment."""
        from .environments import load

        return load(show.root(), _told[0])

    @cached_property
    def az(self) -> "Az":
        """The command line of Azure."""
        from .az import Az

        return Az(dry=_told[1])

    @cached_property
    def registry(self) -> "CloudRegistry":
        """The environment's model versions."""
        from .cloud_registry import CloudRegistry

        return CloudRegistry(self.az, self.environment, self.project.settings.name)

    @cached_property
    def jobs(self) -> "Jobs":
        """The environment's jobs."""
        from .jobs import Jobs

        return Jobs(self.az, self.environment, self.project)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `--env` and `--dry-run`, which `Here` then knows.

    What a command says it did is not printed where it did nothing.
    """

    @functools.wraps(function)
    def run(*args: Any, env: str, dry_run: bool, **options: Any) -> Any:
        from .az import Dry

        global _told
        _told = env, dry_run
        if not dry_run:
            return function(*args, **options)
        said, more = io.StringIO(), ""
        try:
            with redirect_stdout(said), show.handing_nothing_on():
                function(*args, **options)
        except Dry:
            more = "What comes next depends on that answer. "
        except BaseException:
            print(said.getvalue(), end="")  # it says why
            raise
        show.as_json({"dry_run": True}, outputs=False) if options.get("json") else show.line(f"{more}Nothing was run.")
        return None

    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, default, kind in (("env", "dev", Env), ("dry_run", False, DryRun))
    ]
    signature = inspect.signature(function)
    run.__annotations__ = function.__annotations__ | {"env": Env, "dry_run": DryRun}
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    return run
