"""A DistilBERT classifier written as a fused ONNX graph, straight from its weights.

The nodes are ONNX Runtime's own fused ones (domain ``com.microsoft``: EmbedLayerNormalization, Attention,
SkipLayerNormalization, BiasGelu), documented in ONNX Runtime's ContribOperators. Writing them needs no
converter, and leaves nothing to the pattern matching of an optimizer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_OPSET = 17
_LAYER_NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class Classifier:
    """The weights of a DistilBERT classifier.

    Attributes:
        weights: arrays by the names that PyTorch gives them below ``distilbert.``, matrices as ``(out, in)``;
            the head is ``pre_classifier.*`` and ``classifier.*``.
        heads: attention heads.
        layers: transformer layers.
    """

    weights: dict[str, np.ndarray]
    heads: int
    layers: int


def read_classifier(model: Any) -> Classifier:
    """Take the weights out of a ``TFDistilBertForSequenceClassification``."""
    from ml.base_models import parameter_name

    weights: dict[str, np.ndarray] = {}
    for variable in model.weights:
        path = variable.name.split(":")[0].split("/")[1:]
        if path[0] == "distilbert":
            name = parameter_name(path[1:])
        else:
            name = f"{path[0]}.{'weight' if path[-1] == 'kernel' else 'bias'}"
        value = variable.numpy()
        weights[name] = np.ascontiguousarray(value.T) if path[-1] == "kernel" else value
    return Classifier(weights, model.config.n_heads, model.config.n_layers)


def write_graph(classifier: Classifier, path: Path) -> None:
    """Write the fp32 graph: ``input_ids`` and ``attention_mask`` (int32, batch × tokens) to ``logits``.

    Its metadata say how many tokens it has positions for, which a loader can hold a folder's windows to.
    """
    import onnx

    builder = _Builder(classifier)
    graph = builder.build()
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET), onnx.helper.make_opsetid("com.microsoft", 1)],
        producer_name="marquee",
    )
    positions = len(classifier.weights["embeddings.position_embeddings"])
    onnx.helper.set_model_props(model, {"max_position_embeddings": str(positions)})
    model.ir_version = 9  # The oldest that this opset needs: older runtimes read it too.
    onnx.save(model, str(path))


class _Builder:
    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> Any:
        from onnx import TensorProto, helper

        hidden = self._embed()
        for layer in range(self._classifier.layers):
            hidden = self._layer(hidden, f"layer.{layer}")
        first = self._node(
            "Gather", [hidden, self._constant("first", np.array(0, dtype=np.int64))], "pooled", axis=1
        )
        pre = self._linear(first, "pre_classifier")
        active = self._node("Relu", [pre], "pre_classifier.active")
        self._linear(active, "classifier", output="logits")
        labels = self._weight("classifier.bias").shape[0]
        return helper.make_graph(
            self._nodes,
            "distilbert",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "tokens"]),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["batch", "tokens"]),
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
            self._constants,
        )

    def _embed(self) -> str:
        names = ["word_embeddings", "position_embeddings"]
        tables = [self._constant(f"embeddings.{name}", self._weight(f"embeddings.{name}")) for name in names]
        scale, shift = self._norm("embeddings.LayerNorm")
        self._node(
            "EmbedLayerNormalization",
            ["input_ids", "", tables[0], tables[1], "", scale, shift],
            "embeddings",
            extra_outputs=["embeddings.mask_index"],
            epsilon=_LAYER_NORM_EPSILON,
        )
        return "embeddings"

    def _layer(self, hidden: str, layer: str) -> str:
        kernels = [self._weight(f"{layer}.attention.{part}_lin.weight").T for part in "qkv"]
        biases = [self._weight(f"{layer}.attention.{part}_lin.bias") for part in "qkv"]
        attended = self._node(
            "Attention",
            [
                hidden,
                self._constant(f"{layer}.attention.kernel", np.concatenate(kernels, axis=1)),
                self._constant(f"{layer}.attention.bias", np.concatenate(biases)),
                "attention_mask",
            ],
            f"{layer}.attention",
            num_heads=self._classifier.heads,
        )
        projected = self._matmul(attended, f"{layer}.attention.out_lin")
        hidden = self._skip_norm(
            projected, hidden, f"{layer}.sa_layer_norm", f"{layer}.attention.out_lin.bias"
        )
        inner = self._matmul(hidden, f"{layer}.ffn.lin1")
        bias = self._constant(f"{layer}.ffn.lin1.bias", self._weight(f"{layer}.ffn.lin1.bias"))
        inner = self._node("BiasGelu", [inner, bias], f"{layer}.ffn.gelu")
        inner = self._matmul(inner, f"{layer}.ffn.lin2")
        return self._skip_norm(inner, hidden, f"{layer}.output_layer_norm", f"{layer}.ffn.lin2.bias")

    def _skip_norm(self, value: str, skip: str, norm: str, bias: str) -> str:
        scale, shift = self._norm(norm)
        inputs = [value, skip, scale, shift, self._constant(bias, self._weight(bias))]
        return self._node("SkipLayerNormalization", inputs, norm, epsilon=_LAYER_NORM_EPSILON)

    def _linear(self, value: str, name: str, output: str | None = None) -> str:
        product = self._matmul(value, name)
        bias = self._constant(f"{name}.bias", self._weight(f"{name}.bias"))
        return self._node("Add", [product, bias], output or f"{name}.sum")

    def _matmul(self, value: str, name: str) -> str:
        kernel = self._constant(f"{name}.kernel", self._weight(f"{name}.weight").T)
        return self._node("MatMul", [value, kernel], f"{name}.product")

    def _norm(self, name: str) -> tuple[str, str]:
        return (
            self._constant(f"{name}.weight", self._weight(f"{name}.weight")),
            self._constant(f"{name}.bias", self._weight(f"{name}.bias")),
        )

    def _weight(self, name: str) -> np.ndarray:
        return self._classifier.weights[name]

    def _constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self._constants.append(
            numpy_helper.from_array(value if value.ndim == 0 else np.ascontiguousarray(value), name)
        )
        return name

    def _node(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        extra_outputs: list[str] | None = None,
        **attributes: Any,
    ) -> str:
        from onnx import helper

        fused = kind in {"EmbedLayerNormalization", "Attention", "SkipLayerNormalization", "BiasGelu"}
        self._nodes.append(
            helper.make_node(
                kind,
                inputs,
                [output, *(extra_outputs or [])],
                name=f"{output}/{kind}",
                domain="com.microsoft" if fused else "",
                **attributes,
            )
        )
        return output
