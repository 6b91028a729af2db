"""Model files that are containers: what they claim, what they point to, and what they would run."""

import stat
import zipfile
from pathlib import Path

import pytest

from app.core.errors import ModelLoadError
from app.services.loaders.containers import check_hdf5, check_saved_model, check_zip
from app.services.predictor import load_predictor
from tests import models

MIB = 1 << 20


def archive(path: Path, *names: str, content: bytes = b"x", mode: int = 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            file.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize("name", ["../../evil.py", "/etc/evil", "assets/../../evil"])
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ModelLoadError, match=r"model\.keras has a file named .* leaves the model's folder"):
        check_zip(archive(tmp_path / "model.keras", "config.json", name), MIB)


def test_an_archive_with_a_link_is_refused(tmp_path):
    link = archive(tmp_path / "model.keras", "config.json", content=b"/etc/passwd", mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ModelLoadError, match="holds a link"):
        check_zip(link, MIB)


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused(tmp_path):
    bomb = archive(tmp_path / "model.keras", "a", "b", content=b"\0" * MIB)
    assert bomb.stat().st_size < MIB / 50
    check_zip(bomb, 2 * MIB)
    with pytest.raises(ModelLoadError, match="unpacks to 2 MiB, and MODEL_MAX_BYTES allows 1 MiB"):
        check_zip(bomb, 2 * MIB - 1)


@pytest.mark.tensorflow
class TestHdf5:
    def test_arrays_larger_than_allowed_are_refused(self, tmp_path):
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("w", shape=(1 << 40,), dtype="f4", chunks=(1024,))
        assert (tmp_path / "a.h5").stat().st_size < MIB
        with pytest.raises(ModelLoadError, match=r"a\.h5 unpacks to"):
            check_hdf5(tmp_path / "a.h5", "a.h5", MIB)

    @pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
    def test_what_lies_in_another_file_is_refused(self, tmp_path, kind):
        import h5py

        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["secret"] = [1.0, 2.0]
        with h5py.File(tmp_path / "a.h5", "w") as file:
            group = file.create_group("layer")
            if kind == "link":
                group["w"] = h5py.ExternalLink("other.h5", "/secret")
            elif kind == "storage":
                group.create_dataset("w", shape=(8,), dtype="u1", external=[("/etc/hostname", 0, 8)])
            else:
                layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape=(2,))
                group.create_virtual_dataset("w", layout)
        with pytest.raises(ModelLoadError, match="another file"):
            check_hdf5(tmp_path / "a.h5", "a.h5", MIB)

    def test_a_group_that_holds_itself_is_looked_at_once(self, tmp_path):
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["w"] = [1.0]
            file["again"] = file["/"]
            file["soft"] = h5py.SoftLink("/")
        check_hdf5(tmp_path / "a.h5", "a.h5", MIB)

    def test_weights_in_a_keras_archive_are_looked_at_too(self, tmp_path):
        import h5py

        with h5py.File(tmp_path / "weights.h5", "w") as file:
            file["w"] = h5py.ExternalLink("/etc/passwd", "/secret")
        weights = (tmp_path / "weights.h5").read_bytes()
        archive(tmp_path / "model.keras", "model.weights.h5", content=weights)
        with pytest.raises(
            ModelLoadError, match=r"model\.weights\.h5 of model\.keras points to another file at w"
        ):
            check_zip(tmp_path / "model.keras", MIB)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
class TestCode:
    """Files that would run code, or touch files, when they are loaded or asked."""

    def test_a_saved_model_that_reads_files_is_refused(self, tmp_path):
        import tensorflow

        class Reader(tensorflow.Module):
            @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, 2), tensorflow.float32)])
            def __call__(self, values):
                length = tensorflow.strings.length(tensorflow.io.read_file("/etc/hostname"))
                return values * tensorflow.cast(length, tensorflow.float32)

        module = Reader()
        tensorflow.saved_model.save(module, str(tmp_path), signatures=module.__call__.get_concrete_function())
        with pytest.raises(ModelLoadError, match="holds the operations ReadFile"):
            load_predictor(models.model_files(tmp_path), models.settings_for("keras"))

    def test_a_usual_saved_model_passes(self, tmp_path):
        import tensorflow

        class Double(tensorflow.Module):
            @tensorflow.function(input_signature=[tensorflow.TensorSpec((None, 2), tensorflow.float32)])
            def __call__(self, values):
                return values * 2

        module = Double()
        tensorflow.saved_model.save(module, str(tmp_path), signatures=module.__call__.get_concrete_function())
        check_saved_model(tmp_path)

    def test_a_lambda_layer_in_an_h5_file_is_not_run(self, tmp_path):
        import keras

        features = keras.Input((2,))
        model = keras.Model(features, keras.layers.Lambda(lambda values: values * 2)(features))
        model.save(tmp_path / "m.h5")
        with pytest.raises(ModelLoadError, match="Lambda layer, which is code"):
            load_predictor(models.model_files(tmp_path), models.settings_for("keras"))

    def test_the_code_of_a_lambda_layer_in_a_saved_model_of_keras_2_is_not_run(self, tmp_path, monkeypatch):
        import tf_keras

        monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
        features = tf_keras.Input((2,))
        layer = tf_keras.layers.Lambda(
            lambda x: (x * 2, __import__("os").mkdir(__import__("os").environ["TRACE"]))[0]
        )
        outputs = layer(features)
        (tmp_path / "trace").rmdir()
        monkeypatch.setattr("os.mkdir", lambda path: None)
        tf_keras.Model(features, outputs).save(tmp_path / "m", save_format="tf")
        monkeypatch.undo()
        monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
        predictor = load_predictor(models.model_files(tmp_path / "m"), models.settings_for("keras"))
        assert predictor.predict(predictor.prepare([[1.0, 2.0]]))
        assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "link.bin"])
def test_a_graph_whose_weights_lie_elsewhere_is_refused(tmp_path, location):
    import onnx

    folder = models.tiny_onnx(tmp_path / "model")
    graph = onnx.load(folder / "model.onnx")
    weights = max(graph.graph.initializer, key=lambda entry: len(entry.raw_data))
    (tmp_path / "outside.bin").write_bytes(weights.raw_data)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    size = len(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelLoadError, match="cannot load model.onnx: .*External data path"):
        load_predictor(models.model_files(folder), models.settings_for("onnx"))
