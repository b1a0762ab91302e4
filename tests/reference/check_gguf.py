"""Check that transformers, reading the same GGUF file, gives warmstart's probabilities.

Run by hand, first where warmstart is installed, then where torch, transformers and gguf are:

    python tests/reference/check_gguf.py write FILE.gguf EXPECTED.json
    python tests/reference/check_gguf.py check FILE.gguf EXPECTED.json

The first writes what warmstart makes of some texts in float32: the logarithm of each token's probability given those
before it. The second prints the largest and the mean difference to what transformers makes of them, which reads the
file by itself and de-quantises it; it exits with 1 if ids differ or a difference exceeds 1e-3 or is not a number.
"""

import json
import sys
from pathlib import Path

TOLERANCE = 1e-3
TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "Photosynthesis is the process by which plants turn light, water and carbon dioxide to sugar. 12345 naïve 日本 🙂",
)


def write(model, target):
    import warmstart as ws

    opened = ws.LanguageModel.from_pretrained(model, precision="f32", verbose=False)
    ids = opened.backbone.tokenizer.encode(list(TEXTS))
    scores = [own[1:].tolist() for own in opened.token_log_probs(TEXTS)]
    target.write_text(json.dumps({"ids": ids, "scores": scores}))


def check(model, source):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
    reference = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**place)
    expected, differences, same = json.loads(source.read_text()), [], True
    for text, ids, scores in zip(TEXTS, expected["ids"], expected["scores"], strict=True):
        same = same and tokenizer(text)["input_ids"] == ids
        with torch.inference_mode():
            said = reference(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        differences.append((said.gather(1, torch.tensor(ids[1:])[:, None])[:, 0] - torch.tensor(scores)).abs())
    all_of_them = torch.cat(differences)
    largest = all_of_them.max().item()
    print(
        f"{len(all_of_them)} tokens, ids {'equal' if same else 'differ'}, differences of log probabilities: largest "
        f"{largest:.2e}, mean {all_of_them.mean().item():.2e}"
    )
    return same and largest <= TOLERANCE


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    function = write if sys.argv[1] == "write" else check
    sys.exit(1 if function(Path(sys.argv[2]), Path(sys.argv[3])) is False else 0)
