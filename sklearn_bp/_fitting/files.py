"""Files that are replaced as a whole, and locks on them.

All other files in the folder belong to the user.  Our own files have unique names, see
`_own_name`.
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

# The errors of the system if another process or thread holds a lock.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_TOKEN_BYTES = 8


def target_of(path):
    """The absolute path of the file behind a path; symlinks are followed and kept."""
    return os.path.realpath(os.fsdecode(path))


def check_name(path):
    """Raise a ValueError for paths that name no file on any system."""
    name = os.fsdecode(path)
    why = None
    if not name:
        why = "is empty"
    elif "\0" in name:
        why = "contains a null character"
    elif name.endswith((os.sep, os.altsep or os.sep)):
        why = "ends like the name of a folder"
    else:
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            why = "has characters that names of files cannot have"
    if why is not None:
        raise ValueError(
            f"The path {name!r} of the checkpoint {why}: pass the name of a file."
        )


def check_place(path):
    """Raise a readable OSError if no file can be written at a path."""
    target = target_of(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        hint = ""
        if os.fsdecode(path).startswith("~"):
            hint = "Here ~ is not the home folder: use os.path.expanduser. "
        raise FileNotFoundError(
            f"There is no folder {folder!r} for the checkpoint {os.fsdecode(path)}. "
            f"{hint}Create the folder, or give the fit another path."
        )
    if os.path.islink(target) or (
        os.path.exists(target) and not os.path.isfile(target)
    ):
        raise OSError(
            f"The checkpoint {os.fsdecode(path)} cannot be written: this path exists "
            "and is not a file. Give the fit another path."
        )
    try:
        os.stat(target)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise no_place(path, error) from error


def no_place(path, error):
    """The error if the system cannot write a file at a path, such as a long name."""
    return OSError(
        f"The checkpoint {os.fsdecode(path)} cannot be written ({error.strerror}). "
        "Give the fit another path."
    )


def _own_name(target, kind, token=""):
    """A path in the folder of a file, for its lock or its next content."""
    folder, name = os.path.split(target)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return os.path.join(folder, f".{name[:20]}.{digest}{token}.sklearn_bp-{kind}")


def write_whole(path, content):
    """Replace a file atomically: it is always the whole old or the whole new one.

    The bytes are first written to a file beside it, which is synced before it is
    renamed.  The new file keeps the owner and mode of the old one.
    """
    target = target_of(path)
    beside = _own_name(target, "part", "." + secrets.token_hex(_TOKEN_BYTES))
    file = open(beside, "xb")  # noqa: SIM115, it is closed before it is renamed
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
    """Copy owner, group and mode from another file, as far as permitted."""
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
    """Remove leftovers of killed processes in `write_whole`; hold a `Lock` to do so."""
    target = target_of(path)
    before, after = os.path.split(_own_name(target, "part"))[1].rsplit(".", 1)
    token = rf"\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\."
    pattern = re.compile(re.escape(before) + token + re.escape(after))
    folder = os.path.dirname(target)
    for name in os.listdir(folder):
        if pattern.fullmatch(name):
            _remove(os.path.join(folder, name))


def _sync_folder(folder):
    """Sync a folder to disk after a rename, except on Windows, where it cannot be."""
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
    """Another process or thread holds the lock."""


class Lock:
    """The right to write a file, for one thread of one process at a time.

    The system releases it if the process dies.  The lock is held on an empty file
    beside the target, which is removed at the end.  A lock file left by a killed
    process blocks nobody.

    Parameters
    ----------
    path : str or path-like
        The file to be written, in a folder that exists.

    Raises
    ------
    HeldError
        If another process or thread has the lock.
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
            os.close(self._file)  # its previous owner has removed it
        _LOCKS.add(self)

    def release(self):
        """Release the lock; further calls do nothing."""
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
        """Drop the lock in a forked process: it belongs to the parent."""
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
    """Whether a file could be locked; some file systems do not support locks."""
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
