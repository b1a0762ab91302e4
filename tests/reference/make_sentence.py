"""Writes `sentence/`: tiny sentence-transformers directories, and what `SentenceTransformer.encode` makes of texts.

    HF_HUB_OFFLINE=1 python tests/reference/make_sentence.py tests/reference/sentence

Recorded with sentence-transformers 6.2.0, transformers 5.24.0 and torch 2.15. Directories named ``v2_*`` are, by hand,
as its versions 2 to 5 wrote them; the others as 6.2 saves them.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "film", "plot", "was", "very", "and", "it", "story"]
WORDS += ["good", "great", "fine", "bad", "awful", "poor", "long", "short", "old"]
TEXTS = [
    "the film was very good",
    "The Plot was BAD",
    " it was awful and long ",
    "poor",
    "",
    "the old film was great and the story was very long and the plot was good and it was a very fine film and old",
]
OLD = "sentence_transformers.models."
FLAGS = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]


def base(directory: Path) -> Path:
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(directory / "vocab.txt"), do_lower_case=False, model_max_length=20)
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=24, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(directory)
    return directory


def write_old(directory: Path, modules: list[tuple[str, str]], pooling: set[str], sentence: tuple[str, dict]) -> None:
    rows = [{"idx": i, "name": str(i), "path": path, "type": OLD + kind} for i, (kind, path) in enumerate(modules)]
    (directory / "modules.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    (directory / sentence[0]).write_text(json.dumps(sentence[1]), encoding="utf-8")
    config = {"word_embedding_dimension": 8} | {f"pooling_mode_{flag}": flag in pooling for flag in FLAGS}
    folder = directory / modules[1][1]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def main(out: Path) -> None:
    out.mkdir()
    plain = base(out / "plain")

    def saved(name, *modules, **prompts) -> None:
        SentenceTransformer(modules=list(modules), device="cpu", **prompts).save(str(out / name))
        (out / name / "README.md").unlink()

    def transformer(**options) -> Transformer:
        return Transformer(str(plain), **options)

    torch.manual_seed(1)
    saved("max_norm", transformer(max_seq_length=6), Pooling(8, "max"), Normalize())
    saved("turned", transformer(), Pooling(8, ("mean_sqrt_len_tokens", "weightedmean", "lasttoken", "cls")))
    saved("dense", transformer(), Pooling(8), Dense(8, 5), Normalize())
    relu = Dense(16, 6, bias=False, activation_function=torch.nn.ReLU())
    saved("dense_twice", transformer(), Pooling(8, ("cls", "mean")), relu, Dense(6, 4, activation_function=None))
    prompts = {"query": "the film ", "document": ""}
    saved("prompt", transformer(), Pooling(8), prompts=prompts, default_prompt_name="query")

    # A limit and a case of its own, a pooling in another folder, an old name of the file.
    old = out / "v2_lower"
    shutil.copytree(plain, old)
    modules = [("Transformer", ""), ("Pooling", "7_Pooling"), ("Normalize", "2_Normalize")]
    limit = ("sentence_roberta_config.json", {"max_seq_length": 12, "do_lower_case": True})
    write_old(old, modules, {"cls_token", "mean_tokens"}, limit)
    # The transformer in a folder, dense weights as PyTorch writes them, in half precision.
    nested = out / "v2_nested"
    nested.mkdir()
    shutil.copytree(plain, nested / "0_Transformer")
    dense = [("Transformer", "0_Transformer"), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]
    limit = ("0_Transformer/sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": False})
    write_old(nested, dense, set(), limit)
    (nested / "2_Dense").mkdir()
    config = {
        "in_features": 8,
        "out_features": 3,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.GELU",
    }
    (nested / "2_Dense" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = {"linear.weight": torch.randn(3, 8).half(), "linear.bias": torch.randn(3).half()}
    torch.save(weights, nested / "2_Dense" / "pytorch_model.bin")

    names = sorted(path.name for path in out.iterdir() if path != plain)
    vectors = {}
    for name in names:
        model = SentenceTransformer(str(out / name), device="cpu")
        vectors[name] = model.encode(TEXTS)
    shutil.rmtree(plain)
    np.savez(out / "expected.npz", **vectors)
    versions = {module.__name__: module.__version__ for module in (sentence_transformers, transformers, torch)}
    (out / "expected.json").write_text(json.dumps({"texts": TEXTS, "versions": versions}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
