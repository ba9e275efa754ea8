"""Shell completion, in a real bash, and the help that it is made from."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from eyewright.cli.completion import SHELLS, completion_script
from eyewright.cli.parser import _options, build_parser
from eyewright.cli.places import check_texts
from eyewright.cli.program import main
from eyewright.cli.recipe_help import CHOICES, RECIPE_HELP
from eyewright.cli.verbs import NUMBERS, VERBS, WORDS
from eyewright.training.recipe import Recipe

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "eyewright"
    path.write_text(completion_script(build_parser(), "bash"))
    return path


def completed(script: Path, *words: str, cwd: Path | None = None) -> list[str]:
    """Return what bash offers for the last of `words`."""
    program = (
        'source "$1"; shift; complete -p eyewright >/dev/null || exit 9\n'
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _eyewright; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [BASH or "bash", "--norc", "-c", program, "bash", str(script), "eyewright", *words],
        capture_output=True, text=True, check=True, cwd=cwd, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("br",), ["browse"]),
        (("tr",), ["train", "track"]),
        (("train", "--opti"), ["--optimizer"]),
        (("train", "data", "--optimizer", "ada"), ["adamw", "adam"]),
        (("train", "--epochs", ""), []),
        (("monitor", "ro"), ["rollback"]),
        (("monitor", "drift", "--win"), ["--window"]),
        (("--quiet", "pre"), ["predict"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("compare", "--task", ""), ["track"]),
        (("nothing", "-"), []),
    ],
)
def test_bash_offers_commands_options_and_values(script: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(script, *words) == offered


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_offers_files_where_a_file_is_meant(script: Path, tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    (tmp_path / "recipe.toml").touch()
    assert completed(script, "train", "rec", cwd=tmp_path) == ["recipe.toml"]
    assert completed(script, "train", "data", "--recipe", "r", cwd=tmp_path) == ["recipe.toml"]
    assert completed(script, "models", "", cwd=tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert verb in text
    assert ("bashcompinit" in text) == (shell == "zsh")
    assert ("complete -c eyewright" in text) == (shell == "fish")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_is_one_that_the_shell_parses(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(completion_script(build_parser(), shell))
    subprocess.run([shell, "-n", str(path)], check=True, timeout=30)


def test_an_unknown_shell_is_refused() -> None:
    assert main(["completion", "tcsh"]) == 2


def test_every_option_says_what_it_means() -> None:
    bare = [
        f"{name} {(action.option_strings or [action.dest])[0]}"
        for name, parser in _verbs().items()
        for action in _options(parser)
        if action.help is None and not isinstance(action, argparse._SubParsersAction)
    ]
    assert bare == []


def test_no_option_that_is_left_out_is_refused_as_empty() -> None:
    for parser in _verbs().values():
        defaults = {a.dest: a.default for a in _options(parser) if a.dest != "help"}
        check_texts(argparse.Namespace(**defaults))


def test_the_help_of_recipe_options_names_the_choices_that_there_are() -> None:
    assert set(RECIPE_HELP) == {*NUMBERS, *WORDS}
    hints = get_type_hints(Recipe)
    for name, choices in CHOICES.items():
        options = [o for t in (hints[name], *get_args(hints[name])) for o in get_args(t) if isinstance(o, str)]
        if options:
            assert tuple(dict.fromkeys(options)) == choices, name
        else:
            assert name == "device"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", 0.01), ("l1", 0.0), ("dropout", 0.0), ("huber_delta", 1.0), ("warmup", 0.2), ("mixup", 0.0),
        ("clip_norm", 0.0), ("cutmix", 0.0), ("accumulate", 1), ("schedule", "one_cycle"), ("augment", "auto"),
        ("flip", "auto"), ("device", "auto"), ("step", "plain"), ("norm", "linf"),
    ],
)  # fmt: skip
def test_the_defaults_in_the_help_are_those_of_the_recipe(name: str, value: object) -> None:
    assert getattr(Recipe(), name) == value
    assert (
        f"default {value:g}" in RECIPE_HELP[name]
        if isinstance(value, float)
        else f"default {value}" in RECIPE_HELP[name]
    )


def _verbs() -> dict[str, argparse.ArgumentParser]:
    (found,) = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found.choices)
