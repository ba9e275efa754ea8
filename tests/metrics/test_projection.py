"""Vectors on a plane, as scikit-learn's PCA places them."""

import numpy as np
import pytest

from eyewright.metrics import projection
from eyewright.metrics.projection import project_plane

sklearn = pytest.importorskip("sklearn.decomposition")


def test_the_plane_is_that_of_scikit_learn_up_to_signs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12))
    expected = sklearn.PCA(2, svd_solver="full").fit_transform(vectors)
    found = project_plane(vectors)
    signs = np.sign((expected * found).sum(0))
    assert np.allclose(found, expected * signs, atol=1e-4)
    assert np.array_equal(found, project_plane(vectors))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (1, 4), (5, 1)])
def test_few_vectors_or_dimensions_have_places_too(shape: tuple[int, int]) -> None:
    found = project_plane(np.arange(shape[0] * shape[1], dtype=float).reshape(shape))
    assert found.shape == (shape[0], 2)
    assert np.isfinite(found).all()


def test_vectors_that_are_not_finite_are_at_the_centre_and_change_nothing_else() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 3))
    expected = project_plane(vectors)
    broken = np.concatenate([vectors, [[np.nan, 0, 0], [np.inf, 1, 1]]])
    found = project_plane(broken)
    assert np.allclose(found[:50], expected, atol=1e-5)
    assert (found[50:] == 0).all()


@pytest.mark.parametrize(("n", "step"), [(40, 1), (41, 2), (80, 2), (81, 3)])
def test_the_axes_are_those_of_evenly_spaced_vectors_where_there_are_many(
    n: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "_FITTED", 40)
    vectors = np.random.default_rng(n).normal(size=(n, 5))
    fitted = sklearn.PCA(2, svd_solver="full").fit(vectors[::step])
    axes = fitted.components_
    axes = axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]
    assert np.allclose(project_plane(vectors), (vectors - fitted.mean_) @ axes.T, atol=1e-5)


def test_where_no_vector_is_finite_all_are_at_the_centre() -> None:
    assert project_plane(np.full((3, 4), np.nan)).tolist() == [[0, 0]] * 3
