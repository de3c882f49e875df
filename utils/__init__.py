"""Helpers of the course.  `import utils` comes first in every notebook: it is light, and it settles
in one place how TensorFlow will start (Keras 2, quiet, one thread, deterministic).

TensorFlow reads these settings once, when it is first imported.  Hence environment variables, set
here, and an error if TensorFlow was faster.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: The repository's folder.
ROOT = Path(__file__).resolve().parent.parent


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < min(default, 1):
        raise ValueError(f"the environment variable {name} is {text!r}; pass a whole number, such as {default}")
    return int(text)


#: The one seed of a run.  `course.py run --seeds 5` sets it; notebooks hand it on.
SEED = _whole_number("COURSE_SEED", 0)

#: True when networks are to be trained anew instead of read from data/weights or the cache.
FRESH = os.environ.get("COURSE_FRESH", "") not in ("", "0")

#: Which draw of moved last places `utils.nudge` makes; 0, the default, moves nothing.
NUDGE = _whole_number("COURSE_NUDGE", 0)

#: Threads that TensorFlow and the interpreters may use.
THREADS = _whole_number("COURSE_THREADS", 1)

_TENSORFLOW_SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # with the next line, TensorFlow starts without a word
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN sums in another order and announces itself on stderr
    "TF_DETERMINISTIC_OPS": "1",  # the same seed gives the same weights, bit for bit, on one machine
    "TF_NUM_INTRAOP_THREADS": str(THREADS),  # sums split over threads round differently
    "TF_NUM_INTEROP_THREADS": str(THREADS),
    "OPENBLAS_NUM_THREADS": str(THREADS),  # numpy's threads spin while they wait: three times slower on busy cores
}


def _settle_tensorflow() -> None:
    """Set what is not set yet; refuse a process in which TensorFlow has already chosen Keras 3."""
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "True", "true"):
        raise ImportError(
            "TensorFlow was imported before utils, so tf.keras is Keras 3, which the Model Optimization "
            "Toolkit does not accept. Restart the kernel and put `import utils` above `import tensorflow`."
        )
    # tf.keras is tf_keras (Keras 2), whatever the shell says: the Toolkit accepts no other.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    for name, value in _TENSORFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)


_settle_tensorflow()
