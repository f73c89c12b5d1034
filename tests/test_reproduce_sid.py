"""The figures of stochastic hypergradients: the exact solution, budgets, quick forms."""

import functools

import numpy as np
import pytest

from bilevax import reproduce
from bilevax.reproduce.sid import _binary, _methods, _rules, _setting, _sources

SINGLE, MULTIPLE, MULTINOMIAL = reproduce.figures("sid")


SOURCES = {"two classes": _sources.odd_or_even, "ten": _sources.ten_digits}


@functools.cache
def split(classes):
    return _setting.Split.of(SOURCES[classes](None, quick=True), 3)


def penalties():
    return np.exp(np.random.default_rng(0).uniform(-1, 1, 64))


def loss(part, w):
    """The mean over rows, for labels that are signs or one-hot."""
    a, b = part
    if b.ndim == 1:
        return np.mean(np.log1p(np.exp(-b * (a @ w))))
    return np.mean(np.log(np.sum(np.exp(a @ w), axis=1)) - np.sum(b * (a @ w), axis=1))


def slope(part, w):
    a, b = part
    if b.ndim == 1:
        return -(b / (1 + np.exp(b * (a @ w)))) @ a / len(b)
    p = np.exp(a @ w)
    return a.T @ (p / p.sum(axis=1, keepdims=True) - b) / len(b)


def product(part, w, v):
    """The Hessian of the loss at w times v."""
    a, b = part
    if b.ndim == 1:
        p = 1 / (1 + np.exp(-(a @ w)))
        return (p * (1 - p) * (a @ v)) @ a / len(b)
    p = np.exp(a @ w)
    p = p / p.sum(axis=1, keepdims=True)
    u = p * (a @ v)
    return a.T @ (u - p * u.sum(axis=1, keepdims=True)) / len(b)


FIRST = {"const": 10**6, "two_phase": 500}


def solve(split, x, method, t, rows=()):
    """A transcription with closed forms: w, v and the hypergradient's estimate."""
    (a, b), w = split.train, split.zeros
    penalty = x if np.ndim(x) == 0 else x.reshape(-1, *[1] * len(split.model.outputs))
    alpha = 2 / (split.largest + np.max(x) + np.min(x))
    beta = 2 / (1 - split.contraction(x) ** 2)
    late = lambda i: max(i - FIRST.get(method, 0), 0)
    eta = lambda i: 1.0 if method == "batch" else beta / (beta + late(i))
    some = lambda level, i: slice(None) if method == "batch" else rows[level][i]
    part = lambda level, i: (a[some(level, i)], b[some(level, i)])
    for i in range(t):
        w = w - eta(i) * alpha * (slope(part(0, i), w) + penalty * w)
    outer, v = slope(split.valid, w), split.zeros
    for i in range(t):
        v = v - eta(i) * (alpha * (product(part(1, i), w, v) + penalty * v) - outer)
    each = (w * v).reshape(len(w), -1).sum(axis=1)
    return w, v, -alpha * (each.sum() if np.ndim(x) == 0 else each)


# As in the figures' quick forms, whose programs these are.
CASES = [("two classes", m) for m in _methods.METHODS + _methods.VARIANTS]
CASES += [("ten", m) for m in _methods.METHODS]


