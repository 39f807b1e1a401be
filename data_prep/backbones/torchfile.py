"""PyTorch's files without PyTorch: what ``torch.save`` wrote, read without running anything of it.

Such a file holds a pickle, and a pickle is a program: two of its instructions name a function and call it. Here the
instructions are read by ``pickletools`` and carried out on plain values. What a file may name is listed in ``_CALLS``
and ``_NUMBERS``, and all that is called are functions of this module; any other name is an error. No length that a
file states is believed before the bytes are there.
"""

import io
import math
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from fedn_jax.core.errors import UserError

# What reading damaged bytes may raise here and in zipfile; whoever reads a file turns it into one line.
DAMAGED = (ValueError, TypeError, LookupError, ArithmeticError, EOFError, OSError, RuntimeError, struct.error)
DAMAGED += zipfile.BadZipFile, zlib.error

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the format before PyTorch 1.6
_MOST_AXES = 8
_ADVICE = "if you trust it, load it in PyTorch and save only model.state_dict()"
_NUMBERS = {  # storage class -> numbers in it; little-endian, as PyTorch stores them
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}


class _Global(NamedTuple):
    """A function or class that the file names, by "module name"."""

    name: str


class _Storage:
    """Numbers in a row, shared by tensors; the file holds them apart from the pickle."""

    def __init__(self, dtype: np.dtype, count: int):
        self.dtype, self.count, self.values = dtype, count, None

    def fill(self, raw: bytes, swapped: bool = False) -> None:
        size = self.dtype.itemsize
        if len(raw) != self.count * size:
            raise ValueError(f"{len(raw)} bytes where {self.count} numbers of {size} bytes should be")
        flat = np.frombuffer(raw, np.uint8)
        if swapped:
            flat = flat.reshape(-1, size)[:, ::-1].reshape(-1)  # [count, size] -> [count * size]
        self.values = flat.view(self.dtype)


