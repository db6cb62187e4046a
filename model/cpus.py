"""How many threads this process may use: its CPU affinity and its container's CPU quota.

Libraries count the machine's cores and start as many threads; inside a container with a quota of one CPU that
is slower by far than one thread, because the group is stopped for the rest of each period.
"""

import math
import os
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
SELF_CGROUP = Path("/proc/self/cgroup")


def cpu_quota(membership: str, *, root: Path) -> float | None:
    """CPUs that the control groups of a process allow, None where they set no bound.

    Args:
        membership: the text of `/proc/self/cgroup`, lines of `id:controllers:path` (v2: `0::path`).
        root: where the groups are mounted.

    A group is bound by its ancestors too, so the smallest quota on the way up counts. Inside a container the
    path may be the host's and not exist below the mount; the walk ends at the mount's root, which does.
    """
    quotas = []
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/"):
            continue
        if not controllers:
            quotas += [_quota_v2(root / group) for group in _with_ancestors(path)]
        elif "cpu" in controllers.split(","):
            mounts = {controllers, "cpu"}
            quotas += [_quota_v1(root / mount / group) for mount in mounts for group in _with_ancestors(path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def usable_cpus() -> int:
    """Threads worth starting: CPUs in the affinity mask, at most the quota rounded down, at least 1.

    Rounded down, because threads that meet at a barrier all wait for the one that the quota stopped.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota = cpu_quota(SELF_CGROUP.read_text(), root=CGROUP_ROOT)
    except OSError:  # no control groups on this system
        quota = None
    return max(1, count if quota is None else min(count, math.floor(quota)))


def _with_ancestors(path: str) -> list[str]:
    group = PurePosixPath(path.lstrip("/"))
    return [str(each) for each in (group, *group.parents)]


def _quota_v2(group: Path) -> float | None:
    fields = _words(group / "cpu.max")  # "max 100000" or "50000 100000": microseconds per period
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(group: Path) -> float | None:
    quota, period = _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    # "max" (v2) and -1 (v1) mean no bound
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) > 0 else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
