"""Progress: in a terminal, and silence elsewhere."""

import io
import re
import sys

import pytest
from warmstart.progress import TokenBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def watch(monkeypatch):
    """Put a terminal in place of the error stream; to be called in the test, for pytest sets its own before that."""

    def replace() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


def test_a_terminal_sees_loss_and_tokens(make, texts, labels, watch):
    terminal = watch()
    make(verbose=True, epochs=2).fit(texts, labels, eval_set=(texts, labels))
    shown = terminal.getvalue()
    assert re.search(r"epoch 2/2: 100%", shown)
    assert re.search(r"tok/s", shown)
    for part in ("loss=", "eval_loss=", "accuracy="):
        assert part in shown


def test_the_bar_ends_at_the_number_of_tokens(watch):
    terminal = watch()
    with TokenBar(500, "work", verbose=True) as bar:
        bar.move_to(120)
        bar.move_to(500, loss="0.5")
    assert "500/500" in terminal.getvalue()


def test_the_bar_of_a_run_that_goes_on_begins_where_it_stood(watch):
    terminal = watch()
    with TokenBar(500, "work", verbose=True, already_done=400) as bar:
        bar.move_to(450)
    shown = terminal.getvalue()
    assert "400/500" in shown
    assert " 0/500" not in shown


def test_verbose_false_shows_nothing(make, texts, labels, watch, capsys):
    terminal = watch()
    clf = make(verbose=False).fit(texts, labels)
    clf.predict(texts)
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out == ""


def test_a_pipe_sees_nothing(make, texts, labels, capfd):
    clf = make(verbose=True).fit(texts, labels)
    clf.predict(texts)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_short_predictions_show_no_bar(fitted, texts, watch):
    terminal = watch()
    fitted.set_params(verbose=True)
    try:
        fitted.predict(texts)
    finally:
        fitted.set_params(verbose=False)
    assert terminal.getvalue().strip() == ""


def test_a_silent_bar_has_no_callback():
    with TokenBar(10, "work", verbose=False) as bar:
        assert bar.callback is None
        bar.describe("other")
        bar.move_to(5)
