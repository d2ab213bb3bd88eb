"""Memory that a control group does not grant is not counted on."""

from pathlib import Path

import psutil
import pytest

from tasks.runtime.memory import available_bytes

GB = 2**30
FILES = {
    2: ("memory.max", "memory.current", "sys/fs/cgroup", "0::{}", "inactive_file"),
    1: (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "sys/fs/cgroup/memory",
        "5:cpu,memory:{}",
        "total_inactive_file",
    ),
}


def limit(root: Path, version: int, group: str, most: str, used: int, remembered: int = 0) -> None:
    names = FILES[version]
    folder = root / names[2] / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[4]} {remembered}\n")


def joins(root: Path, version: int, group: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("1:name=systemd:/x\n" + FILES[version][3].format(group))


@pytest.mark.parametrize("version", FILES)
def test_the_tightest_group_above_counts_and_what_is_merely_remembered_is_free(
    tmp_path: Path, version: int
) -> None:
    joins(tmp_path, version, "/batch/job")
    limit(tmp_path, version, "batch/job", str(GB), GB // 2, GB // 8)
    limit(tmp_path, version, "batch", str(3 * GB), GB // 2)
    assert available_bytes(tmp_path) == GB - GB // 2 + GB // 8
    limit(tmp_path, version, "batch", str(GB // 2), GB // 2)
    assert available_bytes(tmp_path) == 0


@pytest.mark.parametrize("version", FILES)
def test_inside_a_container_the_root_is_the_group(tmp_path: Path, version: int) -> None:
    joins(tmp_path, version, "/docker/3f2a")
    limit(tmp_path, version, "", str(GB), 10)
    assert available_bytes(tmp_path) == GB - 10


@pytest.mark.parametrize(("version", "most"), [(2, "max"), (1, str(2**63 - 4096))])
def test_without_a_limit_it_is_what_the_machine_has(
    tmp_path: Path, version: int, most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins(tmp_path, version, "/")
    limit(tmp_path, version, "", most, 10)
    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert available_bytes(tmp_path) == free.available == available_bytes(tmp_path / "nowhere")
