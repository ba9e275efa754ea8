"""The command line where output cannot be printed, numbers are out of range and paths are odd."""

import argparse
import os
import subprocess
import sys

import pytest

from eyewright.cli import main
from eyewright.cli.clips import _NumberOrEngine
from eyewright.cli.numbers import Checked, Number, Numbers
from eyewright.cli.parser import build_parser
from eyewright.cli.places import check_texts
from eyewright.core.errors import UsageError

COMMAND = (sys.executable, "-c", "import sys; from eyewright.cli import main; sys.exit(main())")
# Numbers in words of their own, which the functions that take them check.
SPELT_OUT = {"--mean", "--std", "--background", "--max-drop", "--set", "--box", "--points", "--markers", "--policy"}


def options_of(parser: argparse.ArgumentParser, name: str = ""):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield from options_of(below, f"{name} {verb}".strip())
        else:
            yield name, action


NUMERIC = [(verb, a) for verb, a in options_of(build_parser()) if isinstance(a.type, Number | Numbers)]


def test_no_option_reads_a_number_without_bounds() -> None:
    kinds = {(verb, a.dest): a.type for verb, a in options_of(build_parser()) if a.type is not None}
    texts = {"target"}
    assert all(
        isinstance(k, Number | Numbers | Checked | _NumberOrEngine) or name in texts for (_, name), k in kinds.items()
    ), kinds
    assert len(NUMERIC) > 100
    numeric_names = {"N", "K", "Q", "P", "R", "X", "MS", "N,N"}
    for verb, action in options_of(build_parser()):
        if action.metavar in numeric_names and not SPELT_OUT.intersection(action.option_strings):
            assert action.type is not None, f"{verb} {action.option_strings}"


@pytest.mark.parametrize(("verb", "action"), NUMERIC, ids=[f"{v}{a.option_strings[0]}" for v, a in NUMERIC])
def test_every_number_out_of_range_is_one_line_and_exit_2(verb, action, capsys) -> None:
    kind = action.type.each if isinstance(action.type, Numbers) else action.type
    hostile = ["99999999999999999999", "nan", "inf", "-inf", "1e400", "", " ", "x", "²", "1_0", "9" * 5000, "0x1"]
    hostile += ["-1"] if kind.low > -1 else []
    hostile += ["0"] if kind.low > 0 or kind.open_low else []
    hostile += ["1.5"] if kind.whole else []
    for text in hostile:
        code = main([*verb.split(), f"{action.option_strings[-1]}={text}"])
        said = capsys.readouterr().err
        assert code == 2, (text, said)
        assert said.count("\n") == 1, said
        assert action.option_strings[-1] in said, said
        assert len(said) < 300
    low = int(kind.low) if kind.whole else kind.low
    for good in {str(low), str(kind.high)} - ({str(low)} if kind.open_low else set()):
        if not (kind.open_high and good == str(kind.high)):
            assert action.type(good.removesuffix(".0")) is not None


@pytest.mark.parametrize("option", ["--budget", "--max-bytes"])
def test_spelt_out_amounts_are_checked_while_parsing(option, capsys) -> None:
    for text in ("0", "-1", "nan", "inf", "9" * 400, "x", ""):
        assert main(["compress", "MODEL", f"{option}={text}"]) == 2
        assert option in capsys.readouterr().err


