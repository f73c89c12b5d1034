"""The figures of stochastic hypergradients: the exact solution, budgets, quick forms."""

import numpy as np
import pytest

from bilevax import reproduce
from bilevax.reproduce.sid import _methods, _rules, _setting

SINGLE, MULTIPLE = reproduce.figures("sid")


@pytest.fixture(scope="module")
def split():
    return _setting.Split.of(_setting.images(None, quick=True), 3)


def solve(split, x, method, t, rows=()):
    """A transcription with closed forms: w, v and the squared error's estimate."""
    a, b = split.train
    alpha = 2 / (split.largest + np.max(x) + np.min(x))
    beta = 2 / (1 - split.contraction(x) ** 2)
    eta = lambda i: beta / (beta + i) if method == "dec" else 1.0
    some = lambda level, i: slice(None) if method == "batch" else rows[level][i]
    w = v = np.zeros(a.shape[1])
    for i in range(t):
        f, s = a[some(0, i)], b[some(0, i)]
        w = w - eta(i) * alpha * (-(s / (1 + np.exp(s * (f @ w)))) @ f / len(s) + x * w)
    f, s = split.valid
    outer = -(s / (1 + np.exp(s * (f @ w)))) @ f / len(s)
    for i in range(t):
        f = a[some(1, i)]
        p = 1 / (1 + np.exp(-(f @ w)))
        v = v - eta(i) * (alpha * ((p * (1 - p) * (f @ v)) @ f / len(f) + x * v) - outer)
    return w, v, -alpha * (w @ v if np.ndim(x) == 0 else w * v)


@pytest.mark.parametrize("method", _methods.METHODS)
def test_methods_are_their_transcriptions(split, method):
    xs = np.array([0.1, 1.0])
    solved = [_setting.exact(split, x) for x in xs]
    found = _methods.errors(split, solved, xs, method, (3,), epochs=(2, 4))
    draws = [_methods.drawn(800, 200, (3, level)) for level in range(2)]
    for i, x in enumerate(xs):
        for j, epochs in enumerate((2, 4)):
            w, v, gradient = solve(split, x, method, _methods.budget(method, epochs), draws)
            expected = {
                "y": np.sum((w - solved[i].y) ** 2),
                "v": np.sum((v - solved[i].v) ** 2),
                "gradient": (gradient - solved[i].gradient) ** 2,
            }
            for name, value in expected.items():
                np.testing.assert_allclose(found[name][j, i], value, rtol=1e-9, err_msg=name)


def test_the_reference_is_the_derivative_of_the_validation_loss(split):
    x = np.exp(np.random.default_rng(0).uniform(-1, 1, 64))
    a, b = split.valid
    value = lambda x: np.mean(np.logaddexp(0, -b * (a @ _setting.exact(split, x).y)))
    direction, h = np.random.default_rng(1).standard_normal(64), 1e-5
    found = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    exact = _setting.exact(split, x)
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
    assert _setting.signs(np.array(["odd", "even", "odd"])).tolist() == [1.0, -1.0, 1.0]
    with pytest.raises(ValueError, match=r"two classes, and the labels have 3.*Merge"):
        _setting.signs(np.array([0, 1, 2]))


def test_where_mnist_is_missing_digits_are_shown(tmp_path):
    found = _setting.images(tmp_path, quick=False)
    assert found.features.shape == (1797, 64)
    assert "MNIST is not in" in found.note and "fetch_mnist" in found.note


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


def test_the_quick_form_of_figure_2_passes():
    outcome, _ = reproduce.run(MULTIPLE, quick=True)
    assert outcome.checks and not outcome.failed, outcome.checks
    axes = outcome.figure.axes[0]
    assert axes.get_yscale() == "log" and len(axes.lines) == 3
    assert len(outcome.columns["dec"]) == 2 * len(_methods.EPOCHS)


@pytest.mark.slow
def test_the_quick_form_of_figure_1_passes():
    outcome, _ = reproduce.run(SINGLE, quick=True)
    assert outcome.checks and not outcome.failed, outcome.checks


@pytest.mark.slow
@pytest.mark.parametrize("figure", [SINGLE, MULTIPLE])
def test_whole_figures_pass(figure, real_data):
    outcome, _ = reproduce.run(figure, data=real_data)
    assert not outcome.failed, outcome.checks
