"""Choosing the pretraining task: small models pretrained by each objective, then probed and fine-tuned on two tasks.

One tokenizer, equal width, layers, steps and tokens; what is read differs where the task needs labels: wikitext2,
entities of ncbi-disease, or questions of trec. Downstream: sentiment (sst2) and entities (wnut17).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.studies import texts
from bench.studies.study import Options, Record, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table

if TYPE_CHECKING:
    import warmstart as ws


@dataclass(frozen=True)
class Size:
    """Of pretraining and models as in `scratch_sides`; of the tasks: rows of each, passes over them."""

    steps: int = 400
    batch_tokens: int = 1024
    width: int = 128
    layers: int = 2
    vocab_size: int = 4096
    rows: int = 3394
    epochs: int = 3
    probing_epochs: int = 10


FULL, TINY = Size(), Size(3, 256, 32, 1, 1000, 40, 1, 1)
MAX_LENGTH = 128
HEADS = 4
RATE = 5e-4
ARMS = (
    ("bert", "none"),
    ("bert", "masked words"),
    ("bert", "masked spans"),
    ("bert", "replaced tokens"),
    ("bert", "entities"),
    ("bert", "text classes"),
    ("gpt2", "none"),
    ("gpt2", "causal"),
    ("xlnet", "none"),
    ("xlnet", "permutation"),
)
SCORES = {
    "sst2 probed": "sst2_probed",
    "sst2 fine-tuned": "sst2_tuned",
    "wnut17 probed": "wnut17_probed",
    "wnut17 fine-tuned": "wnut17_tuned",
}


def runs(options: Options) -> Iterator[Run]:
    """Every model and objective, seed by seed."""
    size = options.size(FULL, TINY)
    for seed in range(options.seeds):
        for family, objective in ARMS:
            key = {"family": family, "objective": objective, "seed": seed} | asdict(size)
            yield Run(key, lambda k=key: choose(options, size, k["family"], k["objective"], k["seed"]))


def choose(options: Options, size: Size, family: str, objective: str, seed: int) -> Record:
    """Pretrain, then learn each task both ways."""
    backbone = pretrained(options, size, new_model(options, size, family, seed), objective, seed)
    return sentiment(options, size, backbone, seed) | entities(options, size, backbone, seed)


def new_model(options: Options, size: Size, family: str, seed: int) -> ws.Backbone:
    """A model that has learnt nothing."""
    import warmstart as ws

    width, layers = size.width, size.layers
    fields: dict[str, dict[str, Any]] = {
        "bert": {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": HEADS,
            "intermediate_size": 4 * width,
            "max_position_embeddings": MAX_LENGTH,
        },
        "gpt2": {"n_embd": width, "n_layer": layers, "n_head": HEADS, "n_positions": MAX_LENGTH},
        "xlnet": {"d_model": width, "n_layer": layers, "n_head": HEADS, "d_inner": 4 * width},
    }
    tokenizer = ws.train_tokenizer(texts.articles(options.data), "wordpiece", size.vocab_size)
    return ws.Backbone.from_config(family, tokenizer, random_state=seed, **fields[family])


def pretrained(options: Options, size: Size, backbone: ws.Backbone, objective: str, seed: int) -> ws.Backbone:
    """The model after so many steps towards an objective."""
    import warmstart as ws

    run = {
        "strategy": ws.FullFineTuning(learning_rate=RATE),
        "max_steps": size.steps,
        "batch_tokens": size.batch_tokens,
        "max_length": MAX_LENGTH,
        "random_state": seed,
        "verbose": False,
    }
    if objective == "none":
        return backbone
    if objective == "entities":
        return ws.TokenClassifier(backbone, **run).fit(*texts.ncbi_disease(options.data, "train")).backbone_
    if objective == "text classes":
        questions = texts.trec(options.data, "train")
        return ws.TextClassifier(backbone, **run).fit(questions.texts, questions.labels).backbone_
    towards = {
        "masked words": ws.MaskedLM(),
        "masked spans": ws.MaskedLM(unit="span"),
        "replaced tokens": ws.ReplacedTokenDetection(),
        "causal": ws.CausalLM(),
        "permutation": ws.PermutationLM(memory=0),
    }
    model = ws.LanguageModel(backbone, towards[objective], cache_dir=results_folder(), **run)
    return model.fit(texts.articles(options.data)).backbone


def ways(size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    """Probing and fine-tuning."""
    import warmstart as ws

    yield "probed", {"strategy": ws.LinearProbing(), "epochs": size.probing_epochs}
    yield "tuned", {"strategy": ws.FullFineTuning(learning_rate=RATE), "epochs": size.epochs}


def sentiment(options: Options, size: Size, backbone: ws.Backbone, seed: int) -> Record:
    """Accuracy on sst2's test sentences."""
    import warmstart as ws

    train, test = texts.sst2(options.data, "train").sample(size.rows, seed), texts.sst2(options.data, "test")
    fitted = (
        (way, ws.TextClassifier(backbone, random_state=seed, verbose=False, **how).fit(train.texts, train.labels))
        for way, how in ways(size)
    )
    return {f"sst2_{way}": classifier.score(test.texts, test.labels) for way, classifier in fitted}


def entities(options: Options, size: Size, backbone: ws.Backbone, seed: int) -> Record:
    """F1 of entities on wnut17's test posts."""
    import warmstart as ws

    words, tags = (part[: size.rows] for part in texts.wnut17(options.data, "train"))  # 3,394 are all of them
    fitted = (
        (way, ws.TokenClassifier(backbone, random_state=seed, verbose=False, **how).fit(words, tags))
        for way, how in ways(size)
    )
    test = texts.wnut17(options.data, "test")
    return {f"wnut17_{way}": tagger.score(*test) for way, tagger in fitted}


def report(records: Sequence[Record]) -> str:
    """A row for each model and objective."""
    rows = []
    for family, objective in ARMS:
        found = chosen(records, family=family, objective=objective)
        rows.append([family, objective, *(spread([record[key] for record in found]) for key in SCORES.values())])
    return markdown_table(["model", "pretrained by", *SCORES], rows)


STUDY = Study(runs, report)
