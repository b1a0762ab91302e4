"""`precision`: what is rounded, what it costs, and what must not change."""

import os
import subprocess
import sys

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, GOOD, make_texts


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.999), ("int8", 0.99)])
def test_vectors_lie_close_to_those_in_f32_but_are_not_the_same(backbone, texts, precision, least):
    exact, rounded = (backbone.embed(texts, precision=p) for p in ("f32", precision))
    assert cosines(exact, rounded).min() > least
    assert not np.array_equal(exact, rounded)


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
def test_vectors_do_not_depend_on_company_or_threads(backbone, texts, precision):
    together = backbone.embed(texts, precision=precision)
    apart = np.concatenate([backbone.embed([text], precision=precision) for text in texts])
    np.testing.assert_array_equal(together, apart)
    try:
        ws.set_num_threads(1)
        np.testing.assert_array_equal(backbone.embed(texts, precision=precision), together)
    finally:
        ws.set_num_threads(0)


def test_layers_of_one_pass_equal_those_of_several(backbone, texts):
    layers = [2, 0, 1, 2]
    one_by_one = [backbone.embed(texts, layers=layer) for layer in layers]
    np.testing.assert_array_equal(backbone.embed(texts, layers=layers), np.concatenate(one_by_one, axis=1))


def test_training_in_bf16_learns_as_well_and_gives_the_same_bytes_twice(backbone):
    train, test = (make_texts(n, [BAD, GOOD], seed=s) for n, s in ((200, 0), (100, 1)))

    def fit(precision):
        clf = ws.TextClassifier(
            backbone,
            learning_rate=1e-2,
            epochs=8,
            precision=precision,
            random_state=0,
            verbose=False,
        )
        return clf.fit(*train)

    exact, rounded = fit("f32"), fit("bf16")
    assert rounded.score(*test) > 0.9
    assert abs(rounded.score(*test) - exact.score(*test)) <= 0.05
    np.testing.assert_array_equal(rounded.decision_function(test[0]), fit("bf16").decision_function(test[0]))


def test_a_classifier_predicts_in_int8_once_it_is_fitted(fitted, texts):
    exact = fitted.decision_function(texts)
    before = fitted.precision
    try:
        rounded = fitted.set_params(precision="int8").decision_function(texts)
    finally:
        fitted.set_params(precision=before)
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


def run(code, instructions):
    environment = {**os.environ, "WARMSTART_INSTRUCTIONS": instructions}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_an_unknown_set_of_instructions_is_refused_at_import():
    done = run("import warmstart._core", "sse9")
    assert done.returncode != 0
    assert 'WARMSTART_INSTRUCTIONS="sse9": expected one of baseline' in done.stderr


def test_older_instructions_give_nearly_the_same_vectors(backbone, texts, tmp_path):
    backbone.save_pretrained(tmp_path / "model")
    code = (
        "import warmstart as ws, numpy as np\n"
        f"backbone = ws.Backbone.from_pretrained({str(tmp_path / 'model')!r})\n"
        f"parts = [backbone.embed({list(texts)!r}, precision=p) for p in ('f32', 'bf16', 'int8')]\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, np.stack(parts))"
    )
    for instructions in ("baseline", "avx2", "avx512", "avx512bf16"):
        done = run(code, instructions)
        assert done.returncode == 0, done.stderr
        for precision, got in zip(("f32", "bf16", "int8"), np.load(tmp_path / "out.npy"), strict=True):
            here = backbone.embed(texts, precision=precision)
            # Where sums are rounded differently, a later rounding to bf16 or int8 may fall on the other side.
            tolerance = 1e-5 if precision == "f32" else 2e-2
            np.testing.assert_allclose(got, here, atol=tolerance * np.abs(here).max(), rtol=0)
