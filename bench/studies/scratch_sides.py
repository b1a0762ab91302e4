"""Models that have learnt nothing, and how each side of :mod:`bench.studies.scratch` trains them."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.studies import texts
from bench.studies.kneser_ney import KneserNey
from bench.studies.models import Shape, new_model
from bench.studies.study import Options, Record, results_folder

if TYPE_CHECKING:
    import warmstart as ws

ORDER = 5
FAMILIES = {"bert": "masked", "gpt2": "causal", "xlnet": "permutation"}
DTYPES = {"transformers": "float32", "transformers, float64": "float64"}
TOKENIZERS = {"bert": "wordpiece", "gpt2": "bpe", "xlnet": "unigram"}

Batch = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Size(Shape):
    """And optimiser steps, evaluations among them, tokens of a step, learning rate."""

    steps: int = 200
    evaluations: int = 4
    batch_tokens: int = 1024
    rate: float = 1e-3


def corpus_texts(options: Options, corpus: str) -> tuple[list[str], list[str]]:
    """Documents to train on, and those held out."""
    return texts.held_out(texts.articles(options.data) if corpus == "wikitext2" else texts.scenes(options.data, 2000))


def begin(size: Size, documents: list[str], family: str, seed: int) -> ws.LanguageModel:
    """A model that has learnt nothing, with a tokenizer of these documents."""
    import warmstart as ws

    objectives = {"bert": ws.MaskedLM(), "gpt2": ws.CausalLM(), "xlnet": ws.PermutationLM(memory=0)}
    tokenizer = ws.train_tokenizer(documents, TOKENIZERS[family], size.vocab_size)
    return ws.LanguageModel(
        new_model(family, size, tokenizer, seed, dropout=False),
        objectives[family],
        learning_rate=size.rate,
        max_steps=size.steps,
        batch_tokens=size.batch_tokens,
        max_length=size.max_length,
        eval_every=size.steps // size.evaluations,
        precision="f32",
        random_state=seed,
        cache_dir=results_folder(),
        verbose=False,
    )


def batches(model: ws.LanguageModel, documents: list[str], evaluation: bool) -> list[list[Batch]]:
    """What the model will see of these documents: the batches of each step."""
    _, run = model._prepare(documents, None, "text", "stop")
    return run.batches(evaluation)


def train(options: Options, size: Size, corpus: str, family: str, side: str, seed: int) -> Record:
    """One side: held-out losses ``[step, loss]`` and training losses, of ours at most ten a second."""
    documents, held_out = corpus_texts(options, corpus)
    model = begin(size, documents, family, seed)
    if side in DTYPES:
        return transformers_side(options, model, DTYPES[side], documents, held_out)
    history = model.fit(documents, eval_set=held_out).history_
    return {
        "held_out": [(row["step"], row["eval_loss"]) for row in history.rows],
        "training": [(step["step"], step["loss"]) for step in history.steps],
    }


def transformers_side(
    options: Options, model: ws.LanguageModel, dtype: str, documents: list[str], held_out: list[str]
) -> Record:
    """Hand weights and batches to a process of the peers' environment."""
    import numpy as np
    import warmstart as ws
    from warmstart.strategy import UpdateRule

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save(folder / "model")
        for name, texts_, evaluation in (("training", documents, False), ("held_out", held_out, True)):
            arrays = {
                f"{step:06d}.{i:06d}.{key}": values
                for step, in_step in enumerate(batches(model, texts_, evaluation))
                for i, batch in enumerate(in_step)
                for key, values in batch.items()
            }
            np.savez(folder / f"{name}.npz", **arrays)
        rule = UpdateRule.of(ws.FullFineTuning(), model.optimizer, model.learning_rate)
        steps = rule.optimizer.to_dict() | {"learning_rate": rule.learning_rate}
        settings = json.dumps(steps | {"eval_every": model.eval_every, "dtype": dtype})
        (folder / "settings.json").write_text(settings, encoding="utf-8")
        command = [str(options.peers), "-m", "bench.studies.scratch_transformers", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: Record = json.loads(done.stdout.splitlines()[-1])
    return result


def count(options: Options, size: Size, corpus: str) -> Record:
    """The n-gram model of the sequences that GPT-2 trains on, all of them, and its perplexity on those held out."""
    documents, held_out = corpus_texts(options, corpus)
    model = begin(size, documents, "gpt2", 0)
    model.max_steps = None  # one pass
    counted, asked = (
        [ids for step in batches(model, part, evaluation) for batch in step for ids in sequences(batch)]
        for part, evaluation in ((documents, False), (held_out, True))
    )
    tokens = sum(map(len, counted))
    return {"perplexity": KneserNey(counted, ORDER, size.vocab_size).perplexity(asked), "tokens": tokens}


def sequences(batch: Batch) -> list[Any]:
    """The ids of each sequence of a batch."""
    starts = batch["cu_seqlens"]
    return [batch["ids"][first:end] for first, end in itertools.pairwise(starts)]
