"""What a user may do with a new bundle, as commands to copy."""

__all__ = ["uses_of"]

from typing import TYPE_CHECKING

from eyewright.cli.terminal import shown_program

if TYPE_CHECKING:
    from eyewright.bundle.load import Bundle


def uses_of(made: "Bundle", task: str, bundle: str) -> list[str]:
    """Return the lines for a bundle of a task; `bundle` is its path as a user types it."""
    from eyewright.bundle.texts import has_texts
    from eyewright.core.drawing import NOISE
    from eyewright.core.inputs import MASK
    from eyewright.core.task import task_of
    from eyewright.lifecycle.following import gives_boxes

    program = shown_program("eyewright")
    if MASK in made.inputs:
        return [f"  {program} inpaint IMAGE --mask MASK --with {bundle} --out FILLED.png"]
    if NOISE in made.inputs:
        return [f"  {program} generate {bundle} -n 64 --grid --out DIR"]
    known = task_of(task)
    what = known.reads.upper()
    searched = [
        f"  {program} index FOLDER --model {bundle} --out images.index",
        f'  {program} search images.index "WORDS"',
    ]
    use = f"import eyewright as ew; print(ew.load_bundle('{bundle}').predict('{what}').{known.words.usage})"
    return [
        f"  {program} predict {bundle} --source {what}",
        *([f"  {program} track {bundle} --source VIDEO.mp4"] if gives_boxes(task) else ()),
        f"  {program} explain {bundle} {what} --out heatmaps",
        f"  {program} serve {bundle}",
        *(searched if has_texts(made.manifest.files) else ()),
        f'  {shown_program("python")} -c "{use}"',
    ]
