"""Pretraining that goes on from a checkpoint: as if it had not stopped, and not from another run's."""

import json

import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import FAST, OBJECTIVES, losses, model_of, remembered, weights
from warmstart.monitor import FitMonitor

pytestmark = pytest.mark.usefixtures("corpora")


@pytest.fixture(params=OBJECTIVES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def stop_at(monkeypatch, step: int) -> None:
    """Let a run be interrupted when it evaluates at this step."""
    on_evaluate = FitMonitor.on_evaluate

    def interrupted(self, logits, record):
        if record["step"] == step:
            raise KeyboardInterrupt
        return on_evaluate(self, logits, record)

    monkeypatch.setattr(FitMonitor, "on_evaluate", interrupted)


def test_run_that_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped(
    family, tokenizer_dir, corpus, tmp_path, monkeypatch
):
    params = {"epochs": 2, "eval_every": 1, "accumulation_steps": 2}
    whole = model_of(family, tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 4}
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        stopped = model_of(family, tokenizer_dir, **params)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(corpus, eval_set=0.2)
        assert stopped.n_iter_ == 7  # what was learnt so far is kept
    (tmp_path / "run" / ".warmstart-killed").mkdir()  # as a process leaves it that is killed while it writes
    done: list[int] = []
    monkeypatch.setattr(FitMonitor, "on_start", lambda _, facts: done.append(facts["tokens_done"]))
    resumed = model_of(family, tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert done == [whole.history_.rows[3]["tokens"]]
    assert resumed.history_.rows[0]["step"] == 5
    assert losses(resumed) == losses(whole)[4:]
    assert [row["loss"] for row in resumed.history_.rows] == [row["loss"] for row in whole.history_.rows][4:]
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"max_length": 12}, "max_length"),
        ({"random_state": 5}, "random_state"),
        ({"strategy": ws.FullFineTuning(learning_rate=1e-3)}, "strategy"),
    ],
)
def test_checkpoint_of_another_run_is_refused_by_name(change, named, tokenizer_dir, corpus, tmp_path):
    params = {"max_steps": 2, "checkpoint_dir": tmp_path / "run"}
    model_of("gpt2", tokenizer_dir, **params).fit(corpus)
    with pytest.raises(ws.TrainingError, match=f"another {named}"):
        model_of("gpt2", tokenizer_dir, **params | change).fit(corpus)


def test_checkpoint_of_another_run_says_what_differs(tokenizer_dir, corpus, tmp_path):
    params = FAST | {"max_steps": 2, "checkpoint_dir": tmp_path / "run"}
    ws.LanguageModel(tiny("gpt2", tokenizer_dir), **params).fit(corpus)
    wider = tiny("gpt2", tokenizer_dir, n_inner=17)
    with pytest.raises(ws.TrainingError, match=r"another model n_inner \S+, now 17\. To go on, begin as that run did"):
        ws.LanguageModel(wider, **params).fit(corpus)
    with pytest.raises(ws.TrainingError, match=r"another corpus documents end 60, now 59\."):
        ws.LanguageModel(tiny("gpt2", tokenizer_dir), **params).fit(corpus[:-1])


def test_checkpoint_of_another_generator_is_refused(tokenizer_dir, corpus, tmp_path):
    """Of weights of the same shapes, which differs in its activation alone."""
    detector = tiny("electra", tokenizer_dir)

    def fit(activation):
        generator = tiny("electra", tokenizer_dir, hidden_act=activation)
        objective = ws.ReplacedTokenDetection(generator=generator)
        return ws.LanguageModel(detector, objective, max_steps=2, checkpoint_dir=tmp_path / "run", **FAST).fit(corpus)

    fit("gelu")
    with pytest.raises(ws.TrainingError, match="another model"):
        fit("relu")
    fit("gelu")


def test_checkpoint_of_another_model_or_corpus_and_one_that_is_damaged_are_refused(tokenizer_dir, corpus, tmp_path):
    params = {"max_steps": 2, "checkpoint_dir": tmp_path / "run"}
    model_of("gpt2", tokenizer_dir, **params).fit(corpus)
    with pytest.raises(ws.TrainingError, match=r"another (model|objective)"):
        model_of("llama", tokenizer_dir, **params).fit(corpus)
    # As many tokens in other documents, or in others of them.
    reversed_words = [" ".join(reversed(text.split())) for text in corpus]
    for other, held_out in ((reversed_words, None), (corpus[:-1], None), (corpus, 0.2)):
        with pytest.raises(ws.TrainingError, match="another corpus"):
            model_of("gpt2", tokenizer_dir, **params).fit(other, eval_set=held_out)
    file = tmp_path / "run" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ws.TrainingError, match=r"checkpoint\.safetensors"):
        model_of("gpt2", tokenizer_dir, **params).fit(corpus)


def test_checkpoint_of_a_run_that_began_with_other_weights_is_refused(tokenizer_dir, corpus, tmp_path):
    """Of parameters that do not learn too, which are not in the checkpoint."""
    params = FAST | {"max_steps": 2, "checkpoint_dir": tmp_path / "run", "strategy": ws.LinearProbing()}
    config = json.loads(tiny("gpt2", tokenizer_dir)._inner.config)
    backbones = [ws.Backbone.from_config(config, tokenizer_dir, random_state=seed) for seed in (1, 2)]
    first = ws.LanguageModel(backbones[0], **params).fit(corpus)
    with pytest.raises(ws.TrainingError, match=r"another starting weights .* begin as that run did"):
        ws.LanguageModel(backbones[1], **params).fit(corpus)
    again = ws.LanguageModel(backbones[0], **params).fit(corpus)
    assert weights(again) == weights(first)


def test_second_call_with_a_finished_checkpoint_says_so(tokenizer_dir, corpus, tmp_path):
    model = model_of("gpt2", tokenizer_dir, max_steps=2, checkpoint_dir=tmp_path / "run").fit(corpus)
    with pytest.raises(ws.TrainingError, match="another starting weights"):
        model.fit(corpus)
    model.checkpoint_dir = None
    before = weights(model)
    assert weights(model.fit(corpus)) != before


def test_run_that_stopped_early_is_done(tokenizer_dir, corpus, tmp_path):
    params = {
        "epochs": 50,
        "patience": 1,
        "eval_every": 1,
        "strategy": ws.FullFineTuning(learning_rate=0.3),
        "checkpoint_dir": tmp_path / "run",
    }
    first = model_of("gpt2", tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert first.n_iter_ < 50
    again = model_of("gpt2", tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert (again.n_iter_, again.history_.rows) == (first.n_iter_, [])
    assert again.history_.best_step == first.history_.best_step
    assert weights(again) == weights(first)


def test_checkpoint_holds_what_the_next_step_remembers(tokenizer_dir, corpus, tmp_path):
    params = {"max_steps": 3, "checkpoint_dir": tmp_path / "run"}
    model_of("xlnet", tokenizer_dir, **params).fit([" ".join(corpus)])
    layers, tokens, width = remembered(tmp_path / "run")
    assert (layers, width) == (2, 24)
    # All four sequences go on, each with the last 16 of three times 14 tokens.
    assert tokens == 4 * 16