class Tensor(NamedTuple):
    """Where in a storage the numbers of a tensor are; counted in numbers, not in bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The numbers, not copied.

        Returns:
          [*shape], read-only.
        """
        if self.storage.values is None:
            raise ValueError("a tensor's numbers are not in the file")
        if 0 in self.shape:
            return np.zeros(self.shape, self.storage.dtype)
        strides = [stride * self.storage.dtype.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(self.storage.values[self.offset :], self.shape, strides, writeable=False)


def read(data: bytes) -> Any:
    """Reads a file of ``torch.save``, of today's format (a zip archive) or the one before PyTorch 1.6.

    Args:
      data: the file.

    Returns:
      What was saved: dicts, lists, tuples, text, numbers and :class:`Tensor`; None for NumPy values.

    Raises:
      UserError: not such a file, or one that holds more than that; the text lacks the path.
      DAMAGED: any of these, if the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):  # of Python, about odd characters in names
        if data.startswith(b"PK\x03\x04"):
            return _read_zip(data)
        if data.startswith(b"\x80"):
            return _read_legacy(data)
    if data[257:262] == b"ustar":
        raise UserError("is a tar archive; extract it, or if an early PyTorch wrote it, save it again with today's")
    raise UserError(
        f"begins with {data[:16]!r}, so it is neither safetensors nor written by torch.save; download it again"
    )


def _read_zip(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError("is a compressed zip archive, which torch.save never writes; extract it first")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("its entries are longer than the file")
        names = {entry.filename for entry in entries}
        folders = [name[: -len("data.pkl")] for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(folders) != 1:
            raise UserError(
                "is a zip archive without data.pkl, so not one of torch.save; if a checkpoint is in it, unzip"
            )
        folder = folders[0]
        if f"{folder}constants.pkl" in names:
            raise UserError("is a TorchScript program, not only weights; in PyTorch, save model.state_dict()")
        swapped = f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big"
        storages: dict[str, _Storage] = {}
        result = _run(io.BytesIO(archive.read(f"{folder}data.pkl")), storages)
        for key, storage in storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"), swapped)
    return result


def _read_legacy(data: bytes) -> Any:
    """Five pickles in a row: magic, protocol, system, object, keys; then the storages in the order of the keys."""
    stream, storages = io.BytesIO(data), {}
    if _run(stream, {}) != _MAGIC or _run(stream, {}) != _PROTOCOL:
        raise UserError("is a pickle that torch.save did not write; in PyTorch, torch.save(model.state_dict(), path)")
    _run(stream, {})
    result = _run(stream, storages)
    for key in _run(stream, {}):
        storage = storages[_the(str, key)]
        if struct.unpack("<q", stream.read(8)) != (storage.count,):
            raise ValueError(f"storage {key} has another length than its tensors say")
        storage.fill(stream.read(storage.count * storage.dtype.itemsize))
    return result


# ---- The stack machine ----------------------------------------------------------------------------------------------

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _run(stream: io.BytesIO, storages: dict[str, _Storage]) -> Any:
    """Carries out one pickle of protocol 2 to 5; the storages that it names are added to ``storages``."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def cut(start: int) -> list[Any]:
        taken = stack[start:]
        del stack[start:]
        return taken

    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case name if name in _TUPLES:
                stack.append(tuple(cut(len(stack) - _TUPLES[name])))
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(cut(marks.pop())))
            case "APPEND" | "APPENDS" as name:
                items = cut(marks.pop() if name == "APPENDS" else len(stack) - 1)
                _the(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = cut(marks.pop() if name == "SETITEMS" else len(stack) - 2)
                _fill(_the(dict, stack[-1]), zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_allowed(argument))
            case "STACK_GLOBAL":
                stack.append(_allowed(" ".join(_the(str, part) for part in cut(len(stack) - 2))))
            case "REDUCE":
                function, arguments = cut(len(stack) - 2)
                stack.append(_CALLS[_the(_Global, function).name](*_the(tuple, arguments)))
            case "BUILD":
                stack.pop()  # attributes beside the content, such as a state dict's versions
            case "BINPERSID":
                stack.append(_storage(_the(tuple, stack.pop()), storages))
            case "STOP":
                return stack.pop()
            case name:
                raise UserError(f"uses the pickle instruction {name}, which weights do not need; {_ADVICE}")
    raise EOFError("the pickle has no end")


def _allowed(name: str) -> _Global:
    if name not in _CALLS and name not in _NUMBERS:
        shown = ascii(name.replace(" ", "."))[1:-1][:80]
        raise UserError(
            f"needs {shown}: it holds objects beside tensors and could run any code, so not read; {_ADVICE}"
        )
    return _Global(name)


def _the(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _fill(target: dict, pairs: Iterable[tuple[Any, Any]]) -> dict:
    for key, value in pairs:
        if not isinstance(key, str | int | float | bytes | None):  # hashing nested tuples can take forever
            raise TypeError(f"a {type(key).__name__} as a key")
        target[key] = value
    return target


def _storage(reference: tuple, storages: dict[str, _Storage]) -> _Storage:
    """("storage", class, key, device, count), in the old format followed by the part to use, None for all."""
    kind, numbers, key, _, count, *view = reference
    if kind != "storage" or any(part is not None for part in view):
        raise UserError(f"refers to parts of storages, as PyTorch before 0.4 did; {_ADVICE}")
    dtype = _NUMBERS[_the(_Global, numbers).name]
    known = storages.setdefault(_the(str, key), _Storage(dtype, _the(int, count)))
    if (known.dtype, known.count) != (dtype, count) or count < 0:
        raise ValueError(f"storage {ascii(key)[:20]} has two types or lengths")
    return known


def _tensor(storage, offset, shape, strides, grad=False, hooks=None, flags=None) -> Tensor:
    numbers = [offset, *shape, *strides]
    if any(type(number) is not int or number < 0 for number in numbers) or not len(shape) == len(strides) <= _MOST_AXES:
        raise ValueError("a tensor's shape or strides are not numbers that fit")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count and last >= _the(_Storage, storage).count or count > storage.count:
        raise ValueError(f"a tensor of shape {list(shape)} is longer than its storage of {storage.count} numbers")
    if flags:
        raise ValueError("a tensor is stored conjugated or negated")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _nothing(*_: Any) -> None:
    """For what is not read: the metrics that checkpoints carry are often NumPy values."""


_CALLS: dict[str, Callable[..., Any]] = {  # what a file may call -> what is called instead
    "collections OrderedDict": lambda pairs=(): _fill({}, pairs),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "torch Size": lambda sizes=(): sizes,
    "torch device": _nothing,
    "_codecs encode": _nothing,  # bytes, in protocol 2
    "numpy dtype": _nothing,
    "numpy ndarray": _nothing,
    **{
        f"numpy.{core}.multiarray {name}": _nothing for core in ("core", "_core") for name in ("scalar", "_reconstruct")
    },
}
