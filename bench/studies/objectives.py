"""Choosing the pretraining task: small models pretrained by each objective, then probed and fine-tuned on two tasks.

One tokenizer, equal width, layers, steps and tokens; what is read differs where the task needs labels: wikitext2,
entities of ncbi-disease, or questions of trec. Downstream: sentiment (sst2) and entities (wnut17).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.studies import texts
from bench.studies.models import Shape, new_model
from bench.studies.study import Options, Record, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table

if TYPE_CHECKING:
    import warmstart as ws


@dataclass(frozen=True, kw_only=True)
class Size(Shape):
    """And of pretraining: steps, tokens of each, rate. Of a task: rows, tokens of a step, rates, passes over them."""

    steps: int = 1000
    batch_tokens: int = 2048
    rate: float = 1e-3
    rows: int = 3394
    tuning_tokens: int = 512
    tuning_rate: float = 1e-3
    epochs: int = 5
    probing_rate: float = 1e-2
    probing_epochs: int = 30


FULL = Size()
TINY = Size(width=32, layers=1, vocab_size=1000, steps=3, batch_tokens=256, rows=40, epochs=1, probing_epochs=1)
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
    backbone = pretrained(options, size, family, objective, seed)
    return sentiment(options, size, backbone, seed) | entities(options, size, backbone, seed)


def pretrained(options: Options, size: Size, family: str, objective: str, seed: int) -> ws.Backbone:
    """The model after so many steps towards an objective."""
    import warmstart as ws

    articles = texts.articles(options.data)
    backbone = new_model(family, size, ws.train_tokenizer(articles, "wordpiece", size.vocab_size), seed)
    run = {
        "learning_rate": size.rate,
        "max_steps": size.steps,
        "batch_tokens": size.batch_tokens,
        "max_length": size.max_length,
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
        "permutation": ws.PermutationLM(),
    }
    model = ws.LanguageModel(backbone, towards[objective], cache_dir=results_folder(), **run)
    return model.fit(articles).backbone_


def ways(size: Size, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Probing and fine-tuning."""
    import warmstart as ws

    equal = {"batch_tokens": size.tuning_tokens, "random_state": seed, "verbose": False}
    probed = {"strategy": ws.LinearProbing(), "learning_rate": size.probing_rate, "epochs": size.probing_epochs}
    yield "probed", probed | equal
    tuned = {"strategy": ws.FullFineTuning(), "learning_rate": size.tuning_rate, "epochs": size.epochs}
    yield "tuned", tuned | equal


def sentiment(options: Options, size: Size, backbone: ws.Backbone, seed: int) -> Record:
    """Accuracy on sst2's test sentences."""
    import warmstart as ws

    train, test = texts.sst2(options.data, "train").sample(size.rows, seed), texts.sst2(options.data, "test")
    fitted = ((way, ws.TextClassifier(backbone, **how).fit(train.texts, train.labels)) for way, how in ways(size, seed))
    return {f"sst2_{way}": classifier.score(test.texts, test.labels) for way, classifier in fitted}


def entities(options: Options, size: Size, backbone: ws.Backbone, seed: int) -> Record:
    """F1 of entities on wnut17's test posts."""
    import warmstart as ws

    words, tags = (part[: size.rows] for part in texts.wnut17(options.data, "train"))  # 3,394 are all of them
    fitted = ((way, ws.TokenClassifier(backbone, **how).fit(words, tags)) for way, how in ways(size, seed))
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
