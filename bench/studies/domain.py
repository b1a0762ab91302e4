"""Domain-adaptive pretraining (Gururangan et al. 2020): MiniLM reads abstracts, then learns chemprot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from bench.assets import MINILM, fetch
from bench.metrics import accuracy, macro_f1
from bench.studies import texts
from bench.studies.study import Options, Record, Run, Study, chosen, results_folder, spread
from bench.table import markdown_table


@dataclass(frozen=True, kw_only=True)
class Size:
    """Pretraining: steps, tokens of each, rate, its decay; new words; chemprot: texts, tokens of a step, rate, passes.

    Without the decay the new head's first gradients spoil the layers below. Rates were chosen with seed 0 on chemprot's
    dev split: that of fine-tuning without pretraining, then that of pretraining.
    """

    steps: int = 300
    batch_tokens: int = 1024
    rate: float = 5e-4
    layer_decay: float = 0.7
    max_length: int = 128
    new_tokens: int = 1000
    train_rows: int = 500
    dev_rows: int = 500
    test_rows: int = 1500
    tuning_tokens: int = 512
    tuning_rate: float = 1e-4
    epochs: int = 10


FULL = Size()
TINY = Size(
    steps=3, batch_tokens=256, new_tokens=20, train_rows=20, dev_rows=20, test_rows=20, tuning_tokens=256, epochs=1
)


def runs(options: Options) -> Iterator[Run]:
    """Every combination of the two, seed by seed."""
    size = options.size(FULL, TINY)
    for seed in range(options.seeds):
        for extended in (False, True):
            for continued in (False, True):
                key = {"seed": seed, "extended": extended, "continued": continued} | asdict(size)
                yield Run(key, lambda k=key: adapt(options, size, k["seed"], k["extended"], k["continued"]))


def adapt(options: Options, size: Size, seed: int, extended: bool, continued: bool) -> Record:
    """Go on with abstracts if asked, then fine-tune, keep the weights that are best on the dev split, and test."""
    import warmstart as ws

    train_texts, held_out = texts.held_out(texts.abstracts(options.data))
    backbone, record = ws.Backbone.from_pretrained(fetch(MINILM)), {}
    if extended:
        backbone = backbone.extend_vocabulary(train_texts, size.new_tokens)
    if continued:
        model = ws.LanguageModel(
            backbone,
            ws.MaskedLM(),
            strategy=ws.FullFineTuning(layer_decay=size.layer_decay),
            learning_rate=size.rate,
            max_steps=size.steps,
            batch_tokens=size.batch_tokens,
            max_length=size.max_length,
            eval_every=max(1, size.steps // 4),
            random_state=seed,
            cache_dir=results_folder(),
            verbose=False,
        ).fit(train_texts, eval_set=held_out[: max(1, len(held_out) // 4)])
        backbone = model.backbone_
        record = {"losses": [(row["step"], row["eval_loss"]) for row in model.history_.rows]}
    train = texts.chemprot(options.data, "train").sample(size.train_rows, seed)
    dev = texts.chemprot(options.data, "dev").sample(size.dev_rows, 0)
    # A class of which this sample has no text is not known during training; in the test it counts.
    known = [(text, label) for text, label in zip(dev.texts, dev.labels, strict=True) if label in set(train.labels)]
    test = texts.chemprot(options.data, "test").sample(size.test_rows, 0)
    classifier = ws.TextClassifier(
        backbone,
        learning_rate=size.tuning_rate,
        epochs=size.epochs,
        batch_tokens=size.tuning_tokens,
        max_length=size.max_length,
        random_state=seed,
        verbose=False,
    ).fit(train.texts, train.labels, eval_set=tuple(zip(*known, strict=True)))
    predicted = classifier.predict(test.texts)
    tokens = sum(map(len, backbone.tokenizer.encode(test.texts))) / len(test)
    return record | {
        "tokens_per_text": tokens,
        "dev_accuracy": classifier.report_.accuracy,
        "accuracy": accuracy(test.labels, predicted),
        "macro_f1": macro_f1(test.labels, predicted),
    }


def report(records: Sequence[Record]) -> str:
    """A row for each combination."""
    rows = []
    for extended in (False, True):
        for continued in (False, True):
            found = chosen(records, extended=extended, continued=continued)
            losses = [record["losses"] for record in found if "losses" in record]
            rows.append(
                [
                    "extended" if extended else "as it was",
                    "continued" if continued else "none",
                    *(spread([curve[at][1] for curve in losses]) for at in (0, -1)),
                    spread([record["tokens_per_text"] for record in found], "{:.1f}"),
                    spread([record["dev_accuracy"] for record in found]),
                    spread([record["accuracy"] for record in found]),
                    spread([record["macro_f1"] for record in found]),
                ]
            )
    header = ["vocabulary", "pretraining", "masked loss, first", "last", "tokens a text"]
    header += ["dev micro F1", "test micro F1", "test macro F1"]
    return markdown_table(header, rows)


STUDY = Study(runs, report)
