"""An inner tensor of a model as one more output; the onnx package is the oracle."""

import numpy as np
import onnx
import pytest

from eyewright.bundle.session import open_session
from eyewright.bundle.tap import with_output
from eyewright.core.errors import BundleError
from eyewright.exporting.features import FeatureReader, bundle_features, with_features


def test_the_appended_output_is_that_of_the_onnx_package(finished) -> None:  # type: ignore[no-untyped-def]
    model = (finished.bundle.folder / finished.bundle.manifest.model).read_bytes()
    wanted, tensor = with_features(model)
    tapped = with_output(model, tensor)
    outputs = [o.name for o in onnx.load_from_string(tapped).graph.output]
    assert outputs == [o.name for o in onnx.load_from_string(wanted).graph.output]
    pixels = np.random.default_rng(0).integers(0, 256, (3, *finished.bundle.preparation.size_hw, 3)).astype(np.uint8)
    pixels = pixels[..., : finished.bundle.preparation.channels]
    for a, b in zip(
        open_session(tapped).run(outputs, {"image": pixels}), open_session(wanted).run(outputs, {"image": pixels}),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_a_long_name_keeps_its_length() -> None:
    name = "x" * 300
    assert (
        with_output(b"", name)
        == onnx.ModelProto(graph=onnx.GraphProto(output=[onnx.ValueInfoProto(name=name)])).SerializeToString()
    )


def test_a_tensor_that_does_not_exist_is_a_damaged_bundle(finished) -> None:  # type: ignore[no-untyped-def]
    model = (finished.bundle.folder / finished.bundle.manifest.model).read_bytes()
    with pytest.raises(BundleError, match="cannot open the model"):
        open_session(with_output(model, "nowhere"))


def test_features_are_read_batch_by_batch(finished) -> None:  # type: ignore[no-untyped-def]
    from PIL import Image

    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)) for _ in range(5)]
    reader = FeatureReader((finished.bundle.folder / finished.bundle.manifest.model).read_bytes())
    pixels = finished.bundle.preparation.batch([np.asarray(i) for i in images])[0]
    reader.take(pixels[:2])
    reader.take(pixels[2:])
    found = reader.found()
    assert found is not None
    np.testing.assert_allclose(found.values, bundle_features(finished.bundle, images), atol=1e-6)


def test_maps_of_places_are_no_features(found) -> None:  # type: ignore[no-untyped-def]
    bundle = found.bundle
    reader = FeatureReader((bundle.folder / bundle.manifest.model).read_bytes())
    reader.take(bundle.preparation.batch([np.zeros((40, 40, 3), np.uint8)])[0])
    assert reader.found() is None
