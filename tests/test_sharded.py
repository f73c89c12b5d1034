"""Rows on several devices: the same numbers, and sums of few numbers between devices."""

import json
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def found():
    """What one process with four devices computed."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    script = pathlib.Path(__file__).with_name("sharded_rows.py")
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_sharded_rows_give_what_one_device_gives(found):
    far = [line for line in found["table"] if not line[-1] <= 1e-12]
    assert not far and len(found["table"]) == 5, far
    assert found["single"] <= 1e-6
    assert all(error <= 1e-12 for error in found["others"].values()), found["others"]


def test_a_full_batch_step_sums_and_gathers_nothing(found):
    counts = found["collectives"]
    assert counts[0] == counts[1]
    reduces = counts[0].pop("all-reduce")
    assert 0 < reduces <= 12 and not any(counts[0].values()), counts


def test_what_cannot_be_sharded_is_refused(found):
    refused = found["refused"]
    assert "AxisType.Auto" in refused["explicit"] and "AxisType.Auto" in refused["placed"]
    assert "10 rows" in refused["uneven"] and "Leave 2 rows out" in refused["uneven"]
    assert "mesh of 2" in refused["uneven"]
    assert "one axis" in refused["axes"] and "got int" in refused["mesh"]
