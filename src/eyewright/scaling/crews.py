"""Which engine does a job: worker processes of this machine, or the nodes of a Ray cluster."""

__all__ = ["open_crew"]

from eyewright.core.machine.limits import usable_cores
from eyewright.scaling.engine import Crew
from eyewright.scaling.engines import is_ray, ray_address
from eyewright.scaling.local import LocalCrew
from eyewright.scaling.plan import Plan
from eyewright.scaling.ray_crew import RayCrew
from eyewright.scaling.starting import Ahead


def open_crew(plan: Plan, on: str, *, workers: int | None, timeout_s: float, ahead: Ahead | None) -> Crew:
    """Return the workers of a job on an engine; what was started `ahead` for it is used.

    Raises:
        UsageError: there is no such engine.
    """
    if is_ray(on):
        broker = None if ahead is None else ahead.take_broker()
        return RayCrew(plan, address=ray_address(on), workers=workers, timeout_s=timeout_s, broker=broker)
    n = min(workers or usable_cores(), plan.n_shards)
    return LocalCrew(plan, workers=n, threads=max(1, usable_cores() // n), timeout_s=timeout_s, ahead=ahead)
