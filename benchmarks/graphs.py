"""Graphs that only benchmarks need: one of plain ONNX operators, its static int8 version, single matrix products."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import CACHE, HEADS, LAYERS, WORDS, random_classifier

_OPSET = 17
_CALIBRATION = 16


def plain(width: int) -> Path:
    """Return the graph of `models.graph` without ONNX Runtime's fused operators, which OpenVINO does not know."""
    import onnx

    target = CACHE / "models" / f"{LAYERS}x{width}-plain.onnx"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        half_done = target.with_suffix(".part")
        onnx.save(_Plain(width).build(), str(half_done))
        half_done.replace(target)
    return target


def static(width: int) -> Path:
    """Return the plain graph with its matrix products as static int8 (QDQ), calibrated on random ids."""
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Random(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = self._draw()

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

        def _draw(self) -> Iterator[dict[str, np.ndarray]]:
            generator = np.random.default_rng(3)
            for _ in range(_CALIBRATION):
                ids = generator.integers(0, WORDS, (1, 64)).astype(np.int32)
                yield {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    target = CACHE / "models" / f"{LAYERS}x{width}-static.onnx"
    if not target.is_file():
        half_done = target.with_suffix(".part")
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)
        try:
            quantize_static(
                plain(width),
                half_done,
                Random(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                extra_options={"MatMulConstBOnly": True},
            )
        finally:
            logging.root.setLevel(level)
        half_done.replace(target)
    return target


class _Plain:
    def __init__(self, width: int) -> None:
        self._weights = random_classifier(width).weights
        self._width = width
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def build(self) -> Any:
        from onnx import TensorProto, helper

        hidden = self._embed()
        mask = self._op("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        hole = self._op("Sub", [mask, self._number("one", 1.0)])
        # (batch, 1, 1, tokens): nothing where a token is, very little where none is.
        mask = self._op(
            "Unsqueeze", [self._op("Mul", [hole, self._number("much", 1e4)]), self._integers("axes", [1, 2])]
        )
        for index in range(LAYERS):
            hidden = self._layer(hidden, mask, f"layer.{index}")
        first = self._op("Gather", [hidden, self._integers("first", 0)], axis=1)
        active = self._op("Relu", [self._linear(first, "pre_classifier")])
        logits = self._linear(active, "classifier")
        self._nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        shape = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "plain",
            [
                helper.make_tensor_value_info(name, TensorProto.INT32, shape)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = 9
        return model

    def _embed(self) -> str:
        words = self._op("Gather", [self._weight("embeddings.word_embeddings"), "input_ids"])
        tokens = self._op("Gather", [self._op("Shape", ["input_ids"]), self._integers("one.index", 1)])
        places = self._op("Range", [self._integers("zero", 0), tokens, self._integers("step", 1)])
        positions = self._op("Gather", [self._weight("embeddings.position_embeddings"), places])
        return self._norm(self._op("Add", [words, positions]), "embeddings.LayerNorm")

    def _layer(self, hidden: str, mask: str, layer: str) -> str:
        size = self._width // HEADS
        split = self._integers("split", [0, 0, HEADS, size])
        queries, keys, values = (
            self._op(
                "Transpose",
                [self._op("Reshape", [self._linear(hidden, f"{layer}.attention.{part}_lin"), split])],
                perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3],
            )
            for part in "qkv"
        )
        scores = self._op("Mul", [self._op("MatMul", [queries, keys]), self._number("scale", size**-0.5)])
        shares = self._op("Softmax", [self._op("Add", [scores, mask])], axis=-1)
        context = self._op("Transpose", [self._op("MatMul", [shares, values])], perm=[0, 2, 1, 3])
        joined = self._op("Reshape", [context, self._integers("join", [0, 0, self._width])])
        attended = self._linear(joined, f"{layer}.attention.out_lin")
        hidden = self._norm(self._op("Add", [attended, hidden]), f"{layer}.sa_layer_norm")
        inner = self._linear(hidden, f"{layer}.ffn.lin1")
        error = self._op("Erf", [self._op("Mul", [inner, self._number("root", 0.5**0.5)])])
        gate = self._op(
            "Mul", [self._op("Add", [error, self._number("one", 1.0)]), self._number("half", 0.5)]
        )
        outer = self._linear(self._op("Mul", [inner, gate]), f"{layer}.ffn.lin2")
        return self._norm(self._op("Add", [outer, hidden]), f"{layer}.output_layer_norm")

    def _linear(self, value: str, name: str) -> str:
        kernel = self._constant(f"{name}.kernel", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._op("Add", [self._op("MatMul", [value, kernel]), self._weight(f"{name}.bias")])

    def _norm(self, value: str, name: str) -> str:
        inputs = [value, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        return self._op("LayerNormalization", inputs, axis=-1, epsilon=1e-12)

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, dtype=np.float32))

    def _integers(self, name: str, value: Any) -> str:
        return self._constant(name, np.array(value, dtype=np.int64))

    def _constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self._constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def _op(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def product(rows: int, inner: int, columns: int, precision: str) -> bytes:
    """Return a graph of one matrix product, ``left`` × constant.

    Args:
        rows, inner, columns: the shape.
        precision: ``fp32``; ``int8``, uint8 × int8 to int32; or ``int8 QDQ``, floats that are quantised on the way in.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(1)
    # Seven bits, as the weights of the models have.
    kernel: np.ndarray = generator.integers(-64, 64, (inner, columns)).astype(np.int8)
    left, out = TensorProto.FLOAT, TensorProto.FLOAT
    constants = {"right": kernel}
    if precision == "fp32":
        constants = {"right": kernel.astype(np.float32)}
        nodes = [helper.make_node("MatMul", ["left", "right"], ["out"])]
    elif precision == "int8":
        left, out = TensorProto.UINT8, TensorProto.INT32
        nodes = [helper.make_node("MatMulInteger", ["left", "right"], ["out"])]
    else:
        constants |= {
            "scale": np.array(1.0, np.float32),
            "zero": np.array(0, np.uint8),
            "signed zero": np.array(0, np.int8),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["left", "scale", "zero"], ["quantised"]),
            helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["left again"]),
            helper.make_node("DequantizeLinear", ["right", "scale", "signed zero"], ["kernel"]),
            helper.make_node("MatMul", ["left again", "kernel"], ["out"]),
        ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("left", left, [rows, inner])],
        [helper.make_tensor_value_info("out", out, [rows, columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 9
    return bytes(onnx.ModelProto.SerializeToString(model))
