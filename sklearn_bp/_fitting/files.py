"""Files that are replaced as a whole, and locks on them.

Whatever lies in the folder besides belongs to the user.  Files of our own have names
that nothing else has: `_own_name`.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import weakref

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # elsewhere
    msvcrt = None  # type: ignore[assignment]

# What the system says where another one holds a lock.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_TOKEN_BYTES = 8


def target_of(path):
    """The file that a path leads to, absolute: through symlinks, which stay."""
    return os.path.realpath(os.fsdecode(path))


def check_place(path):
    """OSError, as a sentence, if no file can be written at a path."""
    target = target_of(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"There is no folder {folder!r} for the checkpoint {os.fsdecode(path)}. "
            "Create the folder, or give the fit another path."
        )
    if os.path.islink(target) or (
        os.path.exists(target) and not os.path.isfile(target)
    ):
        raise OSError(
            f"The checkpoint {os.fsdecode(path)} cannot be written: something that is "
            "no file has this name. Give the fit another path."
        )


def _own_name(target, kind, token=""):
    """A path beside a file, for a lock or for the file's next content."""
    folder, name = os.path.split(target)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return os.path.join(folder, f".{name[:20]}.{digest}{token}.sklearn_bp-{kind}")


def write_whole(path, content):
    """Write bytes; whatever happens, the file is then the old or the new one, whole.

    Through a file beside it, which is on the disk before it takes the name.  Owner and
    mode of the old file stay.
    """
    target = target_of(path)
    beside = _own_name(target, "part", "." + secrets.token_hex(_TOKEN_BYTES))
    file = open(beside, "xb")  # noqa: SIM115, it is closed before it takes the name
    try:
        with file:
            file.write(content)
            file.flush()
            _like_the_old(beside, target)
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        if os.path.exists(beside):
            os.remove(beside)
        raise
    _sync_folder(os.path.dirname(target))


def _like_the_old(beside, target):
    """Give a file the owner, group and mode of another, as far as that is allowed."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    new = os.stat(beside)
    if hasattr(os, "chown"):
        for has, had, owner in (
            (new.st_gid, old.st_gid, (-1, old.st_gid)),
            (new.st_uid, old.st_uid, (old.st_uid, -1)),
        ):
            if has != had:
                try:
                    os.chown(beside, *owner)
                except PermissionError:
                    continue  # the file becomes that of the user who writes it
    os.chmod(beside, stat.S_IMODE(old.st_mode))


def remove_unfinished(path):
    """Remove what killed processes have left of `write_whole`; under a `Lock` only."""
    target = target_of(path)
    before, after = os.path.split(_own_name(target, "part"))[1].rsplit(".", 1)
    token = rf"\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\."
    pattern = re.compile(re.escape(before) + token + re.escape(after))
    folder = os.path.dirname(target)
    for name in os.listdir(folder):
        if pattern.fullmatch(name):
            _remove(os.path.join(folder, name))


def _sync_folder(folder):
    """Have the new name on the disk too, but on Windows, which opens no folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        return  # another user's, or gone


# Locks.


class HeldError(Exception):
    """Another one holds the lock."""


class Lock:
    """The right to write a file, for one thread of one process at a time.

    The system takes it away from a process that dies.  It is on an empty file beside
    the other, which is removed in the end; one that a killed process has left holds
    nobody up.

    Parameters
    ----------
    path : str or path-like
        Of the file to be written, in a folder that exists.

    Raises
    ------
    HeldError
        If another one has the lock.
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, path):
        self._path = _own_name(target_of(path), "lock")
        while True:
            self._file = _open(self._path)
            try:
                self.is_held = _lock(self._file)
                if _is_at(self._file, self._path):
                    break
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)  # another one had it, and removed it in the end
        _LOCKS.add(self)

    def release(self):
        """Give it back; more than once does nothing."""
        if self._file is None:
            return
        file, self._file = self._file, None
        _LOCKS.discard(self)
        ours = os.fstat(file).st_size == 0
        if fcntl is not None and ours:
            _remove(self._path)  # while it is locked, so that nobody else has it
        os.close(file)
        if fcntl is None and ours:
            _remove(self._path)  # Windows removes no open file

    def _forget(self):
        """In a forked process: the lock is the other's, and lives no longer than it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_LOCKS: weakref.WeakSet = weakref.WeakSet()


def _forget_locks():
    for lock in list(_LOCKS):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _open(path):
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        if not os.path.exists(path):
            raise
        return os.open(path, os.O_RDONLY | flags)  # another user's


def _lock(file):
    """Whether a file could be locked, which some file systems do not know."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            return False
    except OSError as error:
        if error.errno in _HELD:
            raise HeldError from error
        return False
    return True


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