@pytest.mark.parametrize("classes, method", CASES)
def test_methods_are_their_transcriptions(classes, method):
    """One penalty a pixel with two classes, one for all with ten."""
    of = split(classes)
    xs = penalties()[None] if classes == "two classes" else np.array([0.1])
    solved = [of.exact(x) for x in xs]
    budgets = (2, 60) if method != "batch" else (2, 4)
    found = _methods.errors(of, solved, xs, method, (3,), epochs=budgets)
    draws = [_methods.drawn(800, 3000, (3, level), method == "shuffled") for level in range(2)]
    for i, x in enumerate(xs):
        for j, epochs in enumerate(budgets):
            w, v, gradient = solve(of, x, method, _methods.budget(method, epochs), draws)
            expected = {
                "y": np.sum((w - solved[i].y) ** 2),
                "v": np.sum((v - solved[i].v) ** 2),
                "gradient": np.sum((gradient - solved[i].gradient) ** 2),
            }
            for name, value in expected.items():
                np.testing.assert_allclose(found[name][j, i], value, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("classes", SOURCES)
def test_the_reference_is_the_derivative_of_the_validation_loss(classes):
    of, x = split(classes), penalties()
    value = lambda x: loss(of.valid, of.exact(x).y)
    direction, h = np.random.default_rng(1).standard_normal(64), 1e-5
    found = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    exact = of.exact(x)
    assert exact.residual < 1e-14
    np.testing.assert_allclose(exact.gradient @ direction, found, rtol=1e-6)


def test_shuffled_epochs_have_every_row_once():
    rows = _methods.drawn(800, 250, (0,), shuffled=True)
    assert rows.shape == (250, 8)
    for epoch in (rows[:100], rows[100:200]):
        assert np.array_equal(np.sort(epoch.ravel()), np.arange(800))
    independent = _methods.drawn(800, 250, (0,))
    assert len(np.unique(independent[:100])) < 800


def test_all_methods_end_at_sixty_passes():
    for method in _methods.METHODS:
        t = _methods.budget(method, 60)
        assert 2 * t == 60 * (1 if method == "batch" else _setting.BATCHES)


def test_labels_of_two_classes_are_signs():
    assert _binary.signs(np.array(["odd", "even", "odd"])).tolist() == [1.0, -1.0, 1.0]
    with pytest.raises(ValueError, match=r"two classes, and the labels have 3.*Merge"):
        _binary.signs(np.array([0, 1, 2]))


def test_where_mnist_is_missing_digits_are_shown(tmp_path):
    for source in SOURCES.values():
        found = source(tmp_path, quick=False)
        assert found.features.shape == (1797, 64) and found.small
        assert "MNIST is not in" in found.note and "fetch_mnist" in found.note
    assert _sources.newsgroups(tmp_path) is None
    assert "20 Newsgroups is not in" in _sources.no_newsgroups(tmp_path)


def test_the_rules_have_two_sides():
    """Methods that are swapped are seen."""
    flat = np.ones((2, len(_methods.EPOCHS), 7))
    errors = {"batch": 1e-2 * flat, "const": 1e-3 * flat, "dec": 1e-5 * flat}
    of = lambda names: _rules.Runs(
        {m: {"gradient": errors[n], "y": errors[n]} for m, n in names.items()}, flat[:, 0]
    )
    judged = lambda runs: [
        c.verdict
        for c in (
            *_rules.advantages(runs, 0, "a", 10, 1.0),
            *_rules.constants(runs, 0, "a", 2),
        )
    ]
    assert set(judged(of({m: m for m in errors}))) == {"PASS"}
    assert "FAIL" in judged(of({"batch": "dec", "const": "const", "dec": "batch"}))
    assert "FAIL" in judged(of({"batch": "batch", "const": "dec", "dec": "const"}))


@pytest.mark.parametrize("figure", [MULTIPLE, MULTINOMIAL], ids=["2", "C1"])
def test_quick_forms_pass(figure):
    outcome, _ = reproduce.run(figure, quick=True)
    assert outcome.checks and not outcome.failed, outcome.checks
    axes = outcome.figure.axes[0]
    assert axes.get_yscale() == "log" and len(axes.lines) == 3
    assert len(outcome.columns["dec"]) == 2 * len(_methods.EPOCHS)
    # What is printed is what was measured, all after as many rows.
    table, last = outcome.table, np.asarray(outcome.columns["epochs"]) == 60
    for method in ("batch", "dec"):
        np.testing.assert_allclose(
            table[f"{method}_mean"], outcome.columns[method][last].mean()
        )
    ratio = table["batch_mean"] / table["dec_mean"]
    np.testing.assert_allclose(table["batch_/_dec_at_60"].astype(float), ratio, rtol=0.5)
    assert set(outcome.shown) <= set(table) and table["dec_wins"] == ["2/2"]
    assert 0 < table["shuffled_mean"] < table["const_mean"]


@pytest.mark.slow
def test_the_quick_form_of_figure_1_passes():
    outcome, _ = reproduce.run(SINGLE, quick=True)
    assert outcome.checks and not outcome.failed, outcome.checks


@pytest.mark.slow
@pytest.mark.parametrize("figure", [SINGLE, MULTIPLE, MULTINOMIAL])
def test_whole_figures_pass(figure, real_data):
    outcome, _ = reproduce.run(figure, data=real_data)
    assert not outcome.failed, outcome.checks
