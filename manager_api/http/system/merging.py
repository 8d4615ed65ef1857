"""An export taken into a living system: what people said comes along, what the other system did stays there.

Groups are found again by name, devices by id, templates by what they say, deployments by id. What is here
already and the same is passed over; what is here and different is a conflict, whose end the caller chooses.
What groups would stop of what runs here needs to be meant, as where they are changed one by one.
"""

from dataclasses import dataclass

from manager_api.http.frame.errors import ApiError
from manager_api.http.inventory import regrouping
from manager_api.http.services import Services
from manager_api.http.system.merge_inventory import Inventory
from manager_api.http.system.merge_part import Choice
from manager_api.http.system.merge_report import MOST_TOLD, Report
from manager_api.http.system.merge_work import Work
from store.faults import fault
from store.kv.store import Store
from store.kv.swap import Swap

CONFLICTS = "The import conflicts"
MOST_SAID = 5


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge of what a swap has staged."""

    services: Services
    store: Store
    staged: Swap
    choice: Choice

    def plan(self) -> Report:
        """What it would do, and what that would stop much of; nothing is written.

        Raises:
            ApiError: 503 where groups decide about what runs, and nobody leads.
        """
        report = self._pass(dry_run=True)
        for group, said in regrouping.stopped(self.services, report.regrouped):
            told = [f"group {group}: {each}" for each in said]
            report.stops += told[: MOST_TOLD - len(report.stops)]
            self.staged.renew()
        return report

    def run(self, *, confirmed: bool) -> Report:
        """First dry: what is in its way is found before anything is written.

        Raises:
            ApiError: 409 for conflicts, and for what it would stop if that is not `confirmed`; 503 as `plan`.
        """
        planned = self._pass(dry_run=True) if confirmed else self.plan()
        if found := planned.total("conflicts"):
            raise ApiError(
                409, CONFLICTS, f"{found} records are here and say something else: choose conflict=skip or "
                "conflict=replace. Nothing was changed", conflicts=planned.conflicts,
            )  # fmt: skip
        if planned.stops:
            said = "; ".join(planned.stops[:MOST_SAID]) + ("; …" if len(planned.stops) > MOST_SAID else "")
            why = f"{said}. Nothing was changed; confirm=true if that is meant"
            raise ApiError(409, regrouping.NEEDED, why, confirm=True, stops=planned.stops)
        fault("import.merge.before")
        done = self._pass(dry_run=False)
        fault("import.merge.after")
        return done

    def _pass(self, *, dry_run: bool) -> Report:
        report = Report(dry_run)
        for part in (Inventory, Work):
            part(self.store, self.staged, self.choice, report).run()
        return report
