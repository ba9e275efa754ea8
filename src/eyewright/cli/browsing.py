"""The verb `browse`: a dataset on a local page."""

__all__ = ["add_browse", "browse"]

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from eyewright.cli.field import read_token
from eyewright.cli.numbers import Number
from eyewright.cli.terminal import Result, print_json, printable, shown_path, talk


def add_browse(
    verb: Callable[[str], argparse.ArgumentParser],
    add_target: Callable[[argparse.ArgumentParser], None],
    add_ignore: Callable[[argparse.ArgumentParser], None],
    task_help: str,
) -> None:
    """Add the options of browse."""
    p = verb("browse")
    p.add_argument("data", metavar="DATA", help="dataset: folder, .zip, .csv or idx files")
    p.add_argument(
        "--run", metavar="RUN|BUNDLE", help="predict every image with this model: filter by mistakes and scores"
    )
    p.add_argument(
        "--edits",
        metavar="FILE",
        help="file for the corrections; an existing file is continued (default NAME-edits.csv)",
    )
    p.add_argument(
        "--features",
        metavar="MODEL",
        help="features for the scatter plot: a bundle or hf:FOLDER (default: those of --run, else image statistics)",
    )
    p.add_argument("--no-check", action="store_true", help="only list the images, without findings and scatter plot")
    p.add_argument("--task", metavar="T", help=task_help)
    p.add_argument("--group-by", metavar="RULE", help="'folder', 'none', a pattern or a CSV of path,group")
    p.add_argument(
        "--label-depth", type=Number(1, 100), metavar="N", help="number of folder levels that form a class name"
    )
    add_target(p)
    add_ignore(p)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    p.add_argument(
        "--port", type=Number(0, 65_535), default=8010, metavar="N", help="port; 0 chooses a free one (default 8010)"
    )
    p.add_argument(
        "--token-file", metavar="FILE", help="file with a token that every request must send (or EYEWRIGHT_TOKEN)"
    )
    p.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="host name that clients may use (repeatable)"
    )


def browse(o: argparse.Namespace) -> Result:
    """Show a dataset until told to end."""
    from eyewright import lifecycle
    from eyewright.serving import Settings

    settings = Settings(
        host=o.host, port=o.port, token=read_token(o.token_file, "EYEWRIGHT_TOKEN"), hosts=tuple(o.allow_host)
    )
    logging.basicConfig(stream=sys.stderr, format="eyewright: %(message)s", level=logging.WARNING)
    told: dict[str, Any] = {}

    def ready(browser: Any) -> None:
        told.update(address=browser.address, edits=browser.editor.path)
        facts = {"address": browser.address, "images": len(browser.table), "edits": str(browser.editor.path.resolve())}
        if o.json:
            # One object when it answers; programs wait for this line.
            print_json({"verb": "browse", "ok": True, **facts})
        elif not o.quiet:
            print(printable(f"browse   {browser.address} (Ctrl+C ends it)"), flush=True)
            print(printable(f"edits    {shown_path(browser.editor.path)}"), flush=True)

    lifecycle.browse(
        o.data,
        model=o.run,
        features=o.features,
        edits=o.edits,
        group_by=o.group_by,
        label_depth=o.label_depth,
        task=o.task,
        ignore=tuple(o.ignore),
        target=o.target,
        settings=settings,
        check=not o.no_check,
        say=talk(o)["say"],
        ready=ready,
    )
    path = told.get("edits")
    saved = [] if path is None or not path.exists() else [f"saved    {shown_path(path)}; apply it with --edits"]
    return {"silent": True, "text": saved}
