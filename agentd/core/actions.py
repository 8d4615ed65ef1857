"""What the plan may ask for; each action carries its reason."""

from dataclasses import dataclass

from agentd.core.runs import MAIN, Run, run_id
from store.model.policies import Limits
from store.model.spec import AllocSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to everything of a run. `why` as with `Stop`."""

    run: str
    reason: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop signal to a run. `why` is kept with the run: the task's own fault, or its time was up."""

    run: str
    signal: str
    reason: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Other limits for a living run."""

    run: Run
    limits: Limits
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """A new run of a task, or of a hook around one."""

    alloc: AllocSpec
    task: TaskSpec
    attempt: int
    reason: str
    role: str = MAIN
    deadline: float | None = None
    """When it is to be stopped unless that is put off, in seconds since boot; None: never."""

    @property
    def run(self) -> str:
        """The id of the run."""
        return run_id(self.alloc.id, self.task.name, self.alloc.generation, self.attempt, self.role)


@dataclass(frozen=True, slots=True)
class Forget:
    """Runs that matter no more."""

    runs: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A run that is never to be: its keeper writes down why, so that no later brain tries it again."""

    start: Start
    reason: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """The files of a task are needed now. No step: it holds as long as plans say so."""

    alloc: AllocSpec
    task: TaskSpec
    reason: str


Action = Kill | Stop | Limit | Refuse | Start | Forget
ORDER = {Kill: 0, Stop: 1, Limit: 2, Refuse: 3, Start: 3, Forget: 4}
"""What makes room goes first."""