def run(*words: str, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run((*COMMAND, *words), env={**os.environ, **(env or {})}, stderr=subprocess.PIPE, **options)


def test_a_full_stdout_is_one_line_and_exit_2() -> None:
    for words in (["models"], ["--help"], ["train", "--help"], ["--version"], ["models", "--json"]):
        with open("/dev/full", "wb") as full:
            found = run(*words, stdout=full)
        assert found.returncode == 2, (words, found.stderr)
        assert found.stderr.startswith(b"eyewright: cannot write to standard output: No space left"), found.stderr
        assert found.stderr.count(b"\n") == 1


def test_a_closed_stdout_is_one_line_and_exit_2_and_closed_stderr_is_silence() -> None:
    line = f"{sys.executable} -c 'import sys; from eyewright.cli import main; sys.exit(main())'"
    for words in ("models", "models --json", "--help"):
        found = subprocess.run(("sh", "-c", f"{line} {words} >&-"), capture_output=True)
        assert found.returncode == 2, (words, found.stderr)
        assert found.stderr == b"eyewright: cannot write to standard output: it is closed; send it elsewhere\n"
    found = subprocess.run(("sh", "-c", f"{line} nothing 2>&-"), capture_output=True)
    assert (found.returncode, found.stdout, found.stderr) == (2, b"", b"")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii:strict"])
def test_what_an_encoding_cannot_show_is_replaced(encoding, tmp_path) -> None:
    (tmp_path / "日本 é → Ж").mkdir()
    env = {"PYTHONIOENCODING": encoding}
    found = run("doctor", str(tmp_path / "日本 é → Ж"), env=env, stdout=subprocess.PIPE)
    assert found.returncode == 3, found.stderr
    assert b"Traceback" not in found.stderr
    for words in (["compare", "--help"], ["steps"], ["steps", "--json"]):
        found = run(*words, env=env, stdout=subprocess.PIPE)
        assert found.returncode == 0, found.stderr
        assert found.stderr == b""


def test_a_name_that_is_too_long_is_a_usage_error(capsys, tmp_path) -> None:
    for words in (
        ["doctor", "x" * 300],
        ["predict", "x" * 300, "--source", "y"],
        ["evaluate", str(tmp_path / ("é" * 200))],
    ):
        assert main(words) in (2, 3, 4)
        said = capsys.readouterr().err
        assert "bug in Eyewright" not in said
        assert said.count("\n") == 1


def test_an_empty_text_is_no_path(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["doctor", ""],
        ["predict", "b", "--source", ""],
        ["predict", "b", "--source", " "],
        ["steps", "--out", ""],
    ):
        assert main(words) == 2
        assert "found an empty text" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_home_is_expanded_wherever_a_path_is_taken(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    o = argparse.Namespace(
        data="~/d",
        bundles=["~/b", "cells=~/c"],
        model="hf:~/net",
        classes="~x,y",
        images=["~/1", "a~"],
        n=3,
        call=print,
    )
    check_texts(o)
    assert (o.data, o.bundles, o.model) == ("/home/me/d", ["/home/me/b", "cells=/home/me/c"], "hf:/home/me/net")
    assert (o.classes, o.images) == ("~x,y", ["/home/me/1", "a~"])


def test_a_removed_current_folder_is_said(tmp_path, monkeypatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="has been removed"):
        check_texts(argparse.Namespace(data="x"))


def test_help_is_shown_as_it_was_written(capsys) -> None:
    from eyewright.data.writers import WRITERS

    texts = {}
    for verb in ("compare", "compress", "convert", "train", "run"):
        assert main([verb, "--help"]) == 0
        texts[verb] = " ".join(capsys.readouterr().out.split())
    assert "chance?." not in texts["compare"]
    assert not any("%%" in text for text in texts.values())
    assert all(name in texts["convert"] for name in WRITERS)


def test_resume_is_named_only_where_it_exists(capsys, monkeypatch) -> None:
    from eyewright.cli import doctoring

    with_resume = {verb for verb, a in options_of(build_parser()) if "--resume" in a.option_strings}
    assert with_resume == {
        "train", "harden", "compress", "predict", "process", "encode", "evaluate", "index", "attack", "audit-privacy"
    }  # fmt: skip

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("eyewright.lifecycle.doctor", interrupted)
    assert doctoring is not None
    assert main(["doctor", "x"]) == 130
    assert "--resume" not in capsys.readouterr().err


def _least(verb: str) -> list[str]:
    """Return a command of the verb with nothing that exists, and only what it requires."""
    words, given, required = verb.split(), [], []
    for name, action in options_of(build_parser()):
        if name != verb or action.nargs in ("?", "*"):
            continue
        value = str(next(iter(action.choices))) if action.choices else "1" if action.type is not None else "nowhere"
        if not action.option_strings:
            given.append(value)
        elif action.required:
            required += [action.option_strings[-1], value]
    return [*words, *given, *required]


# Those that need no input, and would do all of their work here.
WITHOUT_INPUT = {"quickstart", "models", "formats", "info", "completion", "steps"}


@pytest.mark.parametrize("verb", sorted({verb for verb, _ in options_of(build_parser()) if verb} - WITHOUT_INPUT))
def test_each_command_on_what_does_not_exist_ends_in_a_line(verb: str, capsys, tmp_path, monkeypatch) -> None:
    """A command that shares its function with another one may lack an option that the function reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EYEWRIGHT_HOME", str(tmp_path / "home"))
    code = main(_least(verb))
    shown = capsys.readouterr().err
    assert code in (0, 1, 2, 3, 4, 5), shown
    assert "unrecognized" not in shown
    assert "bug in Eyewright" not in shown
