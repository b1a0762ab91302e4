"""Write what `torch.save` makes of things beside a plain state dict: `torch_files/`, beside this file.

Run by hand, in the environment of make_reference.py: python tests/reference/make_torch_files.py

- `expanded.bin`: `bert_b_bin/` with a bias that is one number and segment embeddings that are one row, both expanded:
  tensors of stride 0, whose storage is smaller than they are.
- `training_state.bin`: what a training loop keeps; weights, optimiser and counters in one dict.
- `lightning.ckpt`: the same as PyTorch Lightning lays it out, with a class among the hyperparameters.
"""

import argparse
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "torch_files"

if __name__ == "__main__":
    print(torch.__version__)
    FOLDER.mkdir(exist_ok=True)
    state = torch.load(HERE / "bert_b_bin" / "pytorch_model.bin")
    bias, segments = "encoder.layer.0.output.dense.bias", "embeddings.token_type_embeddings.weight"
    state[bias] = torch.tensor([0.25]).expand(state[bias].shape)
    state[segments] = state[segments][:1].clone().expand(state[segments].shape)
    assert state[bias].stride() == (0,)
    assert state[segments].stride() == (0, 1)
    torch.save(state, FOLDER / "expanded.bin")

    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    weights, steps = model.state_dict(), optimizer.state_dict()
    kept = {"epoch": 3, "model_state_dict": weights, "optimizer_state_dict": steps, "loss": 0.25}
    torch.save(kept, FOLDER / "training_state.bin")
    lightning = {"epoch": 3, "global_step": 9, "pytorch-lightning_version": "2.4.0", "state_dict": weights, "loops": {}}
    torch.save(lightning | {"hyper_parameters": argparse.Namespace(lr=1e-3)}, FOLDER / "lightning.ckpt")
