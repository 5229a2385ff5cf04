"""Run a campaign: what is known is taken from the database, the rest is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from quacc.bench.pair import Computer
from quacc.campaigns.check import Checked, refers_to
from quacc.campaigns.leaderboard import compared
from quacc.campaigns.references import references
from quacc.campaigns.scope import Item, Scope, SkippedError
from quacc.campaigns.steps import Campaign, Step
from quacc.errors import InputError, JobsFailedError, QuaccError, text_of
from quacc.local import Here
from quacc.recipes import report
from quacc.store import Store


class Tell(Protocol):
    """Told how many items have ended well, failed or been skipped, of how many."""

    def __call__(self, done: int, failed: int, total: int) -> object: ...


def run(
    checked: Checked,
    *,
    cores: int | None = None,
    tell: Tell = lambda done, failed, total: None,
) -> Outcome:
    """Run a campaign on this machine's cores.

    No item that fails stops the others; what needs it is skipped. Steps that do not need one
    another run at the same time.

    Parameters
    ----------
    checked
        See :func:`quacc.campaigns.check.load`.
    cores
        Jobs at the same time; None: as many as this process has cores.
    tell
        Called when an item has ended.
    """
    started = datetime.now(UTC)
    with Here(cores) as here:
        outcome = compute(checked, here, tell)
    outcome.note_known(started)
    if here.problem:
        outcome.problem = here.problem
    return outcome


def compute(checked: Checked, computer: Computer, tell: Tell) -> Outcome:
    """Run the steps with whatever runs their workflows; see :func:`run`."""
    running = Outcome(checked, tell)
    for level in checked.campaign.levels():
        todo: list[tuple[Step, Item]] = []
        for step in level:
            todo += [(step, item) for item in running.begin(step)]
        single = [(step, item) for step, item in todo if not step.is_leaderboard]
        calls = [partial(running.call, computer, step, item) for step, item in single]
        for number, value, error in computer.each(calls):
            running.end(*single[number], value, error)
        for step, item in todo:  # they begin many calculations of their own
            if step.is_leaderboard:
                try:
                    records = compared(computer, running.scope.arguments(step, item))
                except (QuaccError, SkippedError) as error:
                    running.end(step, item, None, error)
                else:
                    running.end_leaderboard(item, records)
    return running


class Outcome:
    """The items of all steps, and what became of them."""

    def __init__(self, checked: Checked, tell: Tell) -> None:
        self.campaign: Campaign = checked.campaign
        self.scope = Scope(checked.campaign)
        self.problem: str | None = None
        """What could not be stored."""
        self._counts = dict(checked.counts)
        self._tell = tell
        self._kept = {
            step.name for step in self.campaign.steps if refers_to(self.campaign, step.name)
        }

    def items(self, step: Step) -> list[Item]:
        """Return the items of a step; none if it has not begun."""
        return self.scope.items.get(step.name) or []

    @property
    def failed(self) -> bool:
        """Whether any item did not end well."""
        return any(one.state != "done" for step in self.campaign.steps for one in self.items(step))

    def begin(self, step: Step) -> list[Item]:
        """Return the items that a step has to run."""
        try:
            items = self.scope.add(step) or []
        except (InputError, SkippedError) as error:
            state = "skipped" if isinstance(error, SkippedError) else "failed"
            items = [Item("", state=state, reason=str(error))]
            self.scope.items[step.name] = items
        for name in step.needs:
            bad = [one for one in self.items(self.campaign.step(name)) if one.state != "done"]
            if bad and name not in self._referred(step):
                for item in items:
                    item.state, item.reason = "skipped", f"{len(bad)} of {name} did not end well"
        self._counts[step.name] = len(items)
        return [one for one in items if one.state == "waiting"]

    def call(self, computer: Computer, step: Step, item: Item) -> Any:
        """Run a step's workflow on an item."""
        return computer.run(step.function, **self.scope.arguments(step, item))

    def end(self, step: Step, item: Item, value: Any, error: Exception | None) -> None:
        """Take what a workflow has returned, or raised."""
        if error is None:
            item.state, item.key = "done", value["key"]
            item.summary = _summary(value)
            if step.name in self._kept:
                item.value = value
        else:
            item.state = "skipped" if isinstance(error, SkippedError) else "failed"
            item.reason = _why(error)
        self._announce()

    def end_leaderboard(self, item: Item, records: Sequence[Any]) -> None:
        """Take the records of a leaderboard."""
        bad = [one for one in records if one["state"] not in ("complete", "skipped")]
        item.records = item.value = [*records]
        item.state = "failed" if bad else "done"
        item.summary = f"{len(records)} pairs"
        item.reason = "; ".join(
            f"{one['task']['name']} with {one['model']['name']}: {one['reason'] or one['state']}"
            for one in bad
        )
        self._announce()

    def note_known(self, since: datetime) -> None:
        """Note which results were there before a moment."""
        new = {row.key for row in Store().select(since=since)}
        for step in self.campaign.steps:
            for item in self.items(step):
                item.known = item.key is not None and item.key not in new
                times = [one["context"]["started"] for one in item.records if one["cases"]]
                if times and item.state == "done":
                    item.known = datetime.fromisoformat(max(times)) < since

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a step."""
        found = []
        for step in self.campaign.steps:
            items = self.items(step)
            states = Counter(one.state for one in items)
            found.append(
                {
                    "step": step.name,
                    "run": step.run,
                    "calculator": step.calculator,
                    "items": len(items),
                    "done": states["done"],
                    "known before": sum(one.known for one in items),
                    "failed": states["failed"],
                    "skipped": states["skipped"],
                }
            )
        return found

    def _referred(self, step: Step) -> set[str]:
        return {one.name for _, one in references([step.parameters, step.foreach])}

    def _announce(self) -> None:
        states = Counter(one.state for step in self.campaign.steps for one in self.items(step))
        total = sum(one or 0 for one in self._counts.values())
        self._tell(states["done"], states["failed"] + states["skipped"], total)


def _summary(result: Any) -> str:
    try:
        return report.summary(result)
    except InputError:  # of a job, such as a relaxation
        energy = result["results"].get("energy")
        text = "" if energy is None else f": {energy:.4f} eV"
        undone = ", not converged" if result.get("converged") is False else ""
        return f"{result['formula']}{text}{undone}"


def _why(error: Exception) -> str:
    return error.message if isinstance(error, JobsFailedError) else text_of(error, 2000)
