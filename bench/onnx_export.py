"""A Hugging Face directory as ONNX: fused by ONNX Runtime's transformer optimiser, in f32 and in dynamic int8.

The older exporter and eager attention, because the optimiser knows that graph and fuses its attention. Of the ways of
quantising, int8 weights with one scale a tensor ran fastest here.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.assets import ROOT
from bench.environment import quiet_and_offline
from bench.machine import versions

FILES = {"f32": "model.onnx", "int8": "model-int8.onnx"}


def exported(model_dir: Path, precision: str) -> Path:
    """The file, made once per model and versions in a process of its own so that this one's memory stays clean.

    Raises
    ------
    CalledProcessError
        If the export failed; its output has been shown.
    """
    name = "-".join(versions("torch", "transformers", "onnxruntime").values())
    folder = model_dir.parent / f"onnx-{model_dir.name}-{name}"
    if not all((folder / file).is_file() for file in FILES.values()):
        command = [sys.executable, "-m", "bench.onnx_export", str(model_dir), str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return folder / FILES[precision]


def export(model_dir: Path, folder: Path) -> None:
    """Write both files; the folder's files appear complete or not at all."""
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import AutoModel

    class LastHiddenState(torch.nn.Module):  # type: ignore[misc]
        """Ids and mask ``[B, T]`` to hidden states ``[B, T, D]``."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    model = AutoModel.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()
    example = torch.ones(2, 16, dtype=torch.long)
    names = ["input_ids", "attention_mask"]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as scratch:
        raw, fused, int8 = (Path(scratch) / name for name in ("raw.onnx", *FILES.values()))
        torch.onnx.export(
            LastHiddenState(model),
            (example, example),
            str(raw),
            dynamo=False,
            input_names=names,
            output_names=["hidden"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, "hidden"]},
        )
        heads, width = model.config.num_attention_heads, model.config.hidden_size
        optimize_model(str(raw), model_type="bert", num_heads=heads, hidden_size=width).save_model_to_file(str(fused))
        types = {"DefaultTensorType": onnx.TensorProto.FLOAT}  # of the outputs of fused nodes
        quantize_dynamic(str(fused), str(int8), weight_type=QuantType.QInt8, extra_options=types)
        for file in (fused, int8):
            file.rename(folder / file.name)


def main() -> None:
    """Parse the command line, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    quiet_and_offline()
    export(options.model, options.folder)


if __name__ == "__main__":
    main()
