"""Thread counts from affinity and control groups, on made-up file systems."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import cpus


def write(root: Path, files: dict[str, str]) -> Path:
    """A tree of control group files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000", "a/cpu.max": "200000 100000"}, 1.0),
        ("0::/docker/1234\n", {"cpu.max": "300000 100000"}, 3.0),  # the host's path, not below this mount
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (
            "3:cpu,cpuacct:/x\n2:memory:/y\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            4.0,
        ),
        ("3:cpuacct,cpu:/x\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ("2:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, None),
        ("", {"cpu.max": "100000 100000"}, None),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(
    tmp_path: Path, membership: str, files: dict[str, str], quota: float | None
) -> None:
    assert cpus.cpu_quota(membership, root=write(tmp_path, files)) == quota


@given(membership=st.text(max_size=50))
@settings(max_examples=50)
def test_no_text_makes_it_fail(membership: str) -> None:
    assert cpus.cpu_quota(membership.replace("\0", ""), root=Path("/nonexistent")) is None


@pytest.mark.parametrize(("quota", "threads"), [("max", 4), ("50000", 1), ("250000", 2), ("900000", 4)])
def test_threads_are_bounded_by_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    write(tmp_path, {"cpu.max": f"{quota} 100000", "self": "0::/"})
    monkeypatch.setattr(cpus, "SELF_CGROUP", tmp_path / "self")
    monkeypatch.setattr(cpus, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert cpus.usable_cpus() == threads


def test_without_control_groups_affinity_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "SELF_CGROUP", tmp_path / "missing")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 6})
    assert cpus.usable_cpus() == 2
