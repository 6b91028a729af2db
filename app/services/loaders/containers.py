"""What is inside of model files that are containers, seen before a library unpacks or runs it.

An archive may claim to be small and unpack to a thousand times its size, name files outside of its folder, or point
to other files of this machine; a graph may read and write files. None of that is part of a model.
"""

import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from app.core.errors import ModelLoadError
from app.services.artifact_names import problem_of

_FILE_OPERATIONS = {
    "EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WholeFileReader", "WholeFileReaderV2",
    "WriteFile",
}  # fmt: skip


def check_zip(file: Path, max_bytes: int) -> None:
    """Look at what a ``.keras`` archive holds.

    Raises:
        ModelLoadError: its names leave its folder, it holds links, or it would unpack to more than `max_bytes`.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if problem := problem_of(entry.filename for entry in entries if not entry.is_dir()):
            raise ModelLoadError(f"{file.name} {problem}")
        if any(stat.S_ISLNK(entry.external_attr >> 16) for entry in entries):
            raise ModelLoadError(f"{file.name} holds a link: write it with Keras' own save()")
        _limit(file.name, sum(entry.file_size for entry in entries), max_bytes)
        for entry in entries:
            if entry.filename.endswith(".h5"):
                with archive.open(entry) as weights:
                    check_hdf5(weights, f"{entry.filename} of {file.name}", max_bytes)


def check_hdf5(file: Path | IO[bytes], name: str, max_bytes: int) -> None:
    """Look at what an HDF5 file holds.

    Raises:
        ModelLoadError: a part of it lies in another file, or its arrays would take more than `max_bytes`.
    """
    import h5py

    with h5py.File(file, "r") as content:
        _limit(name, sum(_sizes(content, name)), max_bytes)


def check_saved_model(folder: Path) -> None:
    """Look at the graphs of a SavedModel.

    Raises:
        ModelLoadError: they read or write files beside the model's own, or call Python.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    found = sorted({operation for graph in model.meta_graphs for operation in _operations(graph.graph_def)})
    if bad := [operation for operation in found if operation in _FILE_OPERATIONS]:
        raise ModelLoadError(
            f"the SavedModel holds the operations {', '.join(bad)}, which are no part of a model: export it without"
        )


def _sizes(content: Any, name: str) -> list[int]:
    """Return the bytes of each array, once it is sure that they all lie in this file."""
    import h5py

    sizes: list[int] = []

    def look(path: str, link: Any) -> str | None:
        """Note an array; return what ends the visit."""
        if isinstance(link, h5py.ExternalLink):
            return f"points to another file at {path[:100]}"
        item = content[path] if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                return f"keeps {path[:100]} in another file"
            sizes.append(int(item.nbytes))
        return None

    if problem := content.visititems_links(look):
        raise ModelLoadError(f"{name} {problem}: save the model whole")
    return sizes


def _operations(graph: Any) -> Iterable[str]:
    yield from (node.op for node in graph.node)
    for function in graph.library.function:
        yield from (node.op for node in function.node_def)


def _limit(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ModelLoadError(
            f"{name} unpacks to {size >> 20} MiB, and MODEL_MAX_BYTES allows {max_bytes >> 20} MiB"
        )
