"""The options that sign what is written: `--sign KEY` and where the key's password comes from."""

__all__ = ["add_sign", "key_password"]

import argparse
import os
import sys
from pathlib import Path

from eyewright.core.errors import UsageError
from eyewright.core.regular import read_regular

_VARIABLE = "EYEWRIGHT_KEY_PASSWORD"
_MOST_BYTES = 4096


def add_sign(p: argparse.ArgumentParser) -> None:
    """Add the options that sign."""
    p.add_argument("--sign", metavar="KEY", help="sign it with this private EC key (PEM): writes model.sig")
    p.add_argument(
        "--key-password-file",
        metavar="FILE",
        help=f"password of an encrypted key (or {_VARIABLE}; on a terminal it is asked for)",
    )


def key_password(o: argparse.Namespace) -> bytes | None:
    """Return the password of `--sign KEY`, None for a key without one; the key is opened once to check both.

    The password is never an option: the command line can be read by everybody on the machine.

    Raises:
        MissingExtraError: the extra `sign` is not installed.
        UsageError: the key or its password is wrong; or there is a password and no `--sign`.
    """
    if o.sign is None:
        if o.key_password_file is not None:
            raise UsageError("expected --sign KEY with --key-password-file, found none", fix="pass --sign KEY")
        return None
    from eyewright.bundle.signature import is_encrypted, read_private_key

    password: bytes | None = None
    if o.key_password_file is not None:
        fix = "pass a file that holds the password"
        password = read_regular(Path(o.key_password_file), most=_MOST_BYTES, error=UsageError, fix=fix, follow=True)
        password = password.rstrip(b"\r\n")
    elif is_encrypted(o.sign):
        if os.environ.get(_VARIABLE):
            password = os.environ[_VARIABLE].encode()
        elif sys.stdin.isatty() and sys.stderr.isatty():
            import getpass

            password = getpass.getpass(f"Password of {o.sign}: ", stream=sys.stderr).encode()
    read_private_key(o.sign, password)
    return password
