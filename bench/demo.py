"""The main job on real input, in under three minutes on two cores: `make demo`.

Fine-tune MiniLM on Reuters R8, report, save, reload, predict; then the ladder from frozen features to full fine-tuning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import warmstart as ws
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from bench.assets import ROOT, fetch_assets
from bench.data import Documents, read_r8

TRAIN_ROWS, TEST_ROWS, MAX_LENGTH = 1000, 600, 64
SEED = 0
OUTPUT = ROOT / "demo-output"

UNSEEN = (
    "the company said its net profit for the quarter rose to mln dlrs from mln a year earlier",
    "opec ministers agreed to cut crude production to support the price of a barrel",
    "the bank of england lent the money market a further mln stg to ease the shortage",
)


@dataclass(frozen=True)
class Rung:
    """One way of transfer and how it did."""

    name: str
    accuracy: float
    macro_f1: float
    seconds: float
    trainable: int


def climb(
    name: str, make: Callable[[], Any], train: Documents, test: Documents, trainable: Callable[[Any], int]
) -> Rung:
    """Fit on ``train``, score on ``test``; the time covers both."""
    started = time.perf_counter()
    model = make()
    model.fit(train.texts, train.labels)
    predicted = model.predict(test.texts)
    seconds = time.perf_counter() - started
    f1 = float(f1_score(test.labels, predicted, average="macro"))
    return Rung(name, float(accuracy_score(test.labels, predicted)), f1, seconds, trainable(model))


def fine_tune(backbone: ws.Backbone) -> ws.TextClassifier:
    """The estimator of the demo."""
    # Half of the documents are of one class, nine of the rarest: unweighted, a short run never learns the rare ones.
    return ws.TextClassifier(
        backbone,
        strategy=ws.FullFineTuning(layer_decay=0.9),
        learning_rate=3e-4,
        epochs=4,
        max_length=MAX_LENGTH,
        class_weight="balanced",
        random_state=SEED,
    )


def main_job(backbone: ws.Backbone, train: Documents, test: Documents, directory: Path) -> Rung:
    """Fine-tune, report, save, reload, predict."""
    print(f"\n# Fine-tuning on {len(train)} documents of Reuters R8, {MAX_LENGTH} tokens at most\n")
    started = time.perf_counter()
    classifier = fine_tune(backbone).fit(train.texts, train.labels)
    print(classifier.history_)
    report = classifier.evaluate(test.texts, test.labels)
    seconds = time.perf_counter() - started
    print(f"\n# Test set of {len(test)} documents\n")
    print(report)
    print(f"\n{classifier.report_}")

    classifier.save(directory)
    reloaded = ws.load(directory)
    same = bool((reloaded.decision_function(UNSEEN) == classifier.decision_function(UNSEEN)).all())
    print(f"\n# Saved to {directory.name}/ and reloaded: {'the same' if same else 'DIFFERENT'} logits\n")
    for text, label in zip(UNSEEN, reloaded.predict(UNSEEN), strict=True):
        print(f"{label:>10}  {text}")
    trainable = classifier.report_.trainable_parameters
    assert report.accuracy is not None and report.macro_f1 is not None and trainable is not None
    return Rung("full fine-tuning", report.accuracy, report.macro_f1, seconds, trainable)


def ladder(backbone: ws.Backbone, train: Documents, test: Documents, top: Rung) -> list[Rung]:
    """From the cheapest way of transfer to the dearest."""

    def features(final: Any) -> Any:
        return make_pipeline(ws.FeatureExtractor(backbone, max_length=MAX_LENGTH), final)

    def probe() -> ws.TextClassifier:
        return ws.TextClassifier(backbone, strategy=ws.LinearProbing(), max_length=MAX_LENGTH, random_state=SEED)

    return [
        climb("features + SVC", lambda: features(SVC(C=10)), train, test, lambda _: 0),
        climb(
            "features + random forest",
            lambda: features(RandomForestClassifier(300, random_state=SEED)),
            train,
            test,
            lambda _: 0,
        ),
        climb("linear probing", probe, train, test, lambda model: int(model.report_.trainable_parameters)),
        top,
    ]


def main() -> None:
    """Run the demo and print what a person would want to see."""
    started = time.perf_counter()
    assets = fetch_assets()
    backbone = ws.Backbone.from_pretrained(assets.model)
    print(backbone)
    train = read_r8(assets.r8, "train").sample(TRAIN_ROWS, SEED)
    test = read_r8(assets.r8, "test").sample(TEST_ROWS, SEED)
    rungs = ladder(backbone, train, test, main_job(backbone, train, test, OUTPUT))
    print("\n# The ladder\n")
    print(f"{'':26}{'accuracy':>9}{'macro F1':>10}{'seconds':>9}{'trainable parameters':>22}")
    for rung in rungs:
        print(f"{rung.name:26}{rung.accuracy:9.3f}{rung.macro_f1:10.3f}{rung.seconds:9.1f}{rung.trainable:22,}")
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
