"""Writing files: nothing that exists is replaced unless `overwrite` says so, and a file is whole or not there at all.

New content lies under a temporary name beside its target, goes to disk, and takes the target's name last, by a rename.
Stores, which take long, are `TARGET.partial` until then, and flock on it keeps a second builder out. What a killed
builder left under that name is locked by nobody and is begun again.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import lmdb

from ..errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # LMDB reports a short write on a full disk as EIO


def check_output(path: str | Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Raise InputError unless a file may be written to `path`, by the one rule of all functions and commands.

    The path is none of `inputs`; it is no folder, device or pipe, and its folder exists; a file that exists there is
    replaced only with `overwrite`. /dev/null is always accepted.
    """
    path = Path(path)
    if is_null(path):
        return
    check_apart(path, inputs)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; name a file, for example {path / 'NAME'}")
    if path.exists() and not path.is_file():
        raise InputError(f"cannot write {path}: it is a device or a pipe; name a file")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it, or name another")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: nothing may be written into {path.parent}; name another folder")
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists already; remove it, name another file, or pass overwrite=True")


def check_outputs(options: Any, *outputs: str, inputs: Iterable[Path] = ()) -> None:
    """Check the files that a job will write before any work is done: each by check_output, and no two the same.

    options: a dataclass with a field `overwrite`, whose fields `outputs` hold a path or None. Paths in all its other
    fields are inputs of the job, as are `inputs`. Raises InputError.
    """
    others = [*inputs, *paths_in(options, besides=outputs)]
    for path in (getattr(options, name) for name in outputs):
        if path is not None:
            check_output(path, overwrite=options.overwrite, inputs=others)
            others.append(path)


def check_apart(path: Path, others: Iterable[Path]) -> None:
    """Raise InputError where `path` and one of the others are the same file, by whatever name."""
    for other in others:
        with suppress(OSError):
            if os.path.realpath(path) == os.path.realpath(other) or os.path.samefile(path, other):
                raise InputError(f"{path} is also {other} of this very command, which would be lost; name another file")


def paths_in(options: Any, besides: Iterable[str] = ()) -> Iterator[Path]:
    """All paths in the fields of a dataclass, and in those of the dataclasses in it, but for the fields `besides`."""
    for field in fields(options):
        value = None if field.name in besides else getattr(options, field.name)
        if is_dataclass(value):
            yield from paths_in(value)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Path):
                yield each


def is_null(path: Path) -> bool:
    """Whether the path leads to /dev/null."""
    return os.path.realpath(path) == os.devnull


def write_file(path: str | Path, data: bytes, *, overwrite: bool = False) -> None:
    """Make `path` hold `data`, as check_output allows, or leave everything as it was and raise InputError."""
    path = Path(path)
    check_output(path, overwrite=overwrite)
    if not is_null(path):
        with write_errors(path):
            write_atomically(path, data)


def write_json(path: str | Path, document: Any, *, overwrite: bool = False) -> None:
    """Write a document as indented JSON; see write_file."""
    write_file(path, (json.dumps(document, indent=2) + "\n").encode(), overwrite=overwrite)


def write_png(path: str | Path, picture: Image.Image, *, overwrite: bool = False) -> None:
    """Write a picture as PNG; see write_file."""
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    write_file(path, encoded.getvalue(), overwrite=overwrite)


def write_atomically(path: Path, data: bytes) -> None:
    """Make `path` hold all of `data`, also after a power cut; an OSError leaves what it held before."""
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which becomes `path` when the block ends; where the block raises, `path` stays as it was."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn whatever LMDB or the system says about writing into one InputError that names `path` and the reason."""
    try:
        yield
    except lmdb.Error as error:
        raise InputError(f"cannot write {path}: {_reason(str(error))}") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error.strerror or str(error))}") from error


def _reason(text: str) -> str:
    full = any(os.strerror(number).lower() in text.lower() for number in _FULL)
    return text + (": the disk is full, it seems; free space on it, or choose another folder" if full else "")


def locked(opened: Callable[[], int], path: Path, operation: int, refusal: str) -> int:
    """The descriptor that `opened` gives, with a lock (fcntl.LOCK_EX or LOCK_SH) on the file that `path` leads to.

    Another process may publish or remove the file between our open and our lock. The lock is then on a file that is no
    longer ours to change, so we open again. Raises InputError with the `refusal` where another process has the lock.
    """
    while True:
        descriptor = opened()
        with ExitStack() as undo:
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    undo.pop_all()
                    return descriptor
            except BlockingIOError:
                raise InputError(refusal) from None
            except FileNotFoundError:
                pass


class _Partial:
    """What is written under the name `TARGET.partial` and locked; see PartialFile and PartialFolder."""

    _open: Callable[[], int]
    _remove: Callable[[], None]

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".partial")
        refusal = f"{target} is being built by another process; wait for it, or stop it"
        self.descriptor = locked(self._open, self.path, fcntl.LOCK_EX, refusal)

    def publish(self) -> None:
        """Give it the target's name and make that durable; its content must be on disk already."""
        os.replace(self.path, self.target)
        self._close()
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove it, while it is still locked; does nothing once it is published."""
        if self.descriptor >= 0:
            self._remove()
            self._close()

    def _close(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1


class PartialFile(_Partial):
    """The locked, empty file `TARGET.partial`; `publish` renames it to the target, `discard` removes it.

    Attributes: `target`; `path`, where the file lies; `descriptor`, open for reading and writing until then.
    Raises InputError where check_output refuses the target, or another process builds it, OSError where the file system
    refuses.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        if is_null(target):
            raise InputError(f"cannot write {target}: it is a device or a pipe; name a file")
        check_output(target, overwrite=overwrite)
        super().__init__(target)
        try:
            check_output(target, overwrite=overwrite)  # again: another builder may have published it before our lock
            os.ftruncate(self.descriptor, 0)
        except BaseException:
            self.discard()
            raise

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)


class PartialFolder(_Partial):
    """The locked, empty folder `TARGET.partial`; `publish` renames it to the target, `discard` removes it.

    With `overwrite`, `publish` replaces a folder that holds a file of the name `marker`, by which a store is known:
    who names a folder of photographs by mistake does not lose it. Raises InputError for any other target that exists,
    and where another process builds it, OSError where the file system refuses.
    """

    def __init__(self, target: Path, *, marker: str, overwrite: bool = False) -> None:
        super().__init__(target)
        try:
            if os.path.lexists(target) and not overwrite:
                raise InputError(f"{target} exists already; remove it, name another file, or pass overwrite=True")
            if os.path.lexists(target) and not (target / marker).is_file():
                raise InputError(f"{target} exists already and is no folder of a store; remove it, or name another")
            for leftover in self.path.iterdir():
                leftover.unlink()
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Give it the target's name; a folder that it replaces is renamed first, and removed last."""
        with ExitStack() as cleanup:
            if self.target.exists():
                old = tempfile.mkdtemp(prefix=f"{self.target.name}.", suffix=".replaced", dir=self.target.parent)
                cleanup.callback(shutil.rmtree, old, ignore_errors=True)
                os.rename(self.target, old)
            super().publish()

    def _open(self) -> int:
        self.path.mkdir(exist_ok=True)
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
