"""The memory that is left: read from file systems of Linux that are written for the test."""

from pathlib import Path

import pytest

from striate.runtime import free_memory

MIB = 2**20


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = {"proc/meminfo": f"MemTotal:  {9000 * 1024} kB\nMemFree: 1 kB\nMemAvailable:   {4000 * 1024} kB\n"}


def group(folder: str, limit: object, usage: int, cached: int, *, version: int) -> dict[str, str]:
    if version == 2:
        names, prefix = ("memory.max", "memory.current"), ""
    else:
        names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
    stat = f"anon 5\n{prefix}inactive_file {cached * MIB}\n{prefix}active_file 7\n"
    return {
        f"{folder}/{names[0]}": f"{limit}\n",
        f"{folder}/{names[1]}": f"{usage * MIB}\n",
        f"{folder}/memory.stat": stat,
    }


def test_without_groups_it_is_what_the_system_has(tmp_path: Path) -> None:
    write(tmp_path, MEMINFO)
    assert free_memory(root=tmp_path) == 4000 * MIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory(root=tmp_path) is None
    write(tmp_path, {"proc/meminfo": "MemTotal: 5 kB\n", "proc/self/cgroup": "nonsense\n0::/x\n"})
    assert free_memory(root=tmp_path) is None


@pytest.mark.parametrize("mount", ["sys/fs/cgroup", "sys/fs/cgroup/unified"])
def test_version_2_the_tightest_group_on_the_way_up_counts(tmp_path: Path, mount: str) -> None:
    write(
        tmp_path,
        MEMINFO
        | {"proc/self/cgroup": "0::/jobs/one\n"}
        | group(f"{mount}/jobs/one", "max", 100, 0, version=2)
        | group(f"{mount}/jobs", 1000 * MIB, 700, 200, version=2)
        | group(mount, 3000 * MIB, 700, 0, version=2),
    )
    assert free_memory(root=tmp_path) == (1000 - 700 + 200) * MIB


def test_version_2_in_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    write(
        tmp_path,
        MEMINFO | {"proc/self/cgroup": "0::/docker/4f2a\n"} | group("sys/fs/cgroup", 512 * MIB, 500, 0, version=2),
    )
    assert free_memory(root=tmp_path) == 12 * MIB


def test_version_1(tmp_path: Path) -> None:
    listed = "9:name=systemd:/\n5:cpu,cpuacct:/x\n4:memory:/jobs/two\n"
    place = "sys/fs/cgroup/memory"
    unlimited = group(place, 9223372036854771712, 8000, 0, version=1)
    write(tmp_path, MEMINFO | {"proc/self/cgroup": listed} | unlimited)
    assert free_memory(root=tmp_path) == 4000 * MIB, "the largest number means none"
    write(tmp_path, group(f"{place}/jobs/two", 2000 * MIB, 1900, 50, version=1))
    assert free_memory(root=tmp_path) == 150 * MIB


def test_a_group_that_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    write(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/\n"} | group("sys/fs/cgroup", MIB, 5, 0, version=2))
    assert free_memory(root=tmp_path) == 0


def test_here_it_is_some_of_the_machines() -> None:
    from striate.runtime import machine

    left = free_memory()
    assert left is None or 0 < left <= machine().memory
