"""Pretraining that goes on from a checkpoint: as if it had not stopped, and not from another run's."""

import json
import shutil
from pathlib import Path

import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import FAST, OBJECTIVES, model_of, remembered, weights
from test_token_classifier import sentences
from warmstart.monitor import FitMonitor

pytestmark = pytest.mark.usefixtures("corpora")

V1 = Path(__file__).parents[1] / "reference" / "saved_v1"
FINISHED = "this run was finished already, after step"


@pytest.fixture(params=OBJECTIVES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def stop_at(monkeypatch, step: int) -> None:
    """Let a run be interrupted when it makes a row of its history at this step."""
    on_evaluate, on_epoch = FitMonitor.on_evaluate, FitMonitor.on_epoch

    def interrupt(record):
        if record["step"] == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(FitMonitor, "on_evaluate", lambda *args: (interrupt(args[2]), on_evaluate(*args))[1])
    monkeypatch.setattr(FitMonitor, "on_epoch", lambda *args: (interrupt(args[1]), on_epoch(*args))[1])


def history(model: ws.LanguageModel) -> dict:
    """All of it but times."""
    found = model.history_
    rows = [{key: value for key, value in row.items() if key != "elapsed_s"} for row in found.rows]
    return {"rows": rows, "steps": found.steps, "best_step": found.best_step, "metric": found.metric}


def interrupted(monkeypatch, model: ws.LanguageModel, corpus, step: int, **fit_params) -> None:
    """Fit until Ctrl-C at an evaluation or the end of an epoch, of which there is one at this step."""
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            model.fit(corpus, **fit_params)


def test_run_that_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped(
    family, tokenizer_dir, corpus, tmp_path, monkeypatch
):
    params = {"epochs": 2, "eval_every": 1, "accumulation_steps": 2}
    whole = model_of(family, tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 4}
    stopped = model_of(family, tokenizer_dir, **params)
    interrupted(monkeypatch, stopped, corpus, 7, eval_set=0.2)
    assert stopped.n_iter_ == 7  # what was learnt so far is kept
    (tmp_path / "run" / ".warmstart-killed").mkdir()  # as a process leaves it that is killed while it writes
    done: list[int] = []
    monkeypatch.setattr(FitMonitor, "on_start", lambda _, facts: done.append(facts["tokens_done"]))
    resumed = model_of(family, tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert done == [whole.history_.rows[3]["tokens"]]
    assert history(resumed) == history(whole)
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize("held_out", [None, 0.2])
def test_history_goes_on_from_a_checkpoint_between_two_rows(held_out, tokenizer_dir, corpus, tmp_path, monkeypatch):
    """The mean loss of the row after it is of steps before and after, to the last bit."""
    params = {"epochs": 2, "eval_every": 5}
    whole = model_of("bert", tokenizer_dir, **params).fit(corpus, eval_set=held_out)
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 7}
    interrupted(monkeypatch, model_of("bert", tokenizer_dir, **params), corpus, 10, eval_set=held_out)
    resumed = model_of("bert", tokenizer_dir, **params).fit(corpus, eval_set=held_out)
    assert history(resumed) == history(whole)
    assert [point["step"] for point in resumed.history_.steps] == list(range(1, whole.n_iter_ + 1))
    assert [row["step"] for row in resumed.history_.rows][:3] == [5, 10, 15]
    times = [row["elapsed_s"] for row in resumed.history_.rows]
    assert times == sorted(times)
    assert len(resumed.history_.plot()) == (1 if held_out is None else 2)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"max_length": 12}, "max_length"),
        ({"random_state": 5}, "random_state"),
        ({"learning_rate": 1e-3}, "optimizer learning_rate"),
        ({"keep": "last"}, "keep"),
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
    with pytest.warns(UserWarning, match=FINISHED):
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
    params = FAST | {
        "max_steps": 2,
        "checkpoint_dir": tmp_path / "run",
        "strategy": ws.LinearProbing(),
        "learning_rate": None,
    }
    config = json.loads(tiny("gpt2", tokenizer_dir)._inner.config)
    backbones = [ws.Backbone.from_config(config, tokenizer_dir, random_state=seed) for seed in (1, 2)]
    first = ws.LanguageModel(backbones[0], **params).fit(corpus)
    with pytest.raises(ws.TrainingError, match=r"began with other weights. To go on, make the model anew"):
        ws.LanguageModel(backbones[1], **params).fit(corpus)
    with pytest.warns(UserWarning, match=FINISHED):
        again = ws.LanguageModel(backbones[0], **params).fit(corpus)
    assert weights(again) == weights(first)


