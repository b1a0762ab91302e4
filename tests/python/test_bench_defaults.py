"""The comparison of the defaults, bench/defaults: draws, the dev part, resuming, the arithmetic of the report."""

import json
import random
import statistics
import sys
from collections import Counter

import pytest

from bench.defaults import __main__ as command
from bench.defaults.draws import N_DRAWS, dev_part, draw, quotas
from bench.defaults.methods import RATES, Methods, Outcome
from bench.defaults.report import against_the_better, report
from bench.defaults.runs import METHODS, TUNING_DRAWS, Run, best_rate, draws_asked, runs
from bench.defaults.texts import DATA_SETS, DataSet, Examples, Splits

BY_NAME = {data.name: data for data in DATA_SETS}
SETTING = {"backbone": "small", "limit_test": None}


def labels_of(counts, seed=0):
    labels = [label for label, count in counts.items() for _ in range(count)]
    random.Random(seed).shuffle(labels)
    return labels


@pytest.mark.parametrize("size", [1, 5, 7, 50, 111, 200, 237])
def test_stratified_draws_are_within_one_text_of_the_proportion(size):
    counts = {"a": 113, "b": 67, "c": 41, "d": 16}
    labels = labels_of(counts)
    rows = draw(labels, str(size), 3, stratified=True)
    drawn = Counter(labels[row] for row in rows)
    assert len(set(rows)) == len(rows) == size
    assert all(abs(drawn[label] - size * count / 237) < 1 for label, count in counts.items())


def test_a_rare_class_has_one_text_where_there_is_room():
    assert quotas({"a": 9_000, "b": 900, "c": 99, "d": 1}, 10) == {"a": 7, "b": 1, "c": 1, "d": 1}
    assert quotas({"a": 9_000, "b": 900, "c": 99, "d": 1}, 3) == {"a": 3, "b": 0, "c": 0, "d": 0}


@pytest.mark.parametrize("stratified", [True, False])
def test_eight_of_every_class_and_full_size(stratified):
    labels = labels_of({"a": 40, "b": 9, "c": 8})
    rows = draw(labels, "8-a-class", 1, stratified)
    assert Counter(labels[row] for row in rows) == {"a": 8, "b": 8, "c": 8} and len(set(rows)) == 24
    assert draw(labels, "full", 5, stratified) == list(range(57))
    with pytest.raises(ValueError):
        draw([*labels, "rare"], "8-a-class", 1, stratified)


@pytest.mark.parametrize("stratified", [True, False])
def test_a_draw_is_that_of_its_seed(stratified):
    labels = labels_of({"a": 31, "b": 17})
    assert draw(labels, "13", 4, stratified) == draw(labels, "13", 4, stratified)
    assert len({tuple(draw(labels, "13", seed, stratified)) for seed in range(N_DRAWS)}) == N_DRAWS


@pytest.mark.parametrize("stratified", [True, False])
def test_the_dev_part_has_no_text_of_any_draw(stratified):
    labels = labels_of({"a": 1700, "b": 803})
    texts = [f"text {row % 2100}" for row in range(2503)]  # some stand twice
    splits = Splits(Examples(texts, labels), Examples([], []))
    data = DataSet("made", lambda _: splits, ("71",), stratified)
    dev = dev_part(data, splits, "71")
    drawn = {texts[row] for seed in range(N_DRAWS) for row in draw(labels, "71", seed, stratified)}
    assert len(dev) == 1000 and not drawn & set(dev.texts)
    rest = Counter(label for text, label in zip(texts, labels, strict=True) if text not in drawn)
    share = 1000 / sum(rest.values())
    assert all(abs(Counter(dev.labels)[label] - share * count) < 1 for label, count in rest.items())


