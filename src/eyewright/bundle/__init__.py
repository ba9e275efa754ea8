"""THE DOOR between the workshop and the field: a folder that says what it is, proves it, and predicts."""

from eyewright.bundle.contract import CONTRACTS, Contract
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import FORMAT_VERSION, Manifest, read_manifest

__all__ = ["CONTRACTS", "FORMAT_VERSION", "Bundle", "Contract", "Manifest", "load_bundle", "read_manifest"]
