"""The APIs do what their names say, on weights drawn here."""

import numpy as np
import pytest
import tf_keras

import utils
from utils.optimize.toolkit import entry_points, wrapping

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture
def weights():
    tf_keras.utils.set_random_seed(1)
    return np.random.default_rng(3).normal(size=(9, 7)).astype("float32")


def test_every_api_wraps_every_layer():
    tf_keras.utils.set_random_seed(1)
    wrapped = entry_points.wrapped_by_each(entry_points.small_cnn)
    for name, wrapper in (("prune_low_magnitude", "PruneLowMagnitude"), ("cluster_weights", "ClusterWeights")):
        assert set(wrapping.what_it_added(entry_points.small_cnn(), wrapped[name]).wrappers.values()) == {wrapper}
    found = wrapping.what_it_added(entry_points.small_cnn(), wrapped["quantize_model"])
    assert found.wrappers["logits"].startswith("QuantizeWrapper") and "QuantizeLayer" in found.wrappers.values()


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9999])
def test_mask_keeps_the_largest(weights, sparsity):
    mask = entry_points.mask_of_toolkit(weights, sparsity)
    keep = max(round(weights.size * (1 - sparsity)), 1)
    assert mask.sum() == keep
    assert np.abs(weights[mask]).min() > np.abs(weights[~mask]).max()


def test_mask_keeps_zeros_that_need_not_go(weights):
    """The mask is the Toolkit's, not the weights that are left: where fewer than asked are not zero, all stay."""
    weights[:5] = 0
    assert entry_points.mask_of_toolkit(weights, 0.3).all()


def test_rounding_is_on_a_grid_of_8_bits(weights):
    scale = np.abs(weights).max() / 127
    rounded = entry_points.rounded_by_toolkit(weights)
    np.testing.assert_allclose(rounded / scale, np.rint(rounded / scale), atol=1e-3)
    assert np.abs(rounded - weights).max() <= 0.501 * scale


def test_clusters_are_the_nearest_of_equal_distances(weights):
    centroids = np.linspace(weights.min(), weights.max(), 5)
    distance = np.abs(weights[:, :, np.newaxis] - centroids)
    index = entry_points.clusters_of_toolkit(weights, 5)
    chosen = np.take_along_axis(distance, index[:, :, np.newaxis], axis=-1)[:, :, 0]
    np.testing.assert_allclose(chosen, distance.min(axis=-1), atol=1e-6)


def test_gamma_is_in_the_files_scale_and_not_in_the_wrappers_range():
    one, four = (entry_points.quantized_with_gamma(gamma) for gamma in (1, 4))
    assert one.trained == four.trained > 0
    assert four.stored == pytest.approx(4 * one.stored, rel=1e-4)


@pytest.mark.parametrize("function", [lambda w: entry_points.mask_of_toolkit(w, 0.5), entry_points.rounded_by_toolkit])
def test_other_shapes_are_refused(function):
    with pytest.raises(ValueError, match="matrix of a Dense layer"):
        function(np.zeros((3, 3, 1, 2)))


def test_both_interpreters_compute_the_same_numbers():
    said, ours = entry_points.both_interpreters()
    assert said.shape == ours.shape == (1, 10) and said.any()
    np.testing.assert_allclose(said, ours, rtol=1e-5, atol=1e-6)


def test_the_interpreters_are_shown_a_picture_of_64ths():
    tf_keras.utils.set_random_seed(utils.SEED)
    picture = (np.arange(784) % 65 / 64).astype(np.float32).reshape(1, 28, 28, 1)
    wanted = entry_points.small_cnn()(picture, training=False)
    np.testing.assert_allclose(entry_points.both_interpreters()[1], wanted, rtol=1e-3, atol=1e-4)


def test_the_schedule_prunes_to_one_half_from_the_first_step_on():
    asked = [entry_points.HALF(step) for step in range(4)]
    assert [(bool(renewed), float(share)) for renewed, share in asked] == [(True, 0.5)] * 4


def test_each_api_is_called_by_its_name():
    assert list(entry_points.APIS) == ["prune_low_magnitude", "cluster_weights", "quantize_model", "combine"]
    tf_keras.utils.set_random_seed(1)
    wrapped = entry_points.wrapped_by_each(entry_points.small_cnn)
    assert list(wrapped) == list(entry_points.APIS)

    def keeps_zeros(model):
        kinds = {type(quantizer).__name__ for layer in model.layers if hasattr(layer, "quantize_config")
                 and layer.quantize_config for _, quantizer in
                 layer.quantize_config.get_weights_and_quantizers(layer.layer)}  # fmt: skip
        return any(kind.startswith("PrunePreserve") for kind in kinds)

    assert keeps_zeros(wrapped["combine"]) and not keeps_zeros(wrapped["quantize_model"])


def test_the_packages_are_those_around_the_toolkit():
    assert [row["package"] for row in entry_points.packages()] == [
        *("tensorflow-model-optimization", "tf-keras", "keras", "ai-edge-litert", "litert-quantizer")
    ]


def test_interpreter_warns_and_packages_describe_themselves():
    assert "ai_edge_litert" in entry_points.interpreter_warning()
    assert all(row["says of itself"] for row in entry_points.packages())


@pytest.mark.parametrize("gamma", [0, np.nan, np.inf])
def test_a_gamma_that_leaves_no_weights_is_refused(gamma):
    with pytest.raises(ValueError, match=r"gamma is .*; pass a finite number other than 0"):
        entry_points.quantized_with_gamma(gamma)