def test_a_published_dev_file_goes_first():
    published = Examples(["d", "e", "f"], ["x", "y", "x"])
    splits = Splits(Examples(["a"], ["x"]), Examples(["b"], ["x"]), published)
    dev = dev_part(DataSet("made", lambda _: splits, ("1",), True), splits, "1")
    assert sorted(zip(dev.texts, dev.labels, strict=True)) == [("d", "x"), ("e", "y"), ("f", "x")]
    tags = Splits(splits.pool, splits.test, Examples([["d"], ["e", "f"]], [["O"], ["O", "B-x"]]))
    assert dev_part(DataSet("tags", lambda _: tags, ("1",), False, entities=True), tags, "1") == tags.dev


def test_sizes_of_less_than_two_texts_a_class_are_left_out():
    classes = {"trec": 6, "banking77": 77, "sst2": 2, "clinc150": 151, "germeval2018": 2}
    for name, n_classes in classes.items():
        sizes = {"8-a-class", "full"} | {str(n) for n in (50, 200, 1000) if n >= 2 * n_classes}
        assert set(BY_NAME[name].sizes) == sizes


def test_runs_of_a_cell():
    assert [draws_asked(BY_NAME["sst2"], "8-a-class", method) for method in METHODS] == [10, 10, 10, 0, 3]
    assert [draws_asked(BY_NAME["banking77"], "1000", method) for method in METHODS] == [10, 10, 10, 3, 0]
    assert [draws_asked(BY_NAME["clinc150"], "full", method) for method in METHODS] == [3, 0, 0, 0, 0]
    assert [draws_asked(BY_NAME["wnut17"], "600", method) for method in METHODS] == [3, 0, 3, 0, 0]


def line(method, draw, score, part="test", rate=None, data="sst2", size="50", seconds=1.0):
    run = {"data": data, "size": size, "method": method, "draw": draw, "part": part, "rate": rate}
    measured = {"score": score, "seconds": seconds, "train": 50, "scored": 9, "versions": {"python": "3"}}
    return run | SETTING | measured


def tuned(best, **cell):
    """Lines of the dev part that choose the rate ``best``: neither the best single run nor the last."""
    scores = {rate: (0.9, 0.1) for rate in RATES} | {best: (0.6, 0.7)}
    return [line("finetune", i, s, "dev", rate, **cell) for rate, pair in scores.items() for i, s in enumerate(pair)]


def test_the_rate_is_chosen_by_its_mean_on_the_dev_part_alone():
    records = []

    def follow():
        yield from runs(BY_NAME["sst2"], "50", ["finetune"], 4, lambda: records)

    made = []
    for run in follow():
        made.append(run)
        dev = {1e-4: 0.8, 2e-4: 0.8}.get(run.rate, 0.7)
        records.append(line("finetune", run.draw, dev if run.part == "dev" else 1 - dev, run.part, run.rate))
    n = len(RATES) * TUNING_DRAWS
    assert made[:n] == [Run("sst2", "50", "finetune", i, "dev", rate) for rate in RATES for i in range(TUNING_DRAWS)]
    assert made[n:] == [Run("sst2", "50", "finetune", i, "test", 1e-4) for i in range(4)]  # the smaller of equals
    assert best_rate(records[:4], "sst2", "50") is None and best_rate(tuned(5e-5), "sst2", "50") == 5e-5


def test_a_cell_is_held_against_the_better_of_two_by_paired_differences():
    chance = random.Random(0)
    default, features, fine = ([chance.uniform(lo, lo + 0.1) for _ in range(10)] for lo in (0.8, 0.6, 0.79))
    records = tuned(2e-4)
    for i in range(10):
        records += [line("default", i, default[i]), line("features", i, features[i])]
        records += [line("finetune", i, fine[i], rate=2e-4), line("finetune", i, 1.0, rate=5e-5)]  # not chosen: no part
    found = against_the_better(records, "sst2", "50")
    differences = [100 * (a - b) for a, b in zip(default, fine, strict=True)]
    assert found.mean == pytest.approx(statistics.mean(differences))
    assert found.error == pytest.approx(statistics.stdev(differences) / 10**0.5) and found.draws == 10


