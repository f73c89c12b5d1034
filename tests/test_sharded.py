"""Rows on several devices: the same numbers, and sums of few numbers between devices."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from bilevax._rows.shards import _check_same, shard_rows
from cli_cases import arrays, flowers


def _on_four_devices(*command):
    """What a process with four devices prints."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def found():
    """What one process with four devices computed."""
    script = pathlib.Path(__file__).with_name("sharded_rows.py")
    return json.loads(_on_four_devices(script).splitlines()[-1])


def test_sharded_rows_give_what_one_device_gives(found):
    assert len(found["table"]) == 9 and len(found["drawn"]) == 6
    assert all(found["drawn"].values()), found["drawn"]
    assert all(error <= 1e-12 for error in found["table"].values()), found["table"]
    assert found["single"] <= 1e-6
    assert all(error <= 1e-12 for error in found["others"].values()), found["others"]
    assert all(error <= 1e-14 for error in found["products"]), found["products"]
    assert found["beside"]


def test_a_full_batch_step_sums_and_gathers_nothing(found):
    counts = found["collectives"]
    assert all(count == counts[0] for count in counts[1:]), counts
    reduces = counts[0].pop("all-reduce")
    assert 0 < reduces <= 12 and not any(counts[0].values()), counts


def test_what_cannot_be_sharded_is_refused(found):
    refused = found["refused"]
    assert "AxisType.Auto" in refused["explicit"] and "AxisType.Auto" in refused["placed"]
    assert "spread over devices" in refused["twice"] and "no rows" in refused["rows"]
    assert "'a': 2" in refused["axes"] and "at least one device" in refused["devices"]
    assert "got int" in refused["mesh"]


def test_what_processes_cannot_share_is_refused(monkeypatch):
    rows, mesh = np.ones((6, 2)), jax.sharding.Mesh(np.asarray(jax.devices()), "rows")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"processes \[0\] only, and there are 2"):
        shard_rows(rows, mesh)
    others = lambda own: np.stack([own, own + 1])
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", others)
    with pytest.raises(ValueError, match=r"process 0, has data: float64\[6, 2\]"):
        _check_same({"data": rows})


@pytest.mark.slow
def test_tune_spreads_rows_over_devices_and_resumes_bit_for_bit(tmp_path):
    flowers(tmp_path / "rows.csv")
    main = "import sys; from bilevax.cli import main; sys.argv[0] = 'bilevax'; main()"

    def tuned(folder, *options):
        """The learned penalties."""
        common = "--baseline-seconds", 0, "--output", tmp_path / folder
        _on_four_devices("-c", main, "tune", *options, *common)
        return arrays(tmp_path / folder / "hyperparameters.npz")["x"]

    run = tmp_path / "rows.csv", "--algorithm", "amigo-cg", "--steps"
    one, three = tuned("one", *run, 6), tuned("three", *run, 6, "--devices", 3)
    np.testing.assert_allclose(three, one, rtol=1e-4, atol=1e-6)
    tuned("cut", *run, 3, "--devices", 3)
    assert np.array_equal(tuned("cut", "--resume", "--steps", 6), three)
