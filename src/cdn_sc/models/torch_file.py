"""Reading what `torch.save` wrote, from anyone, without torch's own reader.

A file of `torch.save` is a zip archive: one pickle that describes the content, and the values of each tensor
beside it. Here the pickle is interpreted one instruction at a time, and the only things that come out are
numbers, texts, lists, tuples, dictionaries, `argparse.Namespace` and tensors. That has three advantages over
`torch.load(weights_only=True)`: sizes are limited, so that no small file takes gigabytes or hours; one reader
of the archive decides what is read (torch reads zip archives in another way than Python); and it does not
depend on a list of permitted classes that is one for the whole process, and so not safe among threads.
"""

from __future__ import annotations

import argparse
import pickletools
import struct
import zipfile
from collections.abc import Callable
from types import FunctionType
from typing import IO, Any

import torch
from torch import Tensor

from cdn_sc._bounded import ShortReads

#: Largest file, in bytes: the published networks have 3 MB, a training run of the default network 10 MB.
LARGEST_FILE = 512 << 20
# The pickles of published files have 55 kB; more instructions than these bytes hold cannot take long.
_LARGEST_PICKLE = 2 << 20
_MOST_TENSORS = 20_000
_MOST_DIMENSIONS = 8
_LONGEST_READ = 1 << 20
#: Mark of a folder in the external attributes of a zip member.
_FOLDER = 0x10

_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip


class UnreadableError(ValueError):
    """The file is damaged, or none of `torch.save`."""


class ForeignCodeError(UnreadableError):
    """The file asks for code beyond tensors and plain settings; the message is the name of the code."""


