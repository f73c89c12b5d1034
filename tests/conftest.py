"""Tests run in float64 unless they say otherwise; doctests in JAX's default float32."""

import gc
import os
import pathlib
import shutil
import tempfile

# Workers and the processes that tests start share what they compile, for one session.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["BILEVAX_TEST_PROGRAMS"] = tempfile.mkdtemp(prefix="bilevax-programs-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["BILEVAX_TEST_PROGRAMS"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Where in the source an operation stands costs a tenth of lowering, and is not looked at.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
# A test runs most programs once, so that they should compile fast rather than run fast. What
# depends on how a user's programs are compiled is marked `optimised`, and run so.
if "BILEVAX_TEST_OPTIMISED" not in os.environ:
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
        + " --xla_cpu_parallel_codegen_split_count=1 --xla_llvm_disable_expensive_passes=true"
    )

import jax
import pytest

# Traces are millions of objects that stay. Only new ones are searched for garbage: to look
# through all again takes seconds, each time, in some test that has nothing to do with it.
gc.set_threshold(200_000, 10**6)


def pytest_unconfigure():
    """The process that made the folder of programs removes it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["BILEVAX_TEST_PROGRAMS"], ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Tests of optimised programs wait for a session that has them."""
    if "BILEVAX_TEST_OPTIMISED" not in os.environ:
        waits = pytest.mark.skip(reason="for BILEVAX_TEST_OPTIMISED=1 pytest -m optimised")
        for item in items:
            if item.get_closest_marker("optimised"):
                item.add_marker(waits)


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _programs_are_dropped():
    """Each compiled program maps memory, of which a process has only so many pieces.

    Linux allows 65,530 unless told otherwise. Until they get scarce, or memory does, programs
    are kept: all modules call the same small operations, and many the same programs on the
    same problems.
    """
    yield
    if _mapped_pieces() > 40_000 or _resident_bytes() > 7e9:
        jax.clear_caches()
        gc.collect()


def _mapped_pieces():
    """Of this process; where that is not known, too many."""
    maps = pathlib.Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else float("inf")


def _resident_bytes():
    """Of this process; where that is not known, none."""
    pages = pathlib.Path("/proc/self/statm")
    return (
        int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0
    )


@pytest.fixture
def x32():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def compiled():
    """Names of what has been compiled since the test began."""
    names, listening = [], [True]

    def listener(event, seconds, **about):
        del seconds
        if listening[0] and event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield names
    listening[0] = False


@pytest.fixture(autouse=True)
def _pictures_are_drawn_where_they_are_looked_at(request, monkeypatch):
    """Drawing a run's pictures takes longer than a small run."""
    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr("bilevax.cli._one_split.job.pictures", lambda *run: [])
        monkeypatch.setattr("bilevax.cli._adaptive.outcome.pictures", lambda *run: [])
    yield


@pytest.fixture(autouse=True, scope="session")
def _the_users_cache_is_left_alone():
    """What the suite caches is kept for as long as it runs, for all of its workers."""
    folder = pathlib.Path(os.environ["BILEVAX_TEST_PROGRAMS"]) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pooch.os_cache", lambda project: folder / project)
        yield


@pytest.fixture(scope="session")
def real_data():
    """The folder with real data; where CI has none, that is a failure."""
    folder = os.environ.get("BILEVAX_DATA")
    if folder and pathlib.Path(folder).is_dir():
        return pathlib.Path(folder).resolve()
    if os.environ.get("CI"):
        pytest.fail("BILEVAX_DATA must name the folder with real data.")
    return pytest.skip("BILEVAX_DATA names no folder with real data.")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run on a small table, to copy and not to change: its data and its folder."""
    import cli_cases

    home = tmp_path_factory.mktemp("small")
    data, folder = cli_cases.table(home / "a.csv", *cli_cases.GOOD), home / "run"
    cli_cases.tune_split(data, "--steps", 3, "--output", folder)
    return data, folder
