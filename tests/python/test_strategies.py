"""Strategies and the optimiser: data with scikit-learn's parameter protocol, checked when a plan is made."""

import json
import pickle

import numpy as np
import pytest
import warmstart as ws
from sklearn.base import clone
from warmstart.optim import OPTIMIZERS
from warmstart.strategies import STRATEGIES, strategy_of
from warmstart.strategy import Strategy

CHANGED = [
    ws.FullFineTuning(layer_decay=0.5, head_factor=2.0, embeddings_factor=0.5),
    ws.LinearProbing(),
    ws.TopLayers(1),
    ws.Layers([0, -1]),
    ws.BitFit(),
    ws.NormTuning(),
    ws.LoRA(rank=2, alpha=5.0, targets="attention", rslora=True, lora_plus=16.0),
    ws.LoRA(rank=3) + ws.BitFit(),
    ws.AdamW(schedule="cosine", beta2=0.99),
]
TRAINING_LAYERS = [one for one in CHANGED if isinstance(one, Strategy) and not one.is_of_head_alone]


@pytest.mark.parametrize("given", CHANGED)
def test_clone_and_pickle_keep_the_parameters(given):
    for copy in (clone(given), pickle.loads(pickle.dumps(given))):
        assert copy is not given
        assert copy == given


def test_constructor_stores_untouched():
    value = object()
    assert ws.FullFineTuning(layer_decay=value).layer_decay is value
    assert ws.AdamW(beta1=value).get_params()["beta1"] is value


@pytest.mark.parametrize("strategy", [one for one in CHANGED if isinstance(one, Strategy)], ids=repr)
def test_dict_form_is_json_and_read_back_the_same(strategy):
    data = json.loads(json.dumps(strategy.to_dict()))
    assert STRATEGIES[data["method"]] is type(strategy)
    # A name alone is written as a list of one.
    assert strategy_of(data).to_dict() == strategy.to_dict()
    assert repr(strategy_of(data).core()) is not None


def test_dict_form_of_the_optimiser_names_its_kind_and_every_field():
    data = ws.AdamW(beta1=0.5).to_dict()
    assert OPTIMIZERS[data.pop("kind")] is ws.AdamW
    assert ws.AdamW(**data) == ws.AdamW(beta1=0.5)


def test_numpy_numbers_become_plain():
    data = ws.AdamW(weight_decay=np.float32(0.5), max_grad_norm=np.int64(2)).to_dict()
    assert (data["weight_decay"], data["max_grad_norm"]) == (0.5, 2.0)
    assert type(data["weight_decay"]) is type(data["max_grad_norm"]) is float
    assert ws.AdamW(max_grad_norm=None).to_dict()["max_grad_norm"] is None


def test_set_params_of_an_unknown_name_says_where_it_is_or_lists_the_known():
    with pytest.raises(ValueError, match=r"no parameter 'lr'; give the estimator learning_rate=..."):
        ws.FullFineTuning().set_params(lr=1)
    with pytest.raises(ValueError, match=r"no parameter 'weight_decay'; give the estimator optimizer=AdamW\(weight_"):
        ws.FullFineTuning().set_params(weight_decay=1)
    with pytest.raises(ValueError, match=r"AdamW has no parameter 'zzz'; it has weight_decay, beta1"):
        ws.AdamW().set_params(zzz=1)


def test_repr_shows_what_was_changed():
    assert repr(ws.FullFineTuning()) == "FullFineTuning()"
    assert repr(ws.AdamW(weight_decay=0.1)) == "AdamW(weight_decay=0.1)"


def test_a_strategy_of_an_older_version_is_refused_where_its_rate_would_be_lost(make, texts, labels):
    old = ws.FullFineTuning()
    old.learning_rate = 0.5  # as unpickled
    with pytest.raises(TypeError, match=r"strategy has learning_rate=0.5, as in an older version; .*learning_rate="):
        make(strategy=old).fit(texts, labels)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"learning_rate": -1.0}, ValueError, "learning_rate"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"learning_rate": [0.1]}, TypeError, "learning_rate must be a number"),
        ({"label_smoothing": -0.5}, ValueError, "label_smoothing"),
        ({"strategy__layer_decay": None}, TypeError, "strategy.layer_decay must be a number, got None"),
        ({"strategy__layer_decay": 2.0}, ValueError, "layer_decay"),
        ({"optimizer__weight_decay": None}, TypeError, "optimizer.weight_decay must be a number, got None"),
        ({"optimizer__schedule": 3}, TypeError, "optimizer.schedule must be a str"),
        ({"optimizer__warmup_ratio": 2.0}, ValueError, "warmup_ratio"),
        ({"optimizer__schedule": "zigzag"}, ValueError, "zigzag"),
        ({"optimizer__beta1": 1.5}, ValueError, "beta1"),
    ],
)
def test_values_out_of_range_are_named_by_explain(make, texts, labels, params, error, match):
    with pytest.raises(error, match=match):
        make().set_params(**params).explain(texts, labels)


def test_explain_of_full_fine_tuning_trains_everything(backbone):
    plan = ws.FullFineTuning().explain(backbone, n_outputs=3)
    assert plan.n_trainable == plan.n_parameters > backbone.n_parameters - 1
    layers = [row[0] for row in plan.by_layer()]
    assert sum("layer.0" in name for name in layers) == 1
    assert len(layers) == len(set(layers))
    assert "frozen" not in repr(plan)


def test_explain_of_probing_freezes_the_backbone(backbone):
    plan = ws.LinearProbing().explain(backbone)
    assert 0 < plan.n_trainable < plan.n_parameters
    assert "frozen" in repr(plan)
    assert all(not row["trainable"] for row in plan.rows if "encoder" in row["name"] or "embeddings" in row["name"])


def test_layer_decay_lowers_the_rate_downwards(backbone):
    plan = ws.FullFineTuning(layer_decay=0.5).explain(backbone)
    rows, peak = plan.rows, plan.choices["learning_rate"].value
    rate = {}
    for row in rows:
        for part in ("embeddings.word", "layer.0.attention", "layer.1.attention"):
            if part in row["name"]:
                rate[part] = row["learning_rate"]
    assert rate["embeddings.word"] < rate["layer.0.attention"] < rate["layer.1.attention"] <= peak


def test_biases_and_norms_have_no_weight_decay(make, texts, labels):
    for row in make(optimizer=ws.AdamW(weight_decay=0.1)).explain(texts, labels).rows:
        plain = row["name"].endswith("bias") or "LayerNorm" in row["name"]
        assert row["weight_decay"] == pytest.approx(0.0 if plain else 0.1), row["name"]


def test_plan_shows_itself_as_text_and_html(backbone):
    plan = ws.FullFineTuning().explain(backbone)
    assert "learning rate" in repr(plan)
    table, chosen = repr(plan).split("\n\n")
    assert table.splitlines()[-1].startswith("total")
    assert chosen.splitlines()[-1].startswith("learning_rate")
    assert "learning_rate" in plan._repr_html_()


def test_an_estimator_explains_its_own_rate(make, texts, labels):
    plan = make(learning_rate=0.005).explain(texts, labels)
    assert "learning_rate" not in plan.choices
    assert max(row["learning_rate"] for row in plan.rows) == 0.005


def test_explain_takes_a_path_as_an_estimator_does(backbone, tmp_path):
    ws.LanguageModel(backbone, verbose=False).save(tmp_path)
    opened = ws.Backbone.from_pretrained(tmp_path)
    assert ws.FullFineTuning().explain(tmp_path).rows == ws.FullFineTuning().explain(opened).rows
