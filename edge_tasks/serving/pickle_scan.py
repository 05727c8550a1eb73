"""Which modules a pickle needs, found without loading it: nothing that it names is imported or called.

The names are those that its opcodes look up. Files of joblib are pickles with the bytes of arrays in between; these are
skipped. https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle.py
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import pickle
import zlib
from pathlib import Path
from typing import IO, Any, cast

_MAGIC = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open, b"]\x00": lzma.open}
_ZLIB = (b"x\x01", b"x\x9c", b"x\xda", b"x^")
_BLOCK = 1 << 20
# A compiled module of scikit-learn whose classes name it by its last part: those of every gradient boosting. It is
# found, since a pickle names `sklearn` before.
_SHORT_NAME, _FULL_NAME, _ITS_CLASSES = "_loss", "sklearn._loss._loss", "Cy"


class UnreadablePickleError(Exception):
    """A file is not a pickle, or a broken one."""


def needed_names(path: Path) -> set[str]:
    """Return what the pickle looks up: `module.name` of each class and function.

    Raises UnreadablePickleError when the file is not a pickle.
    """
    found: set[str] = set()
    try:
        with _opened(path) as file:
            _Scanner(file, found).load()
    except Exception as error:  # a broken pickle may fail in any way
        raise UnreadablePickleError(f"{path.name} is not a pickle that can be read: {error}") from error
    return found


def needed_modules(path: Path) -> set[str]:
    """Return the dotted names of the modules that the pickle needs."""
    return {name.partition(":")[0] for name in needed_names(path)}


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(2)
    if start in _ZLIB:
        return io.BytesIO(zlib.decompress(path.read_bytes()))
    opener: Any = _MAGIC.get(start, open)
    return cast("IO[bytes]", opener(path, "rb"))


class _Inert:
    """Stands for every class and function of a pickle, and for what it makes; it takes everything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return _Inert()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)


class _ArrayInFile(_Inert):
    """joblib's note that the bytes of an array follow."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state)


class _DType(_Inert):
    """numpy's type of an array: only its size, and whether it holds objects, matter."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = str(code)
        self.size = int(self.code[1:]) if self.code[1:].isdigit() else 0

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subdtype, names, fields, size, ...); texts (U) and bytes (S) have their size there.
        if isinstance(state, tuple) and len(state) > 5 and isinstance(state[5], int) and state[5] > 0:
            self.size = state[5]

    @property
    def holds_objects(self) -> bool:
        return self.code.startswith("O")


# The C unpickler reads ahead, past the bytes of arrays; Python's own does not. joblib is made on it, too.
_Unpickler: Any = pickle._Unpickler  # noqa: SLF001


class _Scanner(_Unpickler):  # type: ignore[misc]
    dispatch = dict(_Unpickler.dispatch)

    def __init__(self, file: IO[bytes], found: set[str]) -> None:
        super().__init__(file)
        self._file_of_arrays = file
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _ArrayInFile
        if module == _SHORT_NAME and name.startswith(_ITS_CLASSES):
            module = _FULL_NAME
        self._found.add(f"{module}:{name}")
        if (module, name) == ("numpy", "dtype"):
            return _DType
        return type("Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        return _Inert()

    def load_build(self) -> None:
        super().load_build()
        built = self.stack[-1]
        if isinstance(built, _ArrayInFile):
            self._skip(built.state)

    dispatch[pickle.BUILD[0]] = load_build

    def _skip(self, state: dict[str, Any]) -> None:
        dtype = state.get("dtype")
        if not isinstance(dtype, _DType):
            raise ValueError("an array without its type")  # noqa: TRY004  it is the file that is wrong
        if dtype.holds_objects:
            _Scanner(self._file_of_arrays, self._found).load()
            return
        if state.get("numpy_array_alignment_bytes"):
            self._file_of_arrays.read(self._file_of_arrays.read(1)[0])
        left = math.prod(state["shape"]) * dtype.size
        while left > 0:
            block = self._file_of_arrays.read(min(left, _BLOCK))
            if not block:
                raise EOFError("the bytes of an array are missing")
            left -= len(block)
