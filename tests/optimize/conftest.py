"""One small network, the same with fake quantization, and its file: made once for all tests, which leave them alone."""

import pytest


@pytest.fixture(scope="session")
def keras():
    import tf_keras

    return tf_keras


@pytest.fixture(scope="session")
def small():
    from tests.aware import small_model

    return small_model()


@pytest.fixture(scope="session")
def aware(small):
    from tests.aware import inputs
    from utils.optimize.quantization import aware

    return aware.quantize_aware(small, calibration=inputs(small)[0])


@pytest.fixture(scope="session")
def file(aware):
    from utils.optimize.quantization import aware_file

    return aware_file.to_tflite(aware)