@pytest.mark.parametrize(
    ("loss", "spread", "n_draws", "verdict"),
    [(0.4, 0.0, 10, "met"), (0.6, 0.0, 10, "**missed**"), (0.6, 0.3, 10, "met"), (0.4, 0.0, 9, "open")],
)
def test_verdict_of_a_cell(loss, spread, n_draws, verdict):
    # Losses of loss +- spread points in turn: the standard error is spread / 3 for ten draws.
    records = tuned(5e-5)
    for i in range(n_draws):
        better = 0.5 + (loss + spread * (-1) ** i) / 100
        records += [line("default", i, 0.5), line("features", i, better), line("finetune", i, 0.3, rate=5e-5)]
    text = report(records)
    (row,) = [row for row in text.splitlines() if row.startswith("| sst2")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "sst2" and cells[-1] == verdict and cells[-2] == str(n_draws)
    assert cells[6] == f"-{loss:.2f}"
    assert f"over 1 of 17 cells: {cells[6]} points, asked >= 0: open" in text


def test_what_is_reported_beside():
    records = [line("default", i, 0.8 + i / 100, size="1000") for i in range(10)]
    records += [line("trainer", i, 0.7 + i / 100, size="1000") for i in range(3)]
    records += [line("default", i, 0.7, size="8-a-class", seconds=i) for i in range(10)]
    records += [line("setfit", i, 0.6, size="8-a-class", seconds=10 * i) for i in range(3)]
    records += [line("default", i, 0.9 + i / 100, size="full") for i in range(3)]
    wnut17 = {"data": "wnut17", "size": "600"}
    records += tuned(1e-4, **wnut17) + [line("finetune", i, 0.42, rate=1e-4, **wnut17) for i in range(3)]
    records += [line("default", i, 0.395 + i / 100, **wnut17) for i in range(3)]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in report(records).splitlines()]
    assert ["sst2", "81.00", "71.00", "+10.00", "3", "met"] in rows  # the Trainer: its three draws alone
    assert ["sst2", "70.00", "60.00", "1.0", "10.0", "3"] in rows  # setfit, with seconds
    assert ["sst2", "50", "91.00", "90.00-92.00", "1.0", "3"] in rows
    assert ["wnut17, 600 sentences", "40.50", "42.00", "0.0001", "-1.50", "3", "met"] in rows


def test_runs_of_several_settings_are_not_mixed():
    with pytest.raises(ValueError, match="keep them apart"):
        report([line("default", 0, 0.5), line("default", 1, 0.5) | {"limit_test": 7}])


def test_a_command_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """Against a made data set and methods that only count: no model."""
    (tmp_path / "trec").mkdir()
    for name, n in (("train", 90), ("test", 11)):
        text = "".join(f"{'ABC'[i % 3]}:fine question {name} {i} ?\n" for i in range(n))
        (tmp_path / "trec" / f"{name}.txt").write_text(text, encoding="utf-8")
    learnt = []

    def run(self, method, train, texts, seed, rate=None):
        learnt.append((method, seed, len(train), len(texts)))
        if len(learnt) == 3:
            raise KeyboardInterrupt
        return Outcome(["A"] * len(texts), 0.5, {"python": "3"})

    monkeypatch.setattr(Methods, "__post_init__", lambda self: None)
    monkeypatch.setattr(Methods, "run", run)
    out = tmp_path / "out.jsonl"
    options = ["--data", tmp_path, "--out", out, "--only", "trec", "--sizes", "8-a-class", "--limit-test", 7]
    options += ["--methods", "default", "features", "--draws", 2, "--backbone", tmp_path]
    monkeypatch.setattr(sys, "argv", ["defaults", *map(str, options)])
    with pytest.raises(KeyboardInterrupt):
        command.main()
    assert len(out.read_text().splitlines()) == 2
    command.main()
    command.main()  # nothing is left
    records = [json.loads(text) for text in out.read_text().splitlines()]
    assert [(record["method"], record["draw"]) for record in records] == [(m, i) for m in METHODS[:2] for i in (0, 1)]
    assert learnt[2:] == [("features", 0, 24, 7), ("features", 0, 24, 7), ("features", 1, 24, 7)]
    assert all(record["limit_test"] == 7 and record["scored"] == 7 for record in records)
