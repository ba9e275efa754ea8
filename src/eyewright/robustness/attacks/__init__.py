"""The attacks, one file each, as a literal table: name → what it needs, what it is, where it lies."""

__all__ = ["ATTACKS", "SUITES", "AttackInfo", "attack_named", "attack_of", "attacks_in"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from eyewright.core.errors import UsageError, spelling_hint

Needs = Literal["gradients", "scores", "labels"]


@dataclass(frozen=True)
class AttackInfo:
    """What an attack must know of a model, what it does, and the function, "module:name".

    With gradients it is `(white, images, labels, threat, *, rng, steps)` over tensors, otherwise
    `(victim, images, labels, threat, *, rng, steps)` over arrays.
    """

    needs: Needs
    about: str
    place: str


_HERE = "eyewright.robustness.attacks"

ATTACKS: Mapping[str, AttackInfo] = MappingProxyType(
    {
        "fgsm": AttackInfo("gradients", "one gradient step (Goodfellow et al. 2015)", f"{_HERE}.gradient:fgsm"),
        "pgd": AttackInfo("gradients", "projected gradient steps (Madry et al. 2018)", f"{_HERE}.gradient:pgd"),
        "apgd": AttackInfo(
            "gradients", "Auto-PGD on the cross-entropy (Croce and Hein 2020)", f"{_HERE}.apgd:apgd"
        ),
        "apgd_t": AttackInfo(
            "gradients", "Auto-PGD towards each likely class (Croce and Hein 2020)", f"{_HERE}.apgd:apgd_t"
        ),
        "fab_t": AttackInfo(
            "gradients", "smallest change across a decision boundary (Croce and Hein 2020)", f"{_HERE}.fab:fab_t"
        ),
        "square": AttackInfo("scores", "random squares (Andriushchenko et al. 2020)", f"{_HERE}.square:square"),
        "boundary": AttackInfo(
            "labels", "search along directions, by labels alone (Chen and Gu 2020, RayS)", f"{_HERE}.boundary:boundary"
        ),
    }
)  # fmt: skip

SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "quick": ("apgd", "square"),
        "standard": ("apgd", "apgd_t", "fab_t", "square"),
        "full": ("fgsm", "pgd", "apgd", "apgd_t", "fab_t", "square", "boundary"),
    }
)


def attack_named(name: str) -> AttackInfo:
    """Return what is known of an attack.

    Raises:
        UsageError: there is no such attack; a near spelling is suggested.
    """
    if name not in ATTACKS:
        raise UsageError(f"unknown attack {name!r}", fix=spelling_hint(name, ATTACKS))
    return ATTACKS[name]


def attacks_in(suite: str, names: Sequence[str] | None, *, gradients: bool) -> tuple[str, ...]:
    """Return the attacks of a suite, or those named, that a model with or without gradients can be attacked by.

    Raises:
        UsageError: an unknown suite or attack, or one that needs gradients where there are none.
    """
    if names is None:
        if suite not in SUITES:
            raise UsageError(f"unknown suite {suite!r}", fix=spelling_hint(suite, SUITES))
        chosen = tuple(n for n in SUITES[suite] if gradients or ATTACKS[n].needs != "gradients")
        return chosen if gradients or suite == "quick" else tuple(dict.fromkeys((*chosen, "boundary")))
    for name in names:
        if attack_named(name).needs == "gradients" and not gradients:
            raise UsageError(
                f"the attack {name!r} needs the gradients of a run, found a model that returns predictions only",
                fix="pass the run, or use square or boundary",
            )
    return tuple(dict.fromkeys(names))


def attack_of(name: str) -> Callable[..., Any]:
    """Return the function of an attack; its file is imported only now."""
    module, _, attribute = attack_named(name).place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
