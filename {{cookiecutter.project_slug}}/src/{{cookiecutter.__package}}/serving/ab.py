"""Two deployments on live traffic: which one is better, told so that looking again and again does no harm.

A usual 95 % interval holds for one look; whoever stops at the first good news is wrong far more often. This one holds
at all looks: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences" (2021, arXiv:2103.06476), with the normal mixture of Robbins
(1970): the mean of n independent terms of standard deviation s is, at all n at once with probability 1 - alpha, less
than `s * sqrt(2 * (n * r**2 + 1) / (n * r)**2 * log(sqrt(n * r**2 + 1) / alpha))` away from the true one.

Both deployments make one sequence. Where a request goes to b with some share p, the difference of the means is the mean
over all n requests of the terms (loss - mean b) / p for b and -(loss - mean a) / (1 - p) for a, but for a remainder of
order log(log(n)) / n that does not count. Their variance is n times the sum of both squared standard errors: p need not
be known, and sqrt(x**2 + y**2) < x + y: narrower than two intervals joined. But p must not change; `since` leaves out
what came before. The terms are requests, not rows: those are sent here or there by lot.
"""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct, structs

from .. import show
from ..errors import DataError, UsageError
from ..show import AsJson, project

if TYPE_CHECKING:  # imported only when a command needs them, as numpy and polars are
    from ..contract import Contract

LOSSES = {  # by task, and what `metrics` calls them; the first one is the default
    "binary": {"log_loss": "log_loss", "brier": "brier", "outcome": ""},
    "multiclass": {"log_loss": "log_loss", "brier": "brier"},
    "regression": {"squared_error": "rmse", "absolute_error": "mae", "outcome": ""},
}
LEAST, PRIOR = 100, 100  # requests: of each deployment, for large numbers to rule; that weigh as much as a set share


class Plan(Struct):
    """What is compared and how, as the options of `ab report` say."""

    a: str = "blue"
    b: str = "green"
    loss: str = ""
    higher: bool = False
    alpha: float = 0.05
    smallest: float | None = None
    planned: int = 10_000
    share_b: float | None = None
    since: datetime | None = None


class Arm(Struct):
    """A deployment: mean loss of a row, and the variance of a request's term."""

    deployment: str
    model_version: str
    requests: int
    rows: int
    mean: float
    variance: float


class Report(Struct):
    """Mean loss of b minus that of a, where it lies at all looks, and what follows; `left_out` counts rows.
    `power` is the chance that a difference of `smallest` shows at this look; that it showed at some look is likelier.
    """

    plan: Plan
    arms: tuple[Arm, Arm]
    effect: float
    low: float
    high: float
    power: float | None = None
    stop: bool = True
    better: str | None = None
    verdict: str = "no relevant difference"
    more_rows: int = 0
    left_out: dict[str, int] = {}
    warnings: list[str] = []


def half_width(n: Any, variance: Any, alpha: float, planned: int) -> Any:
    """Return the half width of the interval after n terms, narrowest at `planned`; numbers, or arrays of one shape."""
    import numpy as np

    best = 1.0
    for _ in range(50):  # a contraction, to where the width's derivative by n * rate is zero
        best = math.log1p(best) - 2 * math.log(alpha)
    rate = best / planned
    grown = n * rate + 1
    return np.sqrt(variance * 2 * grown / (n * n * rate) * np.log(np.sqrt(grown) / alpha))


def arm(name: str, version: str, loss: Any, request: Any) -> Arm:
    """Sum up a deployment from the loss of each row and the number of its request, both of shape (n,).
    Raises DataError while nothing can be estimated: fewer than `LEAST` requests, or all losses are alike.
    """
    import numpy as np

    group = np.unique(request, return_inverse=True)[1]
    mean = float(loss.mean()) if len(loss) else 0.0
    away = np.bincount(group, weights=loss - mean)
    if (n := len(away)) < LEAST:
        raise DataError(f"Of {name}, {n} live requests have a known outcome; at least {LEAST} are needed.")
    variance = float(away @ away) / (n - 1) * (n / len(loss)) ** 2
    if not variance > 1e-20 * mean**2:
        raise DataError(f"All rows of {name} whose outcome is known have the same loss; nothing can be told from it.")
    return Arm(name, version, n, len(loss), mean, variance)


