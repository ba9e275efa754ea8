"""What `federate` asks for, written into the recipe as words such as "clients=10 alpha=0.5 strategy=fedavg"."""

__all__ = ["FAULTS", "FederatedOptions", "parse_faults", "parse_federated"]

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from eyewright.core.errors import UsageError, spelling_hint

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "die": "sends nothing from the middle of the run on",
        "lie": "sends its update times -10",
        "nan": "sends a number that is not finite",
        "shape": "sends an update of another net",
        "replay": "sends its first update again and again",
    }
)
"""What a simulated client may do wrong."""

_STRATEGIES = ("fedavg", "fedprox", "fedadam", "median", "trimmed", "krum", "bulyan")
_NORMS = ("group", "average")
_UNITS = ("image", "group")
_MASKABLE = ("fedavg", "fedprox", "fedadam")


@dataclass(frozen=True)
class FederatedOptions:
    """How a simulation of federated learning is carried out.

    Args:
        clients: how many; 0: by the groups of the images.
        alpha: of the Dirichlet distribution by which classes are divided among clients.
        strategy: how updates become one.
        local_epochs: how often a client sees its images in a round.
        faulty: how many wrong updates a robust strategy allows for.
        mu: weight of the proximal term of "fedprox".
        server_lr: step size of "fedadam".
        norm: batch normalisation becomes group normalisation ("group"), or its statistics are averaged.
        secure: whether the server sees the sum of masked updates only.
        secure_range: the public range of an update's values then.
        least: the fraction of the clients whose updates a round needs.
        epsilon, delta, clip: differential privacy of each client's images; None for none.
        unit: what epsilon holds for: one "image", or one "group" of images, such as all images of a person.
        noise_from: the operating "system", or the "seed", for experiments.
        faults: how many clients do what of `FAULTS`.
    """

    clients: int = 10
    alpha: float = 0.5
    strategy: str = "fedavg"
    local_epochs: int = 1
    faulty: int = 0
    mu: float = 0.01
    server_lr: float = 0.01
    norm: str = "group"
    secure: bool = False
    secure_range: float = 4.0
    least: float = 0.5
    epsilon: float | None = None
    delta: float | None = None
    clip: float | None = None
    noise_from: str = "system"
    unit: str = "image"
    faults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.strategy not in _STRATEGIES:
            raise UsageError(f"unknown strategy {self.strategy!r}", fix=spelling_hint(self.strategy, _STRATEGIES))
        if self.norm not in _NORMS:
            raise UsageError(f"unknown norm {self.norm!r}", fix=spelling_hint(self.norm, _NORMS))
        if self.unit not in _UNITS:
            raise UsageError(f"unknown unit {self.unit!r}", fix=spelling_hint(self.unit, _UNITS))
        self._check_ranges()
        for wrong, found, fix in (
            (
                self.secure and self.strategy not in _MASKABLE,
                f"{', '.join(_MASKABLE)} with --secure, found {self.strategy!r}, which compares single updates: with "
                "secure aggregation a server sees none",
                "leave --secure out, or use --strategy fedavg",
            ),
            (
                self.epsilon is not None and self.norm == "average",
                "group normalisation with --private, found --norm average, whose statistics are of private images",
                "leave --norm out",
            ),
            (
                self.clients > 0 and sum(self.faults.values()) >= self.clients,
                f"a client without a fault, found {sum(self.faults.values())} faults for {self.clients} clients",
                "lower --faults",
            ),
        ):
            if wrong:
                raise UsageError(f"expected {found}", fix=fix)

    def _check_ranges(self) -> None:
        ranges: tuple[tuple[str, float, float, float | None], ...] = (
            ("clients", 0, 10_000, self.clients),
            ("alpha", 1e-6, 1e9, self.alpha),
            ("local-epochs", 1, 1000, self.local_epochs),
            ("faulty", 0, 10_000, self.faulty),
            ("mu", 0, 1e9, self.mu),
            ("server-lr", 1e-12, 1e9, self.server_lr),
            ("secure-range", 1e-9, 1e6, self.secure_range),
            ("least", 1e-9, 1, self.least),
            ("epsilon", 1e-9, 1e9, self.epsilon),
            ("clip", 1e-12, 1e12, self.clip),
        )
        for name, low, high, value in ranges:
            if value is not None and not low <= value <= high:
                raise UsageError(f"expected {name} from {low:g} to {high:g}, found {value:g}", fix=f"change {name}")
        if self.clients == 1:
            raise UsageError("expected 2 clients or more, found 1", fix="train with eyewright train")

    def __str__(self) -> str:
        """Return the words that are read as this again."""
        words = []
        for f in fields(self):
            value = getattr(self, f.name)
            name = f.name.replace("_", "-")
            if f.name == "faults":
                words += [f"{name}={','.join(f'{k}:{n}' for k, n in value.items())}"] if value else []
            elif f.name == "unit" and value == "image":
                # Recipes of earlier versions do not name it.
                continue
            elif value is not None and value is not False:
                shown = "yes" if value is True else f"{value:.12g}" if isinstance(value, float) else value
                words.append(f"{name}={shown}")
        return " ".join(words)


def parse_faults(text: str) -> dict[str, int]:
    """Read faults of clients.

    >>> parse_faults("lie:3,die:1")
    {'lie': 3, 'die': 1}

    Raises:
        UsageError: an unknown fault, or no number.
    """
    found: dict[str, int] = {}
    for word in filter(None, (w.strip() for w in text.split(","))):
        name, _, number = word.partition(":")
        if name not in FAULTS:
            raise UsageError(f"unknown fault {name!r} of a client", fix=spelling_hint(name, FAULTS))
        if not (number.isascii() and number.isdecimal() and 0 < int(number) <= 10_000):
            raise UsageError(f"expected a number of clients in {word!r}, found {number!r}", fix=f"write {name}:1")
        found[name] = found.get(name, 0) + int(number)
    return found


def parse_federated(text: str) -> FederatedOptions:
    """Read the words of a recipe.

    >>> parse_federated("clients=3 strategy=median").strategy
    'median'

    Raises:
        UsageError: an unknown word, or a value that is out of range.
    """
    known = {f.name.replace("_", "-"): f for f in fields(FederatedOptions)}
    found: dict[str, object] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name not in known:
            raise UsageError(f"unknown word {word!r} for federated learning", fix=spelling_hint(name, known))
        own = name.replace("-", "_")
        if own == "faults":
            found[own] = parse_faults(value)
        elif own == "secure":
            found[own] = value == "yes"
        elif own in ("strategy", "norm", "noise_from", "unit"):
            found[own] = value
        else:
            try:
                found[own] = int(value) if own in ("clients", "local_epochs", "faulty") else float(value)
            except ValueError:
                raise UsageError(f"expected a number for {name!r}, found {value!r}", fix=f"change {name}") from None
    return FederatedOptions(**found)  # type: ignore[arg-type]
