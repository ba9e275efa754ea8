"""THE DOOR between the workshop and the field: a folder that says what it is, proves it, and predicts."""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.bundle.contract import CONTRACTS, Contract
    from eyewright.bundle.guarantees import Guarantees, guarantees_of
    from eyewright.bundle.load import Bundle, load_bundle, read_reference
    from eyewright.bundle.manifest import FORMAT_VERSION, Manifest, read_manifest
    from eyewright.bundle.policy import check_policy, parse_policy
    from eyewright.bundle.verify import bundle_digest

_HOMES = {
    "contract": ("CONTRACTS", "Contract"),
    "guarantees": ("Guarantees", "guarantees_of"),
    "load": ("Bundle", "load_bundle", "read_reference"),
    "manifest": ("FORMAT_VERSION", "Manifest", "read_manifest"),
    "policy": ("check_policy", "parse_policy"),
    "verify": ("bundle_digest",),
}

__all__ = [
    "CONTRACTS",
    "FORMAT_VERSION",
    "Bundle",
    "Contract",
    "Guarantees",
    "Manifest",
    "bundle_digest",
    "check_policy",
    "guarantees_of",
    "load_bundle",
    "parse_policy",
    "read_manifest",
    "read_reference",
]

__getattr__ = late_names(__name__, _HOMES)