def judge(a: Arm, b: Arm, plan: Plan) -> Report:
    """Compare two deployments."""
    import numpy as np

    n, effect, smallest = a.requests + b.requests, b.mean - a.mean, plan.smallest
    # A small arm in luck has seen none of the rare, costly rows, and looks both better and sure of it: no arm is taken
    # to vary less than both together do. Without this, rare events and a small share give errors far above alpha.
    both = ((a.requests - 1) * a.variance + (b.requests - 1) * b.variance) / (n - 2)
    square = max(a.variance, both) / a.requests + max(b.variance, both) / b.requests
    width = float(half_width(float(n), n * square, plan.alpha, plan.planned))
    found, near = Report(plan, (a, b), effect, effect - width, effect + width), abs(effect)
    if smallest is not None:
        found.power = sum((1 + math.erf((x - width) / math.sqrt(2 * square))) / 2 for x in (smallest, -smallest))
        near = max(near, smallest - near)  # narrower than this, the interval leaves out 0 or stays within +-smallest
        if -smallest < found.low and found.high < smallest:
            return found
    if found.low > 0 or found.high < 0:
        better = plan.b if (found.low > 0) == plan.higher else plan.a
        return structs.replace(found, better=better, verdict=f"{better} is better")
    # How many times as many it takes if the effect stays where it is; more than a million times is no answer.
    wide = int((half_width(n * 1.03 ** np.arange(468), n * square, plan.alpha, plan.planned) > near).sum())
    rows = max(1.0, (1.03**wide - 1) * (a.rows + b.rows))
    more = int(float(f"{rows:.2g}"))
    return structs.replace(found, stop=False, more_rows=more, verdict=f"go on, about {more:,} more rows are needed")


def split_p(a: int, b: int, share_b: float) -> float:
    """Return how well requests to a and b agree with the share of b: a p-value that holds at all looks at once.
    Exact, by Ville's inequality: the likelihood of a beta mixture around the share, over that of the share itself
    (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022).
    """
    evidence = math.lgamma(PRIOR) - math.lgamma(PRIOR + a + b)
    for share, sent in ((1 - share_b, a), (share_b, b)):
        evidence += math.lgamma(PRIOR * share + sent) - math.lgamma(PRIOR * share) - sent * math.log(share)
    return math.exp(-max(evidence, 0.0))


def compare(contract: "Contract", folder: Path, log: Path, plan: Plan) -> Report:
    """Compare two deployments on the live rows whose outcome is known; arguments as `outcomes.performance` has them.
    Raises UsageError if the plan does not go with the task or there are no outcomes, DataError if they do not suffice.
    """
    import numpy as np

    from ..metrics import row_losses
    from .outcomes import known_outcomes

    possible = LOSSES[contract.task]
    plan.loss = loss = plan.loss or next(iter(possible))
    if plan.a == plan.b or loss not in possible or (plan.higher and loss != "outcome"):
        raise UsageError(f"Name two deployments and one of {', '.join(possible)}; more can be better of outcome only.")
    if (known := known_outcomes(contract, folder)) is None:
        raise UsageError("No outcome is known yet; take some in first: outcomes FILE")
    live, left_out = _live(log, plan, contract.task == "multiclass")
    # Of a row that came again, the first time counts: whether it comes again may depend on the answer.
    first = live.unique("id", keep="first", maintain_order=True)
    rows = first.join(known.drop_nans(), on="id")
    arms, sent = [], []
    for name in (plan.a, plan.b):
        of, mine = rows.filter(arm=name), live.filter(arm=name)
        y, score = of["truth"].to_numpy(), np.array(of["score"].to_list())
        found = y if loss == "outcome" or not len(y) else row_losses(possible[loss], y, score)
        arms.append(arm(name, mine["version"][0], found, of["request"].to_numpy()))
        sent.append(mine["request"].n_unique())
    told = judge(arms[0], arms[1], plan)
    told.left_out = left_out | {"again": live.height - first.height, "without outcome": first.height - rows.height}
    for what, (a, b) in {"": sent, " with outcome": [x.requests for x in arms]}.items():
        if plan.share_b and split_p(a, b, plan.share_b) < 0.01:
            told.warnings.append(
                f"The split is broken: {b / (a + b):.1%} of {a + b:,} live requests{what} are {plan.b}'s."
            )
    return told


