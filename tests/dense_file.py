"""A .tflite file of one dense layer with int8 weights and float ends, written without TensorFlow."""

from __future__ import annotations

import numpy as np

ACTIVATIONS = {None: 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}


def dense_file(
    weights: np.ndarray,
    scales: np.ndarray,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    *,
    symmetric: bool = False,
) -> bytes:
    """weights: int8, (units, inputs).  scales: one or one a unit.  bias: float32, (units,)."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    units, inputs = weights.shape
    floats, integers = schema.TensorType.FLOAT32, schema.TensorType.INT8
    q = _filled(schema.QuantizationParametersT(), scale=list(map(float, scales)), zeroPoint=[0] * len(scales))
    arrays = [None, weights, bias]
    tensors = [
        _filled(schema.TensorT(), name=name, shape=shape, shapeSignature=signature, type=kind, buffer=b, quantization=p)
        for name, shape, signature, kind, b, p in [
            ("x", [1, inputs], [-1, inputs], floats, 0, None),
            ("y", [1, units], [-1, units], floats, 0, None),
            ("weights", [units, inputs], None, integers, 1, q),
            ("bias", [units], None, floats, 2, None),
        ]
    ][: 4 if bias is not None else 3]
    options = _filled(
        schema.FullyConnectedOptionsT(),
        fusedActivationFunction=ACTIVATIONS[activation],
        asymmetricQuantizeInputs=not symmetric,
    )
    buffers = [None if a is None else np.frombuffer(a.tobytes(), np.uint8) for a in arrays]
    operator = _filled(
        schema.OperatorT(),
        inputs=[0, 2, 3 if bias is not None else -1],
        outputs=[1],
        builtinOptionsType=schema.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=options,
    )
    dense = schema.BuiltinOperator.FULLY_CONNECTED
    model = _filled(
        schema.ModelT(),
        version=3,
        operatorCodes=[_filled(schema.OperatorCodeT(), builtinCode=dense, deprecatedBuiltinCode=dense, version=9)],
        subgraphs=[_filled(schema.SubGraphT(), tensors=tensors, inputs=[0], outputs=[1], operators=[operator])],
        buffers=[_filled(schema.BufferT(), data=data) for data in buffers],
    )
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _filled(table: object, **fields: object) -> object:
    for name, value in fields.items():
        assert hasattr(table, name), name
        setattr(table, name, value)
    return table
