"""Refuses to start beside a file that hides a module of the standard library that is needed here.

Python looks into the program's own directory first. Every library that imports `queue` then gets a
`queue.py` of that directory, and fails elsewhere with another name, or crashes.

A leaf, and the first that is imported: it must not need modules that may be hidden.
"""

import os
import sys

NEEDED = frozenset(
    """
    abc argparse array ast asyncio base64 bdb binascii bisect bz2 calendar codecs collections
    concurrent contextlib contextvars copy copyreg csv ctypes dataclasses datetime decimal
    difflib dis email encodings enum fcntl fnmatch fractions functools gettext glob gzip hashlib
    heapq hmac html http importlib inspect io ipaddress json keyword linecache locale logging
    lzma math mimetypes mmap multiprocessing numbers opcode operator pathlib pickle pkgutil
    platform pprint queue quopri random re reprlib resource secrets select selectors shlex
    shutil signal socket socketserver sqlite3 ssl stat string struct subprocess tempfile
    textwrap threading timeit token tokenize tomllib traceback types typing unicodedata urllib
    uuid warnings weakref wsgiref zipfile zlib
    """.split()  # noqa: SIM905  # a list would have a line for each
)
"""Modules that this package and its libraries import, in a worker or in a job process."""


def require_standard_library(directory: "str | None" = None) -> None:
    """Raise `ImportError` for the first file in a directory that hides a module of `NEEDED`.

    Args:
        directory: The first entry of Python's path, now or later; None: the present one.
    """
    if directory is None:
        directory = sys.path[0] if sys.path else "/"
    directory = os.path.abspath(directory)
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return  # an archive, or nothing
    if directory == os.path.dirname(os.__file__):
        return
    for name in names:
        path = os.path.join(directory, name)
        module = name.removesuffix(".py")
        if module not in NEEDED or not _is_module(path):
            continue
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if module in sys.modules and not (loaded or "").startswith(path):
            continue  # the right one was loaded before this directory came into the path
        raise ImportError(
            f"{path} hides the library {module!r} of Python, which is needed here; give it another "
            "name",
            name=module,
            path=path,
        )


def _is_module(path: str) -> bool:
    return path.endswith(".py") or os.path.isfile(os.path.join(path, "__init__.py"))
