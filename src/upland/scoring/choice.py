"""The level that a budget of alarms chooses, and what is said where none does."""

from upland.calibration.conformal import size_for
from upland.scoring.alarm_history import Alarms, By
from upland.scoring.alarms import HIGHEST, Level
from upland.scoring.budget import Budget


def chosen(found: Alarms, budget: Budget, by: By = "history") -> Level:
    """The level that keeps a budget.

    Args:
        found: of a history.
        budget: of alarms.
        by: what bounds them, as in `Alarms.within`.

    Raises:
        ValueError: no level that the calibration resolves keeps it, or all do; the message says which
            calibration a smaller one takes.
    """
    level, least = found.within(budget, by), found.at(found.fine[0])
    allowed, exposure = budget.on(found.rates), found.rates.exposure
    if level is None and by == "blocks" and (blocks := found.blocks) is not None:
        alpha = allowed * blocks.length / found.rows
        raise ValueError(
            f"the budget {budget.said!r} allows {alpha:.3g} false alarms per block of {blocks.length} steps, "
            f"and {blocks.count:,} calibration blocks resolve {blocks.smallest_p:.3g}: calibrate on at least "
            f"{size_for(min(alpha, 0.5)) * blocks.length:,} steps"
        )
    if level is None:
        raise ValueError(
            f"the budget {budget.said!r} allows {allowed:.3g} alarms on this history, and there are "
            f"{least.alarms:,} at the smallest level that {found.calibration:,} calibration {found.unit}s "
            f"can resolve, alpha = {least.alpha:.3g}: {_smaller(found, allowed)}"
        )
    if level.alpha >= found.fine[-1]:
        raise ValueError(
            f"the budget {budget.said!r} allows {allowed / exposure:,.4g} alarms per {found.per}, and no "
            f"level up to {HIGHEST:g} gives more, once alarms are merged: it does not bound alpha"
        )
    return level


def _smaller(found: Alarms, allowed: float) -> str:
    """What to do where the least level gives too many alarms."""
    alpha = allowed / found.rows
    if not 0 < alpha < found.smallest_p:
        return "the history holds anomalies, or the data have changed since the calibration"
    return (
        f"the guarantee keeps it from alpha = {alpha:.3g} on, which takes {size_for(alpha):,} calibration "
        f"{found.unit}s; or the history holds anomalies, or the data have changed since the calibration"
    )
