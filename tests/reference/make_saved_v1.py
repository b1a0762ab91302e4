"""Writes `saved_v1/`: what warmstart at commit 01776b9 saved, with what it predicted then. Never run again.

    python tests/reference/make_saved_v1.py tests/reference/saved_v1

It needs the build of that commit: files of format version 1 are made by no other. Numbers are of
``WARMSTART_INSTRUCTIONS=baseline`` and float32, which are the same on every processor.
"""

import contextlib
import json
import os
import pickle
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["WARMSTART_INSTRUCTIONS"] = "baseline"

import numpy as np
import warmstart as ws
from warmstart.monitor import FitMonitor

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["the", "a", "film", "plot", "was", "very", "and", "it", "story"]
WORDS += ["good", "great", "fine", "bad", "awful", "poor", "long", "short", "old"]
BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
TEXTS = [
    "the film was very good",
    "the plot was bad",
    "a great story and a fine film",
    "it was awful and long",
    "good good good",
    "poor",
    "the old film was great and the story was very long and the plot was good and it was a very fine film and old",
    "an unknown story",
]
NAMES = ["pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg"]
KINDS = ["good", "bad", "mixed", "bad", "good", "bad", "mixed", "mixed"]
LABELS = [["praise"], ["blame"], ["praise", "length"], ["blame", "length"], ["praise"], ["blame"], ["praise"], []]
SPANS = [[(18, 22, "praise")], [(13, 16, "blame")], [(2, 7, "praise"), (20, 24, "praise")], [(7, 12, "blame")]]
CORPUS = [f"{a} and {b}" for a in TEXTS for b in TEXTS]
RUN = {"precision": "f32", "random_state": 0, "verbose": False}


def tokenizer(directory: Path) -> Path:
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 20}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


def main(out: Path) -> None:
    out = out.absolute()
    out.mkdir()
    os.chdir(tempfile.mkdtemp())  # what is saved names the directories that it came from
    files = tokenizer(Path("tokenizer"))
    bert = ws.Backbone.from_config(BERT, files, random_state=0)
    gpt2 = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 24, "initializer_range": 0.3}
    xlnet = {"d_model": 8, "n_layer": 2, "n_head": 2, "d_head": 4, "d_inner": 12, "initializer_range": 0.3}
    gpt2 = ws.Backbone.from_config("gpt2", bert.tokenizer, random_state=0, **gpt2)
    xlnet = ws.Backbone.from_config("xlnet", bert.tokenizer, random_state=0, **xlnet)
    # A sentence encoder: its directory asks for max pooling, and as sentence-transformers 5 writes it for 6 tokens.
    sentences = Path("sentences")
    bert.save_pretrained(sentences)
    (sentences / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}
    (sentences / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
    ]
    (sentences / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (sentences / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 6, "do_lower_case": false}', encoding="utf-8"
    )
    sentences = ws.Backbone.from_pretrained(sentences)

    expected = {"texts": TEXTS, "versions": {"warmstart": "01776b9", "numpy": np.__version__}}
    arrays = {"backbone": sentences.embed(TEXTS, precision="f32")}
    full = ws.FullFineTuning(learning_rate=1e-2, layer_decay=0.9, schedule="cosine", label_smoothing=0.1)
    probing = ws.LinearProbing(learning_rate=0.1)
    classifiers = {
        "full": (ws.TextClassifier(bert, strategy=full, epochs=4, class_weight={"mixed": 2.0}, **RUN), KINDS),
        "probing": (ws.TextClassifier(bert, strategy=probing, epochs=4, max_length=16, **RUN), NAMES),
        "default": (ws.TextClassifier(bert, max_steps=3, **RUN), NAMES),
        "multi_label": (ws.TextClassifier(bert, strategy=full, multi_label=True, metric="macro_f1", **RUN), LABELS),
        "decoder": (ws.TextClassifier(gpt2, strategy=full, epochs=2, **RUN), [0, 1] * 4),
        "permuting": (ws.TextClassifier(xlnet, strategy=full, epochs=2, **RUN), [True, False] * 4),
        "sentences": (ws.TextClassifier(sentences, strategy=full, epochs=2, **RUN), NAMES),
    }
    for name, (clf, labels) in classifiers.items():
        clf.fit(TEXTS, labels, eval_set=(TEXTS, labels))
        clf.save(out / name)
        arrays[f"{name}.logits"] = clf._logits(TEXTS)
        arrays[f"{name}.embed"] = clf.backbone_.embed(TEXTS, precision="f32")
        expected[name] = {"predict": clf.predict(TEXTS).tolist(), "best_step": clf.history_.best_step}
    tagger = ws.TokenClassifier(bert, strategy=full, epochs=4, **RUN)
    tagger.fit(TEXTS[:4], SPANS, eval_set=(TEXTS[:4], SPANS))
    tagger.save(out / "tagger")
    arrays["tagger.logits"] = tagger._logits(TEXTS)[1]
    expected["tagger"] = {"predict_tags": tagger.predict_tags(TEXTS)}

    os.environ["WARMSTART_CACHE"] = str(out / "cache")
    language = {"strategy": full, "max_steps": 6, "batch_tokens": 96, "max_length": 20, "eval_every": 3, **RUN}
    models = {
        "masked": ws.LanguageModel(bert, **language),
        "causal": ws.LanguageModel(gpt2, **language),
        "permutation": ws.LanguageModel(xlnet, ws.PermutationLM(), **language),
        "detector": ws.LanguageModel(bert, ws.ReplacedTokenDetection(generator=bert), **language),
    }
    for name, model in models.items():
        model.fit(CORPUS, eval_set=TEXTS)
        model.save(out / name)
        if name != "detector":
            arrays[f"{name}.score"] = np.concatenate(model.score(TEXTS))
        expected[name] = {"rows": len(model.history_.rows)}
    shutil.rmtree(out / "cache")
    (out / "corpus.txt").write_text("\n\n".join(CORPUS), encoding="utf-8")
    # A checkpoint of a run that was stopped at its fourth step, that of a finished run, and the corpus in the cache.
    settings = {**language, "eval_every": 2, "checkpoint_every": 2}
    evaluate = FitMonitor.on_evaluate

    def stop(self, logits, record):
        score = evaluate(self, logits, record)
        if record["step"] == 4:
            raise KeyboardInterrupt
        return score

    FitMonitor.on_evaluate = stop
    with contextlib.suppress(KeyboardInterrupt):
        ws.LanguageModel(bert, checkpoint_dir=out / "checkpoint", **settings).fit(out / "corpus.txt", eval_set=TEXTS)
    FitMonitor.on_evaluate = evaluate
    finished = ws.LanguageModel(bert, checkpoint_dir=out / "checkpoint_finished", **settings)
    finished.fit(out / "corpus.txt", eval_set=TEXTS)
    arrays["checkpoint.score"] = np.concatenate(finished.score(TEXTS))

    pickles = {
        "backbone": sentences,
        "tokenizer": bert.tokenizer,
        "classifier": classifiers["probing"][0],
        "tagger": tagger,
        "masked": models["masked"],
        "detector": models["detector"],
        "features": ws.FeatureExtractor(sentences, precision="f32"),
        "strategy": full,
    }
    for name, value in pickles.items():
        (out / f"{name}.pickle").write_bytes(pickle.dumps(value, protocol=4))
    np.savez(out / "expected.npz", **arrays)
    (out / "expected.json").write_text(json.dumps(expected, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
