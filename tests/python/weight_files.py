"""Safetensors files of float32, read and written."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]


def weights_in(path: Path) -> Weights:
    """Read a safetensors file of float32."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)

    def tensor(entry: dict[str, list[int]]) -> NDArray[np.float32]:
        first, end = entry["data_offsets"]
        return np.frombuffer(content[start + first : start + end], np.float32).reshape(entry["shape"])

    return {name: tensor(entry) for name, entry in header.items()}


def write_weights(path: Path, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a safetensors file of float32."""
    header, end = {}, 0
    for name, values in weights.items():
        offsets = [end, end + values.nbytes]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(values.tobytes() for values in weights.values()))