def read_torch_file(file: IO[bytes], size: int) -> Any:
    """Read a file of `torch.save`.

    Parameters
    ----------
    file
        The file, opened in binary mode.
    size
        Its number of bytes.

    Returns
    -------
    What was saved, of plain values, `argparse.Namespace` and tensors on the CPU. Ordered dictionaries come as
    plain ones. A tensor that is sparse or without values comes as an empty one on the device "meta".

    Raises
    ------
    ForeignCodeError
        If it asks for anything else; nothing is run.
    UnreadableError
        If it is damaged, too large, or no such file.
    """
    if size > LARGEST_FILE:
        raise UnreadableError(f"it has {size:,} bytes, and {LARGEST_FILE:,} are the most")
    try:
        # a stand-in for a file; zipfile asks for nothing but what it has
        with zipfile.ZipFile(ShortReads(file, _LONGEST_READ)) as archive:  # type: ignore[call-overload]
            return _Interpreter(_Archive(archive, size)).run()
    except UnreadableError:
        raise
    # A damaged file can fail in almost any way; all that matters is that it is no checkpoint.
    except (zipfile.BadZipFile, struct.error, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise UnreadableError(str(error)) from error
    except (KeyError, IndexError, AttributeError, AssertionError, OverflowError, MemoryError) as error:
        raise UnreadableError(str(error)) from error


class _Archive:
    """The members of the zip archive, each compared with its checksum as it is read."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise UnreadableError("two of its members have the same name")
        for member in members:
            # torch stores members as they are
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise UnreadableError(f"its member {member.filename!r} is compressed")
            if member.external_attr & _FOLDER:
                raise UnreadableError(f"its member {member.filename!r} is marked as a folder")
        if sum(member.file_size for member in members) > size:
            raise UnreadableError("its members are larger than the file")
        pickles = [m.filename for m in members if m.filename.partition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise UnreadableError(f"it has {len(pickles)} descriptions of its content (data.pkl)")
        self._top = pickles[0].partition("/")[0]
        self._known = {member.filename: member.file_size for member in members}
        if f"{self._top}/byteorder" in self._known and self.read("byteorder") != b"little":
            raise UnreadableError("its values have another byte order than little-endian")

    def read(self, name: str, most: int | None = None) -> bytearray:
        """Content of a member."""
        path = f"{self._top}/{name}"
        if most is not None and self._known[path] > most:
            raise UnreadableError(f"{path} has {self._known[path]:,} bytes, and {most:,} are the most")
        content = bytearray()
        with self._archive.open(path) as member:
            while piece := member.read(_LONGEST_READ // 2):
                content += piece
        return content


class _Mark:
    """Where a list of arguments begins on the stack."""


def _empty_tensor(*_: Any) -> Tensor:
    return torch.empty(0, device="meta")


def _nothing(*_: Any) -> None:
    return None


def _mapping(*given: Any) -> dict[Any, Any]:
    if given:
        raise UnreadableError("a dictionary is made of something")
    return {}


def _namespace(*given: Any) -> argparse.Namespace:
    if given:
        raise UnreadableError("settings are made of something")
    return argparse.Namespace()


def _tensor(values: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(values, Tensor) or len(size) > _MOST_DIMENSIONS:
        raise UnreadableError("a tensor is made of something else than values")
    return values.as_strided(size, stride, offset)


def _parameter(values: Tensor, *_: Any) -> Tensor:
    return values


#: What a pickle may call, by module and name, and what stands in for it here.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _mapping,
    "argparse Namespace": _namespace,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    **{
        f"torch._utils _rebuild_{kind}": _empty_tensor
        for kind in (
            "sparse_tensor",
            "sparse_csr_tensor",
            "meta_tensor_no_storage",
            "nested_tensor",
            "qtensor",
        )
    },
    # beside the weights, in the states of training; nobody looks at them
    "torch.serialization _get_layout": _nothing,
    "torch device": _nothing,
    "torch Size": _nothing,
}


class _Interpreter:
    """Does what a pickle says, as far as plain values and tensors need it."""

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._contents: dict[str, bytearray] = {}
        self._tensors = 0

    def run(self) -> Any:
        """Return the value that the pickle describes."""
        code = bytes(self._archive.read("data.pkl", most=_LARGEST_PICKLE))
        for opcode, argument, _ in pickletools.genops(code):
            if opcode.name == "STOP":
                (value,) = self._stack
                return value
            if opcode.name in _VALUES:
                self._stack.append(_VALUES[opcode.name](argument))
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise UnreadableError(f"its description uses the instruction {opcode.name}")
        raise UnreadableError("its description has no end")

    def _mark(self, _: None) -> None:
        self._stack.append(_Mark)

    def _since_mark(self) -> list[Any]:
        """Take off the stack what lies above the last mark."""
        found: list[Any] = []
        while (value := self._stack.pop()) is not _Mark:
            found.append(value)
        return found[::-1]

    def _tuple(self, _: None) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _short_tuple(self, length: int) -> None:
        values = self._stack[-length:]
        if len(values) < length or any(value is _Mark for value in values):
            raise UnreadableError("a tuple lacks a part")
        self._stack[-length:] = [tuple(values)]

    def _append(self, _: None) -> None:
        value = self._stack.pop()
        self._of_type(list).append(value)

    def _appends(self, _: None) -> None:
        values = self._since_mark()
        self._of_type(list).extend(values)

    def _set_item(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._fill(key, value)

    def _set_items(self, _: None) -> None:
        values = self._since_mark()
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._fill(key, value)

    def _fill(self, key: Any, value: Any) -> None:
        # a tuple as a key may take for ever to hash: its parts may be shared, in many levels
        if key is not None and not isinstance(key, str | int | float):
            raise UnreadableError(f"a dictionary has a {type(key).__name__} for a key")
        self._of_type(dict)[key] = value

    def _of_type(self, kind: type) -> Any:
        target = self._stack[-1]
        if not isinstance(target, kind):
            raise UnreadableError(f"something is put into a {type(target).__name__}")
        return target

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _global(self, name: str) -> None:
        module, _, kind = name.partition(" ")
        if name in _CALLS:
            self._stack.append(_CALLS[name])
        elif module == "torch" and kind in _STORAGES:
            self._stack.append(_STORAGES[kind])
        elif module == "torch" and isinstance(getattr(torch, kind, None), torch.dtype):
            self._stack.append(None)
        else:
            raise ForeignCodeError(name.replace(" ", "."))

    def _call(self, _: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, FunctionType) or not isinstance(arguments, tuple):
            raise UnreadableError("it calls something that is no function")
        value = function(*arguments)
        if isinstance(value, Tensor):
            self._tensors += 1
            if self._tensors > _MOST_TENSORS:
                raise UnreadableError(f"it has more than {_MOST_TENSORS:,} tensors")
        self._stack.append(value)

    def _build(self, _: None) -> None:
        """Fill in settings; what an ordered dictionary carries beside its content is left out."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, argparse.Namespace) and isinstance(state, dict):
            vars(target).update({str(name): value for name, value in state.items()})
        elif not isinstance(target, dict):
            raise UnreadableError(f"a {type(target).__name__} is given a state")

    def _storage(self, _: None) -> None:
        """Replace the description of a tensor's values by the values."""
        kind, dtype, key, _location, length = self._stack.pop()
        known = type(kind) is type(key) is str and type(length) is int and isinstance(dtype, torch.dtype)
        if not known or kind != "storage":
            raise UnreadableError("it asks for something else than the values of a tensor")
        if key not in self._contents:
            self._contents[key] = self._archive.read(f"data/{key}")
        content = self._contents[key]
        if len(content) != length * dtype.itemsize:
            raise UnreadableError(f"a tensor of {length} values has {len(content)} bytes")
        self._stack.append(torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype))


def _same(value: Any) -> Any:
    return value


_VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": _nothing,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _same),
}
_ACTIONS: dict[str, Callable[[_Interpreter, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "MARK": _Interpreter._mark,
    "TUPLE": _Interpreter._tuple,
    "TUPLE1": lambda machine, _: machine._short_tuple(1),
    "TUPLE2": lambda machine, _: machine._short_tuple(2),
    "TUPLE3": lambda machine, _: machine._short_tuple(3),
    "APPEND": _Interpreter._append,
    "APPENDS": _Interpreter._appends,
    "SETITEM": _Interpreter._set_item,
    "SETITEMS": _Interpreter._set_items,
    "BINPUT": _Interpreter._put,
    "LONG_BINPUT": _Interpreter._put,
    "BINGET": _Interpreter._get,
    "LONG_BINGET": _Interpreter._get,
    "GLOBAL": _Interpreter._global,
    "REDUCE": _Interpreter._call,
    "NEWOBJ": _Interpreter._call,
    "BUILD": _Interpreter._build,
    "BINPERSID": _Interpreter._storage,
}
