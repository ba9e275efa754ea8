"""What a refusal advises: the option that the place came from, and the exit code of what is wrong."""

from pathlib import Path

import pytest

from eyewright.cli import main
from eyewright.cli.parser import build_parser


@pytest.mark.parametrize(("place", "option"), [("--home", "choose another --home"), ("--log", "choose another --log")])
def test_a_server_that_cannot_write_names_the_option_of_the_place(
    finished, tmp_path: Path, capfd, place, option
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").touch()
    home = [] if place == "--home" else ["--home", str(tmp_path / "home")]
    code = main(["serve", str(finished.paths["bundle"]), "--port", "0", *home, place, str(tmp_path / "file" / "x")])
    said = capfd.readouterr().err
    assert code == 2
    assert "a file where a folder is needed" in said
    assert option in said


def test_a_history_that_cannot_be_written_names_home(finished, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").touch()
    assert main(["monitor", "promote", str(finished.paths["bundle"]), "--home", str(tmp_path / "file")]) == 2
    assert "choose another --home" in capsys.readouterr().err


def test_a_place_of_the_output_is_still_that_of_out(finished, shapes: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").touch()
    source = str(shapes / "disc" / "003.png")
    arguments = ["predict", str(finished.paths["bundle"]), "--source", source, "--out", str(tmp_path / "file" / "x")]
    assert main(arguments) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "nowhere", "nowhere"],
        ["evaluate", "nowhere", "nowhere"],
        ["explain", "nowhere", "nowhere.png"],
        ["export", "nowhere", "--out", "x"],
        ["export", "nowhere", "--to", "web", "--out", "x"],
        ["compress", "nowhere"],
        ["verify", "nowhere"],
        ["bench", "nowhere"],
        ["predict", "nowhere", "--source", "nowhere.png"],
        ["track", "nowhere", "--source", "nowhere.mp4"],
        ["read", "nowhere", "nowhere.png"],
        ["attend", "nowhere", "text"],
        ["serve", "nowhere", "--no-log", "--port", "0"],
        ["monitor", "promote", "nowhere", "--home", "home"],
        ["monitor", "drift", "nowhere", "--home", "home"],
        ["doctor", "nowhere"],
    ],
)
def test_a_path_where_nothing_is_ends_with_3(arguments, tmp_path, monkeypatch, capfd) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 3
    assert "found nothing at" in capfd.readouterr().err


def test_a_folder_that_is_no_model_ends_with_4(tmp_path: Path, capsys) -> None:
    for verb in ("verify", "compare", "evaluate", "bench"):
        more = [str(tmp_path)] if verb == "compare" else []
        assert main([verb, str(tmp_path), *more]) == 4
        assert capsys.readouterr().err.startswith("eyewright: expected a ")


def test_negative_coordinates_are_values() -> None:
    o = build_parser().parse_args(
        ["track", "b", "--source", "v.mp4", "--zone", "a=-5,0", "-3,2", "-.5,-7", "--line", "b=-1,2,3,4"]
    )
    assert o.zone == [["a=-5,0", "-3,2", "-.5,-7"]]
    o = build_parser().parse_args(["track", "--source", "v.mp4", "--one", "-3,-4,10,10"])
    assert o.one == "-3,-4,10,10"
    o = build_parser().parse_args(["serve", "b", "--source", "d=0", "--zone", "d/z=0,0", "-3,2", "1,1"])
    assert o.zone == [["d/z=0,0", "-3,2", "1,1"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predikt", "b"], "unknown command 'predikt'; did you mean 'predict'?"),
        (["detect", "photos"], "unknown command 'detect'; train one with eyewright run DATA --task detect"),
        (["nonsense"], "unknown command 'nonsense'; see eyewright --help"),
        (
            ["predict", "b", "--source", "x", "--cofn", "0.5"],
            "unrecognized arguments: --cofn; did you mean '--conf'?",
        ),
        # A part of an option is not taken for it: --n would be --norm.
        (
            ["attack", "b", "d", "--n", "4"],
            "unrecognized arguments: --n 4; did you mean '--norm'? see eyewright attack",
        ),
        (["evaluate", "b", "--jsom"], "unrecognized arguments: --jsom; did you mean '--json'?"),
        # Not an option of another of its verbs, such as the very one that was typed.
        (
            ["monitor", "retrain", "d", "--data", "x", "--out", "y"],
            "unrecognized arguments: --data x; see eyewright monitor retrain --help",
        ),
        (
            ["monitor", "retrain", "d", "--epoch", "3", "--out", "y"],
            "did you mean '--epochs'? see eyewright monitor retrain --help",
        ),
        (["evaluate", "b", "--xyz"], "unrecognized arguments: --xyz; see eyewright evaluate --help"),
    ],
)
def test_a_misspelt_command_or_option_gets_the_nearest(arguments: list[str], said: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_an_output_that_is_the_input_advises_another_out(finished, shapes: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.png").write_bytes((shapes / "disc" / "003.png").read_bytes())
    picture = str(tmp_path / "a.png")
    assert main(["predict", str(finished.paths["bundle"]), "--source", picture, "--out", picture]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("monitor", "stat"), "expected one of status, drift, feedback, "),
        (("monitor", "stat"), "found 'stat'; did you mean 'status'? see eyewright monitor --help"),
        (("completion", "bsh"), "did you mean 'bash'?"),
    ],
)
def test_a_wrong_choice_is_answered_with_the_nearest_one(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(arguments)) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["monitor", "feedback"], "expected list, import or export, found none"),
        (["completion"], "expected bash, zsh or fish, found none"),
        (["monitor"], "expected status, drift, feedback,"),
    ],
)
def test_a_choice_that_is_missing_is_named_by_its_values(words, said, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(words) == 2
    assert said in capsys.readouterr().err
