"""A store exists whole or not at all: written as STORE.partial beside its target, renamed when complete.

The partial file is held by flock, so a second builder of the same target is refused, and one that a killed builder left
behind (nobody holds it) is reused. The lock is on an inode: after locking, the path must still lead to that inode, else
the other builder has just published it and truncating it would destroy a finished store.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from ..errors import InputError
from .outputs import Kind, check_output

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # LMDB reports a short write on a full disk as EIO


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn whatever LMDB or the system says about writing into one InputError that names `path` and the reason."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        full = any(os.strerror(number).lower() in reason.lower() for number in _FULL)
        advice = ": the disk is full, it seems; free space on it, or choose another folder" if full else ""
        raise InputError(f"cannot write {path}: {reason}{advice}") from error


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that `path` holds either what it held before or all of `data`."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    file = open(partial, "wb", opener=open_no_link)  # noqa: SIM115
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_no_link(path: str | Path, flags: int) -> int:
    """As os.open, for our own files of temporary name: a link put in such a place is refused, what it leads to is not
    touched, and a pipe is not waited for.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if os.path.islink(path):
            raise InputError(f"{path} is a link, where sdali keeps unfinished work; remove it") from None
        raise error


class _Partial:
    """What is being made under the name `TARGET.partial`, locked; see PartialFile and PartialFolder."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".partial")
        self.descriptor = -1

    def _open(self) -> int:
        raise NotImplementedError

    def _remove(self) -> None:
        raise NotImplementedError

    def _lock(self) -> int:
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_at_path(descriptor):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise InputError(f"{self.target} is being built by another process; wait for it, or stop it") from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def publish(self) -> None:
        """Rename over the target, make the name durable, unlock; the content must be on disk already."""
        os.replace(self.path, self.target)
        self._close()
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove it, while it is still locked; does nothing once published."""
        if self.descriptor >= 0:
            self._remove()
            self._close()

    def _close(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1


class PartialFile(_Partial):
    """The locked, empty file `TARGET.partial`; `publish` renames it to the target, `discard` removes it.

    Attributes: `target`; `path`, where the file lies; `descriptor`, open for reading and writing until then.
    Raises InputError where the target is no place for this kind of output, exists (unless `overwrite`), or is being
    built, OSError where the file system refuses.
    """

    def __init__(self, target: Path, kind: Kind, *, overwrite: bool) -> None:
        super().__init__(target)
        check_output(target, kind)
        self.descriptor = self._lock()
        try:
            check_output(target, kind, overwrite=overwrite)
            os.ftruncate(self.descriptor, 0)
        except BaseException:
            self.discard()
            raise

    def _open(self) -> int:
        return open_no_link(self.path, os.O_RDWR | os.O_CREAT)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)


class PartialFolder(_Partial):
    """The locked, empty folder `TARGET.partial`; `publish` renames it to the target, `discard` removes it.

    A target that exists is never replaced, since who names a folder of photographs by mistake would lose it. Raises
    InputError where it does or is being built, OSError where the file system refuses.
    """

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self.descriptor = self._lock()
        if os.path.lexists(target):
            self.discard()
            raise InputError(f"{target} exists already, and a folder is not replaced; remove it, or name another")
        for leftover in self.path.iterdir():
            leftover.unlink()

    def _open(self) -> int:
        self.path.mkdir(exist_ok=True)
        return open_no_link(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
