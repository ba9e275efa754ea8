"""Process the images of a shard: apply steps and write each result below `images/` of the job."""

__all__ = ["open_process", "planned_target"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from eyewright.core.errors import EyewrightError
from eyewright.imaging.headers import Limits
from eyewright.imaging.steps import parse_steps
from eyewright.processing.batch import target_of
from eyewright.processing.jobs import processed_bytes
from eyewright.scaling.fetching import named_path
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.outputs import write_output
from eyewright.scaling.plan import OUTPUTS, Plan
from eyewright.scaling.rows import Row, changed_row, error_row


def open_process(plan: Plan, threads: int) -> "_Process":
    """Prepare the steps of a plan; each worker uses one thread, whatever `threads` is.

    Raises:
        UsageError: this version does not know the steps.
    """
    return _Process(plan)


def planned_target(plan: Plan, item: Item) -> tuple[Path, str]:
    """Return the name that an item's result has below `images/` of the job, and the name of its format."""
    to = plan.options["to"]
    return target_of(named_path(item, plan.root), None if to is None else str(to))


class _Process:
    def __init__(self, plan: Plan) -> None:
        self._plan, options = plan, plan.options
        self._request: Mapping[str, object] = {
            "steps": parse_steps(str(options["steps"])).to_json(),
            "quality": options["quality"],
            "seed": options["seed"],
            "draft": options["draft"],
            "limits": asdict(Limits()),
        }

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
        for number, item in enumerate(items, first):
            if has_changed(item):
                yield changed_row(number, item.path)
                continue
            target, format = planned_target(self._plan, item)
            output = Path(OUTPUTS) / target
            try:
                done, data = processed_bytes({**self._request, "path": item.path, "format": format})
            except EyewrightError as error:
                yield error_row(number, item.path, error.code, error.message)
                continue
            # The same bytes whoever writes them and however often: a shard that is done twice changes nothing.
            write_output(self._plan, shard, output, data)
            about = {"ok": True, "error": None, "message": None, "label": None, "score": None}
            result = {"output": str(output), "format": format, **done}
            yield {"id": number, "source": item.path, **about, "result": result}
