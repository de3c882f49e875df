"""What plain `pytest` needs to know: stored notebooks are compared as they were stored."""

import os

# Kernels inherit these: no progress bars and no sliders in outputs that are compared.
os.environ["COURSE_STORED"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import utils  # noqa: E402, F401  Keras 2 is chosen before any test imports TensorFlow