def _live(log: Path, plan: Plan, many: bool) -> tuple[Any, dict[str, int]]:
    """The rows that a lot sent here or there, in order of time, and how many do not count."""
    import polars as pl

    from .predictions import read_log

    lines, seen = list[tuple[Any, ...]](), set()
    for who, line in read_log(log, plan.since):
        seen.add(who.deployment)
        if who.deployment in (plan.a, plan.b) and line.ids:  # a request that was refused has no rows
            lines.append(
                (len(lines), who.deployment, who.model_version, line.time, line.request_id, line.ids, line.result)
            )
    schema: dict[str, Any] = {
        "request": pl.Int64, "arm": pl.String, "version": pl.String, "time": pl.Datetime("us", "UTC"), "name": pl.String,
        "id": pl.List(pl.String), "score": pl.List(pl.List(pl.Float64) if many else pl.Float64),
    }  # fmt: skip
    rows = pl.DataFrame(lines, schema, orient="row").explode("id", "score").sort("time", "request")
    time = pl.col("time")
    new = rows.filter(pl.col("version") == pl.col("version").last().over("arm"))
    # A mirror's copies were not sent by lot, and their outcome followed on one deployment's answer only.
    lots = new.filter(pl.col("arm").n_unique().over("name", "id") == 1)
    # Nor was there a lot before the later one came, and after the earlier one went.
    live = lots.filter(time.is_between(time.min().over("arm").max(), time.max().over("arm").min()))
    if live["arm"].n_unique() < 2:
        raise DataError(
            f"{plan.a} and {plan.b} share no live traffic; {log} knows {', '.join(sorted(seen)) or 'none'}."
        )
    left_out = {"older version": rows.height - new.height, "mirrored": new.height - lots.height}
    return live, left_out | {"only one live": lots.height - live.height}


def report(
    a: Annotated[str, typer.Option(help="A deployment.")] = "blue",
    b: Annotated[str, typer.Option(help="The other one.")] = "green",
    loss: Annotated[str, typer.Option(help="log_loss, brier, squared_error, absolute_error, or outcome.")] = "",
    higher: Annotated[bool, typer.Option("--higher-is-better", help="More of the outcome is better.")] = False,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Chance to be wrong at any look.")] = 0.05,
    smallest: Annotated[float | None, typer.Option(min=1e-12, help="The smallest difference that matters.")] = None,
    planned: Annotated[int, typer.Option(min=100, help="Requests after which the interval is narrowest.")] = 10_000,
    share_b: Annotated[float | None, typer.Option(min=0.001, max=0.999, help="Share configured for B.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Leave out what is older; UTC.")] = None,
    json: AsJson = False,
) -> None:
    """Say which deployment is better, or how many more rows it takes. Settle the options first; then look at any time."""
    here, start = project(), since.replace(tzinfo=UTC) if since else None
    plan, data = Plan(a, b, loss, higher, alpha, smallest, planned, share_b, start), here.root / "data"
    told = compare(here.contract, data / "outcomes", data / "predictions", plan)
    if json:
        return show.as_json(told)
    rows = [(x.deployment, x.model_version, f"{x.requests:,}", f"{x.rows:,}", x.mean) for x in told.arms]
    show.table("Live traffic", ("deployment", "version", "requests", "rows", f"mean {plan.loss}"), rows)
    show.line(f"Rows left out: {', '.join(f'{n:,} ({why})' for why, n in told.left_out.items() if n) or 'none'}")
    show.line(f"{b} minus {a}: {told.effect:+.4g}; at all looks between {told.low:+.4g} and {told.high:+.4g}")
    if smallest:
        show.line(f"A difference of {smallest:g} would show at this look with probability {told.power:.2f}.")
    for text in told.warnings:
        show.line(f"{text} Do not trust the comparison before you know why.", "red")
    show.line(f"Verdict: {told.verdict}", "green" if told.stop and not told.warnings else "yellow")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    ab_app = typer.Typer(no_args_is_help=True, callback=lambda: None, help="Compare two deployments on live traffic.")
    ab_app.command()(report)
    app.add_typer(ab_app, name="ab")
