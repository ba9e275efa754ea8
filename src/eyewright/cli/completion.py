"""Shell completion, generated from the parser: bash, zsh (by its emulation of bash's) and fish."""

__all__ = ["SHELLS", "add_completion", "completion", "completion_script"]

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from eyewright.cli.recipe_help import CHOICES
from eyewright.cli.terminal import Result

SHELLS = ("bash", "zsh", "fish")
_FILES = re.compile(r"FILE|DIR|BUNDLE|RUN|DATA|IMAGE|SOURCE|PUB|KEY|MODEL|INDEX|FOLDER|REPORT|DB|VIDEO")


@dataclass
class Verb:
    """What can be typed after a verb: options with their values (None takes no value, () any), verbs below, files.

    `about` is its help, `helps` that of each option.
    """

    about: str = ""
    options: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    below: tuple[str, ...] = ()
    takes_files: bool = False


def add_completion(
    verb: Callable[[str], argparse.ArgumentParser], build: Callable[[], argparse.ArgumentParser]
) -> None:
    """Add the options of completion; `build` makes the parser of all verbs."""
    p = verb("completion")
    p.set_defaults(build=build)
    p.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def completion(o: argparse.Namespace) -> Result:
    """Print the script of a shell."""
    script = completion_script(o.build(), o.shell)
    return {"script": script} if o.json else {"text": script.splitlines()}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a parser for "bash", "zsh" or "fish".

    Names of verbs and options are completed, values where there is a fixed choice, and else files where one is meant.
    """
    verbs = dict(_verbs(parser))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](verbs)


def _verbs(parser: argparse.ArgumentParser, above: str = "", about: str = "") -> Iterator[tuple[str, Verb]]:
    """Yield the parser's own options as "", then each verb, and those below as "monitor status"."""
    own = Verb(about)
    below: list[tuple[str, argparse.ArgumentParser, str]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {a.dest: a.help or "" for a in action._choices_actions}
            own.below = tuple(action.choices)
            below = [(name, p, told.get(name, "")) for name, p in action.choices.items()]
        elif action.option_strings:
            for name in action.option_strings:
                own.options[name] = _values(action)
                own.helps[name] = "" if action.help in (None, argparse.SUPPRESS) else _plain(action.help)
                if _means_file(action):
                    own.files.add(name)
        elif action.choices is not None:
            own.below = tuple(map(str, action.choices))
        else:
            own.takes_files |= _means_file(action)
    # A command whose first word may choose other options (`federate serve`).
    forms: dict[str, argparse.ArgumentParser] = getattr(parser, "forms", {})
    own.below += tuple(forms)
    below += [(name, p, p.description or "") for name, p in forms.items()]
    yield above, own
    for name, p, words in below:
        yield from _verbs(p, f"{above} {name}".strip(), words)


def _values(action: argparse.Action) -> tuple[str, ...] | None:
    if action.nargs == 0:
        return None
    if action.choices is not None:
        return tuple(map(str, action.choices))
    return CHOICES.get(action.dest, ())


def _means_file(action: argparse.Action) -> bool:
    names = action.metavar if isinstance(action.metavar, str) else (action.dest or "").upper()
    return action.nargs != 0 and bool(_FILES.search(names))


def _plain(text: str) -> str:
    return text.replace("%%", "%").replace("\n", " ")


def _bash(verbs: Mapping[str, Verb]) -> str:
    tops = " ".join([*verbs[""].below, *verbs[""].options])
    nested = [name for name, v in verbs.items() if name and v.below and f"{name} {v.below[0]}" in verbs]
    lines = [
        "# bash completion for eyewright; add  source <(eyewright completion bash)  to ~/.bashrc",
        "_eyewright() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" verb="" i word opts="" files=1',
        "  COMPREPLY=()",
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        '    word="${COMP_WORDS[i]}"',
        '    case "$word" in -*) continue ;; esac',
        '    if [ -z "$verb" ]; then verb="$word"',
        *([f'      case "$verb" in {"|".join(nested)}) ;; *) break ;; esac'] if nested else []),
        '    else verb="$verb $word"; break; fi',
        "  done",
        '  case "$verb" in',
    ]
    for name, v in verbs.items():
        if not name:
            continue
        lines.append(f"    {shlex.quote(name)})")
        lines += _bash_values(v)
        words = " ".join([*v.below, *v.options])
        lines += [f"      opts={shlex.quote(words)}", *(["      files=0"] if not v.takes_files else []), "      ;;"]
    lines += [
        f"    '') opts={shlex.quote(tops)}; files=0 ;;",
        "    *) opts=''; files=0 ;;",
        "  esac",
        '  case "$cur" in',
        '    -*) COMPREPLY=($(compgen -W "$opts" -- "$cur")) ;;',
        "    *)",
        '      if [ "$files" = 1 ]; then COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null',
        "      else",
        "        local names=''",
        '        for word in $opts; do case "$word" in -*) ;; *) names="$names $word" ;; esac; done',
        '        COMPREPLY=($(compgen -W "$names" -- "$cur"))',
        "      fi ;;",
        "  esac",
        "}",
        "complete -F _eyewright eyewright",
    ]
    return "\n".join(lines) + "\n"


def _bash_values(v: Verb) -> list[str]:
    """Return the lines that complete the value of an option that stands before the cursor."""
    cases: list[str] = []
    for option, values in v.options.items():
        if values:
            words = shlex.quote(" ".join(values))
            cases.append(f'        {option}) COMPREPLY=($(compgen -W {words} -- "$cur")); return ;;')
    if files := sorted(o for o in v.files if not v.options[o]):
        cases.append(f'        {"|".join(files)}) COMPREPLY=($(compgen -f -- "$cur"))')
        cases.append("          compopt -o filenames 2>/dev/null; return ;;")
    if other := sorted(o for o, values in v.options.items() if values == () and o not in v.files):
        cases.append(f"        {'|'.join(other)}) return ;;")
    return ['      case "$prev" in', *cases, "      esac"] if cases else []


def _zsh(verbs: Mapping[str, Verb]) -> str:
    # zsh runs completions of bash as they are.
    rest = _bash(verbs).partition("\n")[2]
    return (
        "# zsh completion for eyewright: add  source <(eyewright completion zsh)  to ~/.zshrc\n"
        "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n" + rest
    )


def _fish(verbs: Mapping[str, Verb]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [
        "# fish completion for eyewright: eyewright completion fish > ~/.config/fish/completions/eyewright.fish",
        "complete -c eyewright -f",
    ]
    for name, v in verbs.items():
        words = name.split()
        when = " && ".join(f"__fish_seen_subcommand_from {w}" for w in words) or "__fish_use_subcommand"
        if words and v.takes_files:
            lines.append(f"complete -c eyewright -n {quoted(when)} -F")
        for inner in v.below:
            about = verbs[f"{name} {inner}".strip()].about if f"{name} {inner}".strip() in verbs else ""
            lines.append(f"complete -c eyewright -n {quoted(when)} -a {quoted(inner)} -d {quoted(about)}")
        for option, values in v.options.items():
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            needs = "" if values is None else " -r" + (" -F" if option in v.files and not values else "")
            given = f" -a {quoted(' '.join(values))}" if values else ""
            lines.append(f"complete -c eyewright -n {quoted(when)} {flag}{needs}{given} -d {quoted(v.helps[option])}")
    return "\n".join(lines) + "\n"
