"""`_core.pretraining_batches`: what a run sees, for another library to see the same."""

from dataclasses import replace

import numpy as np
import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import FAST

pytestmark = pytest.mark.usefixtures("corpora")

TEXTS = [f"the {a} film was {b} and it was {a}" for a in ("good", "bad", "old") for b in ("nice", "dull", "long")]
OBJECTIVES = {"bert": ws.MaskedLM(rate=0.3), "gpt2": ws.CausalLM(), "xlnet": ws.PermutationLM(memory=0)}


@pytest.fixture(params=OBJECTIVES)
def model(request, tokenizer_dir):
    return ws.LanguageModel(
        tiny(request.param, tokenizer_dir), OBJECTIVES[request.param], **FAST | {"epochs": 2, "accumulation_steps": 2}
    )


def prepared(model):
    return model._prepare(TEXTS, None, "text", "stop")[1]


def batches(model, evaluation=False, **options):
    return prepared(model).batches(evaluation, **options)


def restored(batch):
    """The sequences of a batch as they were before anything was hidden."""
    ids = batch["ids"].copy()
    if "rows" in batch and len(batch["rows"]) < len(ids):
        ids[batch["rows"]] = batch["labels"]
    return [tuple(map(int, part)) for part in np.split(ids, batch["cu_seqlens"][1:-1])]


def test_batches_are_those_of_the_run_and_hold_every_document_once_an_epoch(model):
    steps = batches(model)
    assert max(map(len, steps)) == 2
    found = sorted(ids for step in steps for batch in step for ids in restored(batch))
    assert found[::2] == found[1::2] and len(set(found)) == len(TEXTS)
    assert {len(ids) - len(model.backbone_.tokenizer.encode([TEXTS[0]])[0]) for ids in found} <= {0, 1}
    model.fit(TEXTS)
    assert len(steps) == model.n_iter_
    assert sum(len(batch["ids"]) for step in steps for batch in step) == model.history_.rows[-1]["tokens"]


# DataCollatorForLanguageModeling of transformers 4.57.6 and 5.24.0 leaves the same tokens out, "[UNK]" among them.
MARKED = ["the film [SEP] was good [PAD] and [MASK] old", "[SEP] a plot zebra [SEP] [CLS]", "[SEP] [SEP] [MASK]"]


@pytest.mark.parametrize(
    ("family", "objective"),
    [
        *(("bert", ws.MaskedLM(rate=0.6, unit=unit)) for unit in ("token", "word", "span")),
        ("electra", ws.ReplacedTokenDetection(rate=0.9)),
        ("xlnet", ws.PermutationLM(memory=0)),
    ],
)
def test_special_tokens_in_a_text_are_never_to_be_said(family, objective, tokenizer_dir):
    model = ws.LanguageModel(tiny(family, tokenizer_dir), objective, **FAST | {"epochs": 20})
    run = model._prepare(MARKED, None, "text", "stop")[1]
    steps = run.batches()
    labels = np.concatenate([batch["labels"] for step in steps for batch in step])
    ordinary = [id for id in model.backbone_.tokenizer.encode(["the film was good and old a plot"])[0] if id > 4]
    assert set(labels.tolist()) == set(ordinary)


def test_labels_are_what_the_rows_are_to_say(model):
    for batch in (batch for step in batches(model) for batch in step):
        starts = batch["cu_seqlens"]
        if "targets" in batch:
            first = np.repeat(starts[:-1], np.diff(batch["cu_targets"]))
            np.testing.assert_array_equal(batch["labels"], batch["ids"][first + batch["targets"]])
            assert len(batch["hidden"]) == (np.diff(starts) ** 2).sum()
        elif len(batch["rows"]) == len(batch["ids"]):
            expected = np.append(batch["ids"][1:], -100)
            expected[starts[1:] - 1] = -100
            np.testing.assert_array_equal(batch["labels"], expected)
        else:
            hidden = model.backbone_.tokenizer.encode([""])[0] + [4]
            assert not set(batch["labels"].tolist()) & set(hidden)


def test_evaluations_hide_the_same_whatever_the_seed_and_training_does_not(model):
    def content(steps):
        return [[(key, values.tobytes()) for key, values in batch.items()] for step in steps for batch in step]

    assert content(batches(model, True)) == content(batches(model, True, seed=9))
    assert content(batches(model)) == content(batches(model))
    assert content(batches(model)) != content(batches(model, seed=9))


def test_bad_options_and_documents_are_refused(model):
    with pytest.raises(ValueError, match="max_length"):
        batches(model, max_length=1)
    with pytest.raises(ValueError, match="options"):
        batches(model, unknown=1)
    run = prepared(model)
    with pytest.raises(ValueError, match="documents"):
        replace(run, train=(run.train[0], 0, 99)).batches()
