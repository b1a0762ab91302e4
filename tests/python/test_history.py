"""`History`: rows, tables, curves."""

import numpy as np
import pytest
import warmstart as ws
from warmstart.history import History

ROWS = [
    {"step": s, "epoch": s / 4, "loss": 1 / s, "eval_loss": 2 / s, "f<1>": 0.1 * s, "tokens": 10 * s, "elapsed_s": 1.0}
    for s in (4, 8, 12)
]


def test_a_row_for_each_epoch_with_and_without_evaluation(make, texts, labels):
    plain = make(epochs=3).fit(texts, labels).history_
    scored = make(epochs=3).fit(texts, labels, eval_set=(texts, labels)).history_
    assert [round(row["epoch"]) for row in plain.rows] == [1, 2, 3] == [round(row["epoch"]) for row in scored.rows]
    assert "eval_loss" not in plain.columns
    assert {"eval_loss", "accuracy", "learning_rate", "grad_norm", "tokens", "elapsed_s"} <= set(scored.columns)
    assert plain.best_step is None
    assert scored.rows[-1]["tokens"] > scored.rows[0]["tokens"] > 0


def test_loss_falls_while_learning(fitted):
    assert fitted.history_.rows[-1]["loss"] < fitted.history_.rows[0]["loss"]


def test_rows_make_a_data_frame():
    pd = pytest.importorskip("pandas")
    history = History(ROWS, "f<1>", best_step=8)
    assert pd.DataFrame(history.rows).shape == (3, 7)
    assert list(pd.DataFrame(history.to_dict()).columns) == history.columns


def test_tables_mark_the_best_row_and_escape():
    history = History(ROWS, "f<1>", best_step=8)
    lines = repr(history).splitlines()
    assert [line.endswith("best") for line in lines] == [False, False, False, True, False]
    html = history._repr_html_()
    assert "f&lt;1&gt;" in html
    assert "<1>" not in html
    assert html.count("<tr>") == 4


def test_an_empty_history_says_so():
    history = History([], "accuracy")
    assert "no whole epoch" in repr(history)
    assert history._repr_html_().startswith("<p>")
    assert len(history) == 0


def test_plot_draws_loss_and_metric(fitted):
    loss, metric = fitted.history_.plot()
    assert metric.get_ylabel() == "accuracy"
    drawn = next(line for line in loss.lines if line.get_label() == "training")
    np.testing.assert_array_equal(drawn.get_ydata(), [row["loss"] for row in fitted.history_.rows])
    assert [text.get_text() for text in loss.get_legend().texts] == ["training", "evaluation"]


def test_plot_without_evaluation_draws_the_loss_alone(make, texts, labels):
    assert len(make().fit(texts, labels).history_.plot()) == 1


@pytest.mark.filterwarnings("ignore:batch_tokens=1 is less than the longest text")
@pytest.mark.parametrize("texts_of_step", [1, 16])
def test_curve_has_evenly_spaced_steps_and_not_too_many(make, texts, labels, texts_of_step):
    """Every step where there are few; of more than a thousand every second, and so on."""
    batch_tokens, epochs = (1, 150) if texts_of_step == 1 else (4096, 3)
    history = make(strategy=ws.LinearProbing(), batch_tokens=batch_tokens, epochs=epochs).fit(texts, labels).history_
    steps, last = [point["step"] for point in history.steps], history.rows[-1]["step"]
    assert steps == list(range(4, 2401, 4) if texts_of_step == 1 else (1, 2, 3))
    assert (last, history.steps[-1]["epoch"]) == (steps[-1], float(epochs))


def test_without_matplotlib_plot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install warmstart\[plot\]"):
        History(ROWS, "f<1>").plot()
