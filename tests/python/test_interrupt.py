"""Ctrl-C, other threads, and exceptions from callbacks during `fit`."""

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from warmstart.monitor import FitMonitor

TIMEOUT_S = 60.0
MANY_EPOCHS = 20_000


@pytest.fixture(autouse=True)
def python_handles_ctrl_c():
    """A shell starts background jobs, such as a CI run, with SIGINT ignored, and Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when(event: threading.Event, delay_s: float = 0.0) -> threading.Thread:
    """Send this process SIGINT, as Ctrl-C does, once the event is set."""

    def wait_and_send():
        if event.wait(TIMEOUT_S):
            time.sleep(delay_s)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread


def test_ctrl_c_leaves_the_best_model_so_far(make, texts, labels):
    begun = threading.Event()
    scores = []

    def metric(truth, predicted):
        scores.append(np.mean(truth == predicted))
        if len(scores) == 3:
            begun.set()
        return scores[-1]

    clf = make(epochs=MANY_EPOCHS, metric=metric)
    thread = interrupt_when(begun, delay_s=0.2)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, labels, eval_set=(texts, labels))
    thread.join()
    assert clf.n_iter_ < MANY_EPOCHS
    assert len(clf.history_) >= 3
    assert clf.report_.training["stopped_by"] == "KeyboardInterrupt"
    assert clf.report_.accuracy == max(row["metric"] for row in clf.history_.rows)
    assert clf.score(texts, labels) == clf.report_.accuracy


def test_evaluation_that_ctrl_c_stops_before_it_counts_is_none(make, texts, labels, monkeypatch):
    """Such as one that comes while the bar is moved."""
    scores = iter([0.25, 0.5, 0.75, 1.0])
    shown = FitMonitor._show

    def show(self, record):
        if record.get("metric") == 0.75:
            raise KeyboardInterrupt
        shown(self, record)

    def metric(truth, predicted):
        return next(scores)

    monkeypatch.setattr(FitMonitor, "_show", show)
    clf = make(epochs=MANY_EPOCHS, metric=metric)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, labels, eval_set=(texts, labels))
    assert [row["metric"] for row in clf.history_.rows] == [0.25, 0.5]
    assert clf.history_.best_step == clf.history_.rows[1]["step"]
    assert clf.report_.accuracy == clf.score(texts, labels)


def test_ctrl_c_without_evaluation_leaves_a_usable_model(make, texts, labels, monkeypatch, tmp_path):
    begun = threading.Event()
    on_epoch = FitMonitor.on_epoch
    monkeypatch.setattr(FitMonitor, "on_epoch", lambda self, record: (on_epoch(self, record), begun.set())[0])
    clf = make(epochs=MANY_EPOCHS)
    thread = interrupt_when(begun, delay_s=0.1)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, labels)
    thread.join()
    assert clf.n_iter_ >= 1
    assert len(clf.history_) >= 1
    assert clf.predict(texts).shape == (len(texts),)
    assert "stopped by" in repr(clf.report_)
    clf.save(tmp_path / "kept")


def test_ctrl_c_before_the_first_step_leaves_the_estimator_as_it_was(make, texts, labels, monkeypatch):
    def interrupt(self, facts):
        raise KeyboardInterrupt

    monkeypatch.setattr(FitMonitor, "on_start", interrupt)
    clf = make()
    before = dict(vars(clf))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(texts, labels)
    assert vars(clf) == before


def test_another_thread_advances_during_fit(make, texts, labels, monkeypatch):
    """Python takes its lock from nobody here, so that another thread runs only where `fit` gives it up."""
    begun, switch = threading.Event(), sys.getswitchinterval()
    monkeypatch.setattr(FitMonitor, "on_start", lambda *_: begun.set())

    def advance_and_interrupt():
        if begun.wait(TIMEOUT_S):
            for _ in range(1000):
                time.sleep(0)  # gives up the lock and asks for it again
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=advance_and_interrupt)
    thread.start()
    sys.setswitchinterval(1e6)
    clf = make(epochs=MANY_EPOCHS)
    try:
        with pytest.raises(KeyboardInterrupt):
            clf.fit(texts, labels)
    finally:
        sys.setswitchinterval(switch)
        thread.join()
    assert clf.n_iter_ < MANY_EPOCHS


def test_two_threads_fit_at_once(make, texts, labels):
    alone = make().fit(texts, labels).predict_proba(texts)
    results = [None, None]

    def work(slot):
        results[slot] = make().fit(texts, labels).predict_proba(texts)

    threads = [threading.Thread(target=work, args=(slot,)) for slot in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    for found in results:
        np.testing.assert_array_equal(found, alone)
