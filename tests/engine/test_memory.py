import math
import os

import jax
import pytest

from fedn_jax.engine import memory


def linear(fixed, each, devices):
    """A compiler that says: so much for the data, so much per fold."""
    return lambda folds: (fixed + each * math.ceil(folds / devices), fixed)


def test_programs_are_as_few_as_fit_and_equal():
    assert memory.pack(22, 1, 1e9, linear(100, 10, 1)) == [range(22)]
    assert memory.pack(22, 2, 100 + 4 * 10, linear(100, 10, 2)) == [range(0, 7), range(7, 15), range(15, 22)]
    assert len(memory.pack(22, 2, 1e9, linear(0, 1, 2), programs=4)) == 4
    assert memory.pack(8, 1, 1e9, linear(0, 1, 1), programs=3) == [range(0, 3), range(3, 5), range(5, 8)]
    assert memory.pack(2, 1, 1e9, linear(0, 1, 1), programs=9) == [range(0, 1), range(1, 2)]
    with pytest.raises(ValueError, match="one fold needs 0.00 GB of device memory; 0.00 GB are allowed"):
        memory.pack(22, 4, 100, linear(95, 10, 4))


def test_what_a_compiler_says_is_obeyed_where_it_is_not_linear():
    needed = lambda folds: (folds**2 + 50, 50)
    ranges = memory.pack(40, 1, 150, needed)
    assert [number for part in ranges for number in part] == list(range(40))
    assert all(needed(len(part))[0] <= 150 for part in ranges)


def test_allowed_is_the_users_limit_or_a_share_of_the_machines():
    assert memory.allowed(jax.devices(), 2.5) == 2.5e9
    one, four = (memory.allowed(jax.devices("cpu")[:count], 0) for count in (1, 4))
    assert one == 4 * four and 1e9 < one < 0.81 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/slurm/job_1/step_0", "slurm/job_1", "memory.max"),
        ("4:cpu,memory:/slurm/job_1", "memory/slurm", "memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_a_job_counts(tmp_path, line, folder, name):
    """Schedulers set it for a group above that of the process."""
    whole = memory._machine_memory(tmp_path)
    assert whole == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = tmp_path / "sys/fs/cgroup" / folder
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:cpuset:/\n{line}\n")
    (group / name).write_text("max\n")
    assert memory._machine_memory(tmp_path) == whole
    (group / name).write_text("123456789\n")
    assert memory._machine_memory(tmp_path) == 123456789
