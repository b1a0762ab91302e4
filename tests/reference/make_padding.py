"""Record what RoBERTa and its kin make of padding ids that stand in a text: `padding.safetensors`, beside this file.

Run by hand, in the environment of make_reference.py: python tests/reference/make_padding.py

Of each model `families/<name>/`: `<name>.ids` [T], with its padding id at the beginning, in the middle, twice in a row
and at the end; `<name>.hidden` [T, D], the last hidden states, computed in float64 and stored as float32. The attention
mask is 1 everywhere: a tokenizer of transformers gives a `<pad>` that is written in a text that mask.
"""

from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
MODELS = {"roberta_a": "RobertaModel", "roberta_b": "XLMRobertaModel", "camembert": "CamembertModel"}
P = None
IDS = [P, 7, 11, P, P, 9, 30, P, 13, 12, P]

if __name__ == "__main__":
    print(torch.__version__, transformers.__version__)
    recorded = {}
    for name, kind in MODELS.items():
        directory = HERE / "families" / name
        model = getattr(transformers, kind).from_pretrained(directory, dtype=torch.float64, add_pooling_layer=False)
        ids = torch.tensor([model.config.pad_token_id if i is P else i for i in IDS])
        with torch.inference_mode():
            hidden = model.eval()(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).last_hidden_state[0]
        recorded |= {f"{name}.ids": ids, f"{name}.hidden": hidden.to(torch.float32).contiguous()}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    save_file(recorded, HERE / "padding.safetensors", metadata=versions)
