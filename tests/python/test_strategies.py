"""Strategies: data with scikit-learn's parameter protocol, checked when a plan is made."""

import pickle

import numpy as np
import pytest
import warmstart as ws
from sklearn.base import clone
from warmstart.strategies import STRATEGIES

BOTH = [ws.FullFineTuning, ws.LinearProbing]


@pytest.mark.parametrize("kind", BOTH)
def test_clone_and_pickle_keep_the_parameters(kind):
    strategy = kind(learning_rate=0.5, schedule="cosine")
    for copy in (clone(strategy), pickle.loads(pickle.dumps(strategy))):
        assert copy is not strategy
        assert copy == strategy


@pytest.mark.parametrize("kind", BOTH)
def test_constructor_stores_untouched(kind):
    value = object()
    strategy = kind(learning_rate=value)
    assert strategy.learning_rate is value
    assert strategy.get_params()["learning_rate"] is value


@pytest.mark.parametrize("kind", BOTH)
def test_dict_form_names_the_method_and_every_field(kind):
    strategy = kind()
    data = strategy.to_dict()
    assert STRATEGIES[data.pop("method")] is kind
    assert kind(**data) == strategy


def test_numpy_numbers_become_plain():
    data = ws.FullFineTuning(learning_rate=np.float32(0.5), max_grad_norm=np.int64(2)).to_dict()
    assert (data["learning_rate"], data["max_grad_norm"]) == (0.5, 2.0)
    assert type(data["learning_rate"]) is type(data["max_grad_norm"]) is float
    assert ws.FullFineTuning(max_grad_norm=None).to_dict()["max_grad_norm"] is None


def test_set_params_of_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"no parameter 'lr'; learning_rate is meant"):
        ws.FullFineTuning().set_params(lr=1)


def test_repr_shows_what_was_changed():
    assert repr(ws.FullFineTuning()) == "FullFineTuning()"
    assert repr(ws.LinearProbing(weight_decay=0.1)) == "LinearProbing(weight_decay=0.1)"


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"learning_rate": -1.0}, ValueError, "learning_rate"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"weight_decay": None}, TypeError, "weight_decay must be a number, got None"),
        ({"schedule": 3}, TypeError, "schedule must be a str"),
        ({"learning_rate": [0.1]}, TypeError, "learning_rate must be a number"),
        ({"warmup_ratio": 2.0}, ValueError, "warmup_ratio"),
        ({"schedule": "zigzag"}, ValueError, "zigzag"),
        ({"label_smoothing": -0.5}, ValueError, "label_smoothing"),
        ({"beta1": 1.5}, ValueError, "beta1"),
    ],
)
def test_values_out_of_range_are_named_by_explain(backbone, params, error, match):
    with pytest.raises(error, match=match):
        ws.FullFineTuning(**params).explain(backbone)


def test_explain_of_full_fine_tuning_trains_everything(backbone):
    plan = ws.FullFineTuning(learning_rate=0.01).explain(backbone, n_outputs=3)
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
    rows = ws.FullFineTuning(learning_rate=0.01, layer_decay=0.5).explain(backbone).rows
    rate = {}
    for row in rows:
        for part in ("embeddings.word", "layer.0.attention", "layer.1.attention"):
            if part in row["name"]:
                rate[part] = row["learning_rate"]
    assert rate["embeddings.word"] < rate["layer.0.attention"] < rate["layer.1.attention"] <= 0.01


def test_biases_and_norms_have_no_weight_decay(backbone):
    for row in ws.FullFineTuning(weight_decay=0.1).explain(backbone).rows:
        plain = row["name"].endswith("bias") or "LayerNorm" in row["name"]
        assert row["weight_decay"] == pytest.approx(0.0 if plain else 0.1), row["name"]


def test_plan_shows_itself_as_text_and_html(backbone):
    plan = ws.FullFineTuning().explain(backbone)
    assert "learning rate" in repr(plan)
    table, chosen = repr(plan).split("\n\n")
    assert table.splitlines()[-1].startswith("total")
    assert chosen.splitlines()[-1].startswith("learning_rate")
    assert "learning_rate" in plan._repr_html_()
    assert list(ws.FullFineTuning(learning_rate=1e-3).explain(backbone).choices) == ["head"]


def test_explain_of_a_path_says_how_to_open_it():
    with pytest.raises(TypeError, match=r"Backbone.from_pretrained\('some/dir'\)"):
        ws.FullFineTuning().explain("some/dir")
