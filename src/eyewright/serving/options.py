"""What a client may choose, from a query, a form or JSON, checked against the struct that OpenAPI shows."""

__all__ = ["check_names", "read_options"]

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from eyewright.core.errors import UsageError
from eyewright.serving.refusals import HttpError

T = TypeVar("T", bound=msgspec.Struct)

_AT = re.compile(r"`\$\.(\w+)")


def check_names(values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check that only known options are given; one that is null is not given.

    Raises:
        HttpError: another is, which would be ignored without a message.
    """
    names = list(known)
    for name, value in values.items():
        if name not in names and value is not None:
            near = difflib.get_close_matches(name[:60], names, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise HttpError(
                400,
                "unknown_option",
                f"expected options among {', '.join(names) or '(none)'}, found {name[:60]!r}{meant}",
                fix="change or remove it",
            )


def read_options(
    kind: type[T],
    query: Mapping[str, str],
    given: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
) -> T:
    """Return the options of a request: `given` as JSON has them, and texts of a form or query, which replace them.

    Every value is checked, also one that is replaced.

    >>> from eyewright.serving.schemas import Options
    >>> found = read_options(Options, {"conf": "0.5", "explain": "true"}, {"conf": 1, "top": 3})
    >>> found.conf, found.top, found.explain, found.sets
    (0.5, 3, True, None)

    Raises:
        UsageError: a value that is not of its kind or range.
        HttpError: an option that is not one of `kind`.
    """
    chosen = {k: v for k, v in (given or {}).items() if v is not None}
    check_names(chosen, kind.__struct_fields__)
    # In JSON, 3.0 is a whole number.
    for name, value in chosen.items():
        if isinstance(value, float) and value.is_integer() and "whole number" in _wanted(kind)[name]:
            chosen[name] = int(value)
    values = msgspec.structs.asdict(_converted(kind, chosen, strict=True))
    for texts in (form or {}, query):
        check_names(texts, kind.__struct_fields__)
        for name, text in texts.items():
            # A text that msgspec would take for no value.
            if text.strip().lower() == "null" and "text" not in _wanted(kind)[name]:
                raise _wrong(kind, name, text)
        read = msgspec.structs.asdict(_converted(kind, texts, strict=False))
        values |= {k: v for k, v in read.items() if k in texts}
    return kind(**values)


def _converted(kind: type[T], values: Mapping[str, Any], *, strict: bool) -> T:
    try:
        return msgspec.convert(dict(values), kind, strict=strict)
    except (msgspec.ValidationError, ValueError) as error:
        at = _AT.search(str(error))
        name = at[1] if at is not None else ""
        raise _wrong(kind, name, values.get(name)) from None


def _wrong(kind: type[msgspec.Struct], name: str, value: object) -> UsageError:
    shown = repr(value[:40]) if isinstance(value, str) else str(value)[:40]
    return UsageError(f"expected {name} {_wanted(kind).get(name, '')}, found {shown}", fix="change it")


@cache
def _wanted(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each option must be, in words."""
    words = {}
    about = inspect.type_info(kind)
    assert isinstance(about, inspect.StructType)
    for field in about.fields:
        (one,) = [t for t in _alternatives(field.type) if not isinstance(t, inspect.NoneType)]
        if isinstance(one, inspect.BoolType):
            words[field.encode_name] = "as true or false"
        elif isinstance(one, inspect.LiteralType):
            words[field.encode_name] = "as one of " + ", ".join(str(v) for v in one.values)
        elif isinstance(one, inspect.IntType | inspect.FloatType):
            number = "as a whole number in" if isinstance(one, inspect.IntType) else "in"
            words[field.encode_name] = f"{number} [{one.ge or 0:g}, {one.le or 0:g}]"
        else:
            most = getattr(one, "max_length", None)
            words[field.encode_name] = "as text" + ("" if most is None else f" of at most {most} characters")
    return words


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [a for t in kind.types for a in _alternatives(t)]
    return [kind]
