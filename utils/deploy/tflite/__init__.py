"""Files of TensorFlow Lite: run, compare, verify, look inside."""