def test_second_call_with_a_finished_checkpoint_has_nothing_to_do(tokenizer_dir, corpus, tmp_path):
    model = model_of("gpt2", tokenizer_dir, max_steps=2, checkpoint_dir=tmp_path / "run").fit(corpus)
    before = weights(model)
    with pytest.warns(UserWarning, match=FINISHED):
        assert weights(model.fit(corpus)) == before
    settings = FAST | {"max_steps": 2, "checkpoint_dir": tmp_path / "run"}
    on = ws.LanguageModel(model.backbone_, OBJECTIVES["gpt2"], **settings)
    with pytest.raises(ws.TrainingError, match="began with other weights"):
        on.fit(corpus)
    on.checkpoint_dir = None
    assert weights(on.fit(corpus)) != before


def test_finished_run_that_is_fitted_again_gives_its_model_and_history_and_says_so(
    family, tokenizer_dir, corpus, tmp_path
):
    params = {"max_steps": 5, "eval_every": 2, "checkpoint_dir": tmp_path / "run"}
    first = model_of(family, tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    file = tmp_path / "run" / "checkpoint.safetensors"
    before = file.read_bytes()
    again = model_of(family, tokenizer_dir, **params)
    with pytest.warns(UserWarning, match="run: this run was finished already, after step 5; nothing was trained"):
        assert again.fit(corpus, eval_set=0.2) is again
    assert (history(again), again.n_iter_) == (history(first), 5)
    assert again.history_.rows == first.history_.rows  # times too
    assert repr(again.history_) == repr(first.history_)
    assert weights(again) == weights(first)
    assert file.read_bytes() == before


@pytest.mark.filterwarnings("ignore:learning_rate=0.3 is beyond reason")
def test_run_that_stopped_early_is_done(tokenizer_dir, corpus, tmp_path):
    params = {
        "epochs": 50,
        "patience": 1,
        "eval_every": 1,
        "learning_rate": 0.3,
        "checkpoint_dir": tmp_path / "run",
    }
    first = model_of("gpt2", tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert first.n_iter_ < 50
    with pytest.warns(UserWarning, match=FINISHED):
        again = model_of("gpt2", tokenizer_dir, **params).fit(corpus, eval_set=0.2)
    assert (again.n_iter_, history(again)) == (first.n_iter_, history(first))
    assert weights(again) == weights(first)


def test_checkpoint_holds_what_the_next_step_remembers(tokenizer_dir, corpus, tmp_path):
    params = {"max_steps": 3, "checkpoint_dir": tmp_path / "run"}
    model_of("xlnet", tokenizer_dir, **params).fit([" ".join(corpus)])
    layers, tokens, width = remembered(tmp_path / "run")
    assert (layers, width) == (2, 24)
    # All four sequences go on, each with the last 16 of three times 14 tokens.
    assert tokens == 4 * 16


def state(file: Path) -> dict:
    """What a checkpoint has beside its tensors."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if "state" not in header:
        return json.loads(header["__metadata__"]["state"])
    first, behind = header["state"]["data_offsets"]  # formats 1 and 2
    return json.loads(content[8 + size + first : 8 + size + behind])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_checkpoint_says_what_it_is_of_in_the_names_of_parameters(precision, family, tokenizer_dir, corpus, tmp_path):
    model_of(family, tokenizer_dir, max_steps=1, checkpoint_dir=tmp_path, precision=precision).fit(corpus)
    found = state(tmp_path / "checkpoint.safetensors")
    assert (found["format_version"], found["warmstart_version"]) == (3, ws.__version__)
    assert found["identity"]["objective"] == OBJECTIVES[family].to_dict()
    assert found["identity"]["precision"] == precision


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint_finished"])
def test_checkpoint_of_version_1_is_refused_by_version_and_stays_as_it_is(name, tmp_path):
    """Begun as its run was: `tests/reference/make_saved_v1.py`."""
    shutil.copytree(V1 / name, tmp_path / "run")
    (file,) = (tmp_path / "run").iterdir()
    before = file.read_bytes()
    assert "format_version" not in state(file)
    backbone = ws.Backbone.from_pretrained(V1 / "masked")
    rule = {
        "strategy": ws.FullFineTuning(layer_decay=0.9),
        "learning_rate": 1e-2,
        "optimizer": ws.AdamW(schedule="cosine"),
    }
    settings = {"max_steps": 6, "batch_tokens": 96, "max_length": 20, "eval_every": 2, "checkpoint_every": 2}
    model = ws.LanguageModel(backbone, checkpoint_dir=tmp_path / "run", **FAST | settings | rule)
    with pytest.raises(
        ws.TrainingError,
        match=r"checkpoint\.safetensors: was written by warmstart 0\.1\.0 in checkpoint format 1, and this is "
        r"warmstart \S+, which goes on from format 3; finish the run with that version, or give another checkpoint_dir",
    ):
        model.fit(V1 / "corpus.txt", eval_set=["the film was very good"])
    assert [path.name for path in (tmp_path / "run").iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_checkpoint_of_a_later_version_is_refused_by_version(tokenizer_dir, corpus, tmp_path):
    params = {"max_steps": 2, "checkpoint_dir": tmp_path}
    model_of("gpt2", tokenizer_dir, **params).fit(corpus)
    file = tmp_path / "checkpoint.safetensors"
    content = file.read_bytes()
    assert content.count(b'format_version\\":3') == 1
    file.write_bytes(content.replace(b'format_version\\":3', b'format_version\\":4'))
    with pytest.raises(ws.TrainingError, match=r"by warmstart \S+ in checkpoint format 4, .* goes on from format 3"):
        model_of("gpt2", tokenizer_dir, **params).fit(corpus)


def test_run_does_not_go_on_with_another_eval_set(tokenizer_dir, corpus, tmp_path, monkeypatch):
    params = {"max_steps": 8, "eval_every": 2, "checkpoint_every": 2, "checkpoint_dir": tmp_path / "run"}
    interrupted(monkeypatch, model_of("bert", tokenizer_dir, **params), corpus, 6, eval_set=corpus[:4])
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ws.TrainingError, match=r"is of a run with another eval_set: .* now "):
        model_of("bert", tokenizer_dir, **params).fit(corpus, eval_set=corpus[4:9])
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before
    resumed = model_of("bert", tokenizer_dir, **params).fit(corpus, eval_set=corpus[:4])
    assert [row["step"] for row in resumed.history_.rows] == [2, 4, 6, 8]


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("strategy", [ws.FullFineTuning(), ws.LinearProbing()])
def test_classifier_that_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped(
    make, texts, labels, tmp_path, monkeypatch, keep, strategy
):
    params = {"strategy": strategy, "learning_rate": 1e-2, "epochs": 4, "batch_size": 4, "keep": keep, "eval_every": 3}
    whole = make(**params).fit(texts, labels, eval_set=(texts, labels))
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 2}
    interrupted(monkeypatch, make(**params), texts, 9, y=labels, eval_set=(texts, labels))
    resumed = make(**params).fit(texts, labels, eval_set=(texts, labels))
    assert history(resumed) == history(whole)
    assert resumed.predict_proba(texts).tobytes() == whole.predict_proba(texts).tobytes()
    with pytest.raises(ws.TrainingError, match="another texts labels"):
        make(**params).fit(texts, labels[::-1], eval_set=(texts, labels))
    with pytest.warns(UserWarning, match=FINISHED):
        again = make(**params).fit(texts, labels, eval_set=(texts, labels))
    assert again.predict_proba(texts).tobytes() == whole.predict_proba(texts).tobytes()


def test_tagger_that_goes_on_from_a_checkpoint_ends_as_if_it_had_not_stopped(backbone, tmp_path, monkeypatch):
    texts, tags = sentences(24, 6)
    params = {"learning_rate": 1e-2, "epochs": 3, "batch_size": 4, "random_state": 0, "verbose": False}
    whole = ws.TokenClassifier(backbone, **params).fit(texts, tags)
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 1}
    first = whole.history_.rows[0]["step"]
    interrupted(monkeypatch, ws.TokenClassifier(backbone, **params), texts, 2 * first, y=tags)
    resumed = ws.TokenClassifier(backbone, **params).fit(texts, tags)
    assert history(resumed) == history(whole)
    assert resumed.predict(texts) == whole.predict(texts)


def test_language_model_keeps_the_best_weights_unless_the_last_are_asked_for(tokenizer_dir, corpus):
    params = {"epochs": 40, "learning_rate": 5e-3, "optimizer": ws.AdamW(schedule="constant", warmup_ratio=0.0)}
    best, last = (
        model_of("gpt2", tokenizer_dir, keep=keep, **params).fit(corpus[:4], eval_set=corpus[8:16])
        for keep in ("best", "last")
    )
    assert history(best) == history(last)
    losses = [row["eval_loss"] for row in best.history_.rows]
    assert losses.index(min(losses)) < len(losses) - 1, "the case needs a run that gets worse"
    assert weights(best) != weights(last)
    # A constant rate: the run that ends there has the same weights.
    short = model_of("gpt2", tokenizer_dir, **params | {"epochs": 1 + losses.index(min(losses))})
    assert weights(short.fit(corpus[:4], eval_set=corpus[8:16])) == weights(best)


def test_report_of_a_classifier_that_keeps_the_last_weights_is_of_these(make, texts, labels):
    params = {"strategy": ws.FullFineTuning(), "learning_rate": 1e-2, "epochs": 5, "batch_size": 4}
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    clf = make(keep="last", metric=lambda y, p: next(scores), **params).fit(texts, labels, eval_set=(texts, labels))
    assert clf.report_.training["best_step"] < clf.report_.training["kept_step"] == clf.n_iter_
    assert clf.report_.accuracy == (clf.predict(texts) == labels).mean()
    first = clf.history_.rows[0]["eval_loss"]
    assert clf.history_.rows[-1]["eval_loss"] < first, "the case needs weights that differ"
    assert f"of step {clf.n_iter_}" in repr(clf.report_)


def test_checkpoint_dir_of_a_head_that_is_solved_for_is_told_to_have_no_effect(make, texts, labels, tmp_path):
    clf = make(strategy=ws.LinearProbing(), checkpoint_dir=tmp_path / "run", epochs=None)
    with pytest.warns(UserWarning, match="checkpoint_dir has no effect here: the head is solved for"):
        clf.fit(texts, labels)
    assert not (tmp_path / "run").exists()


def test_classifier_does_not_go_on_with_another_metric_or_without_an_eval_set(
    make, texts, labels, tmp_path, monkeypatch
):
    params = {"strategy": ws.FullFineTuning(), "learning_rate": 1e-2, "epochs": 4, "batch_size": 4}
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 1, "eval_every": 3}
    interrupted(monkeypatch, make(**params), texts, 9, y=labels, eval_set=(texts, labels))
    with pytest.raises(ws.TrainingError, match='another eval_set: metric "accuracy", now "macro_f1"'):
        make(metric="macro_f1", **params).fit(texts, labels, eval_set=(texts, labels))
    with pytest.raises(ws.TrainingError, match="another eval_set: "):
        make(**params | {"eval_every": None}).fit(texts, labels)


def test_checkpoint_dir_that_cannot_be_written_to_is_refused_before_the_run(make, texts, labels, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    steps = []
    clf = make(strategy=ws.FullFineTuning(), checkpoint_dir=tmp_path / "file")
    with pytest.raises(ValueError, match="is a file; give a directory"):
        clf.set_params(metric=lambda *_: steps.append(1) or 0.0).fit(texts, labels, eval_set=(texts, labels))
    assert not steps and (tmp_path / "file").read_text() == "not a directory"


def test_run_without_a_seed_goes_on_with_that_of_its_checkpoint(
    make, texts, labels, tmp_path, monkeypatch, tokenizer_dir
):
    params = {
        "strategy": ws.FullFineTuning(),
        "learning_rate": 1e-2,
        "epochs": 4,
        "batch_size": 4,
        "random_state": None,
    }
    params |= {"checkpoint_dir": tmp_path / "run", "checkpoint_every": 2, "eval_every": 3}
    interrupted(monkeypatch, make(**params), texts, 9, y=labels, eval_set=(texts, labels))
    resumed = make(**params).fit(texts, labels, eval_set=(texts, labels))
    whole = make(**params | {"checkpoint_dir": None, "checkpoint_every": None, "random_state": resumed.random_state_})
    whole.fit(texts, labels, eval_set=(texts, labels))
    assert resumed.predict_proba(texts).tobytes() == whole.predict_proba(texts).tobytes()
    corpus = [" ".join(texts[i : i + 3]) for i in range(10)]
    params = {"max_steps": 4, "random_state": None, "checkpoint_dir": tmp_path / "lm"}
    first = model_of("bert", tokenizer_dir, **params).fit(corpus)
    with pytest.warns(UserWarning, match=FINISHED):
        again = model_of("bert", tokenizer_dir, **params).fit(corpus)
    assert first.random_state_ == again.random_state_ and weights(first) == weights(again)


def test_estimator_that_had_checkpoints_is_fitted_again_after_it_is_loaded(make, texts, labels, tmp_path):
    params = {"strategy": ws.FullFineTuning(), "epochs": 1}
    clf = make(**params, checkpoint_dir=tmp_path / "run", checkpoint_every=2).fit(texts, labels)
    clf.save(tmp_path / "saved")
    loaded = ws.load(tmp_path / "saved")
    assert (loaded.checkpoint_dir, loaded.checkpoint_every) == (None, None)
    loaded.fit(texts, labels)


def test_finished_run_of_a_classifier_that_is_fitted_again_says_so(make, texts, labels, tokenizer_dir, tmp_path):
    params = {"strategy": ws.FullFineTuning(), "epochs": 1, "checkpoint_dir": tmp_path / "run"}
    first = make(**params).fit(texts, labels)
    again = make(**params)
    with pytest.raises(UserWarning, match=FINISHED):  # a warning that is made an error costs no model
        again.fit(texts, labels)
    assert again.predict_proba(texts).tobytes() == first.predict_proba(texts).tobytes()
    model = model_of("gpt2", tokenizer_dir, max_steps=2, checkpoint_dir=tmp_path / "lm").fit(texts)
    with pytest.raises(UserWarning, match=FINISHED):
        model.fit(texts)
    assert model.history_.rows and model.n_iter_ == 2
