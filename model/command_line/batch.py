"""Many files through one command: which they are, where each goes, and the processes that do them."""

import argparse
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from model.command_line.codecs import Checkpoints, LoadedOnce, source_of
from model.command_line.files import UsageError, say
from model.command_line.outcomes import Outcome, attempt
from model.cpus import usable_cpus


class Task(NamedTuple):
    """One file and where its result goes."""

    source: Path
    target: Path


Work = Callable[[Task], Outcome]
Command = Callable[[argparse.Namespace, Checkpoints | None], Outcome]


class Worker:
    """Does a command for one file after the other; each checkpoint is loaded once."""

    def __init__(self, command: Command, args: argparse.Namespace, checkpoints: Checkpoints | None) -> None:
        """Take what does one file, by its arguments `input` and `output`, and the arguments that all files share."""
        self._command = command
        self._args = args
        self._checkpoints = checkpoints

    def __call__(self, task: Task) -> Outcome:
        """Do one file; a fault of ours that shows with it does not keep the others from being done."""
        try:
            return attempt(lambda: self._run(task))
        except Exception as exc:  # noqa: BLE001 - by itself the file shows all of it
            return Outcome(1, f"unforeseen {type(exc).__name__}: {exc}; done by itself, it tells where")

    def _run(self, task: Task) -> Outcome:
        if not isinstance(self._checkpoints, LoadedOnce):  # not earlier: no module goes to another process
            self._checkpoints = LoadedOnce(source_of(self._checkpoints))
        task.target.parent.mkdir(parents=True, exist_ok=True)
        args = argparse.Namespace(**vars(self._args), input=str(task.source), output=str(task.target))
        return self._command(args, self._checkpoints)


def plan(paths: Sequence[str], output_dir: Path, *, suffixes: Collection[str], suffix: str) -> list[Task]:
    """What is to be done: files as they are named, and those in folders and below that end with one of `suffixes`.

    A folder's own tree is kept below `output_dir`. Hidden files and folders, and `output_dir` itself, are left out.

    Args:
        paths: files and folders.
        output_dir: where results go.
        suffixes: of a folder's files, in small letters, with their dots.
        suffix: of results; it takes the place of a file's own.

    Raises UsageError where a folder has nothing, or two results would be one file.
    """
    tasks: dict[Path, Task] = {}
    for path in paths:
        if path == "-":
            raise UsageError("--output-dir takes files and folders, not `-`")
        root = Path(path)
        found = [root]
        if root.is_dir():
            found = list(_files(root, suffixes, without=output_dir))
            if not found:
                raise UsageError(f"{path} has no files that end with {', '.join(sorted(suffixes))}")
        for source in found:
            below = source.parent.relative_to(root) if source != root else Path()
            task = Task(source, output_dir / below / f"{source.stem}{suffix}")
            if task.target in tasks:
                both = f"{tasks[task.target].source} and {source}"
                raise UsageError(f"{both} would both be written to {task.target}; do one of them by itself")
            tasks[task.target] = task
    return list(tasks.values())


def default_jobs(device: str) -> int:
    """Processes for a device: one for each CPU, which is measured to be the fastest, and one for a GPU.

    Raises ParameterError, DeviceError.
    """
    if device == "cpu":
        return usable_cpus()
    from model.checkpoints import resolve_device

    return 1 if resolve_device(device).type == "cuda" else usable_cpus()


def run_all(tasks: Sequence[Task], work: Work, *, jobs: int) -> Outcome:
    """Do all tasks, with a progress bar on a terminal and a line for each that fails; status 1 if any did.

    A fault of the installation, status 3, ends it early.
    """
    failed, read, written, notes = 0, 0, 0, Counter[str]()
    with (
        closing(run(tasks, work, jobs=jobs)) as outcomes,
        tqdm(outcomes, total=len(tasks), unit="file", file=sys.stderr, disable=None) as bar,
    ):
        for task, outcome in bar:
            if outcome.status == 3:
                return outcome
            if outcome.status:
                failed += 1
                with tqdm.external_write_mode(file=sys.stderr):
                    say(f"{task.source}: {f'{outcome}'.removeprefix(f'{task.source}: ')}")
            else:
                notes.update(outcome.notes)
                read, written = read + task.source.stat().st_size, written + task.target.stat().st_size
    text = f"{len(tasks) - failed} of {len(tasks)} files done, {read} -> {written} bytes"
    return Outcome(1 if failed else 0, text, tuple(f"{name} in {n}" for name, n in sorted(notes.items())))


def run(tasks: Sequence[Task], work: Work, *, jobs: int) -> Generator[tuple[Task, Outcome]]:
    """The outcome of each task as it ends, by so many processes; by this one where it is one.

    Threads are divided among processes. Where the caller stops early, tasks that have not begun are not done.
    """
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        for task in tasks:
            yield task, work(task)
        return
    threads = max(1, usable_cpus() // jobs)
    # Fresh processes: a copy of this one would share the locks of threads that it does not have.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(work, threads)
    )
    try:
        futures: dict[Future[Outcome], Task] = {pool.submit(_do, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                outcome = Outcome(1, "a process died, perhaps for lack of memory; fewer --jobs may help")
            yield futures[future], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _files(root: Path, suffixes: Collection[str], *, without: Path) -> Iterator[Path]:
    left_out = without.resolve()
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and (here / name).resolve() != left_out
        )
        for name in sorted(names):
            if name[0] != "." and Path(name).suffix.lower() in suffixes:
                yield here / name


_works: list[Work] = []  # of a process of the pool: its only one


def _begin(work: Work, threads: int) -> None:
    """Prepare a process of the pool: its share of threads, and an end that leaves nothing half-written."""
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's, which lets what has begun come to its end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _works.append(work)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    with suppress(OSError):
        parent.join()
    os._exit(1)


def _do(task: Task) -> Outcome:
    return _works[0](task)
