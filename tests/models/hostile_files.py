"""Checkpoints made by hand, instruction by instruction, to take memory or time."""

import io
import pickle
import struct
import zipfile

VALUES = struct.pack("<4f", 1, 2, 3, 4)


class Raw(bytes):
    """Pickle instructions that stand for a value."""


def instructions(value):
    """Pickle instructions that make a value."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return b"}(" + b"".join(instructions(k) + instructions(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(instructions, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(instructions, value)) + b"t"
    return pickle.dumps(value, 2)[2:-1]


def call(name, *arguments):
    """What a function gives, by its module and name."""
    return Raw(b"c" + name.replace(" ", "\n").encode() + b"\n" + instructions(arguments) + b"R")


def name(text):
    """A function or class by its module and name."""
    return Raw(b"c" + text.replace(" ", "\n").encode() + b"\n")


def tensor(key="0", length=4, size=(4,), stride=(1,), offset=0, kind="FloatStorage"):
    """A tensor of values that lie in the archive."""
    values = Raw(instructions(("storage", name(f"torch {kind}"), key, "cpu", length)) + b"Q")
    hooks = call("collections OrderedDict")
    return call("torch._utils _rebuild_tensor_v2", values, offset, size, stride, False, hooks)


def shared_tuples(depth):
    """2 ** depth leaves in a few bytes a level: each level holds the one below twice."""
    levels = b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(depth))
    return Raw(instructions("leaf") + levels)


def archive(content, values=VALUES, compression=zipfile.ZIP_STORED):
    """A file as torch.save writes it, around any content."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + instructions(content) + b".")
        file.writestr("archive/byteorder", b"little")
        file.writestr("archive/data/0", values)
        file.writestr("archive/version", b"3\n")
    return written.getvalue()


def with_two_directories():
    """An archive whose second table of contents, at the very end, names other members than the first.

    torch's reader and Python's may each go by another one.
    """
    honest = archive({"state_dict": {"a": tensor()}, "hyper_parameters": {}})
    bomb = archive(
        {"state_dict": {"a": tensor(length=1 << 26, size=(1 << 26,))}}, bytes(1 << 28), zipfile.ZIP_DEFLATED
    )
    return bomb + honest, honest + bomb


def long_table_of_contents():
    """Very many members without content."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for number in range(20_000):
            file.writestr(f"archive/{number}", b"")
    return written.getvalue()


def bombs():
    """Files by what they would do."""
    tensors = {"state_dict": {"a": tensor()}}
    first, second = with_two_directories()
    many = b"\x80\x02](" + b"}" * (3 << 20) + b"e."
    short = io.BytesIO()
    with zipfile.ZipFile(short, "w") as file:
        file.writestr("archive/data.pkl", many)
    same = Raw(instructions([tensor()])[:-1] + b"q\xf0" + b"h\xf0" * 2000 + b"e")
    return {
        "bytearray": archive(call("builtins bytearray", 3_000_000_000)),
        "bytearray of a list": archive(call("builtins bytearray", [0] * 1000)),
        "compressed": archive(tensors, bytes(1 << 26), zipfile.ZIP_DEFLATED),
        "two directories": first,
        "two directories, the other first": second,
        "long table of contents": long_table_of_contents(),
        "many instructions": short.getvalue(),
        "shared tuples as a key": archive(Raw(b"}" + shared_tuples(60) + instructions(1) + b"s")),
        "shared tuples as a name": archive({"state_dict": Raw(b"}" + shared_tuples(60) + tensor() + b"s")}),
        "shared tuples for a setting": archive(
            tensors | {"hyper_parameters": {"n_heads": shared_tuples(60)}}
        ),
        "shared tuples for settings": archive(tensors | {"hyper_parameters": shared_tuples(60)}),
        "shared tuples for all": archive(shared_tuples(60)),
        "shared tuples for a length": archive({"state_dict": {"a": tensor(length=shared_tuples(60))}}),
        "shared tuples for a shape": archive({"state_dict": {"a": tensor(size=shared_tuples(60))}}),
        "shared tuples for a key of values": archive({"state_dict": {"a": tensor(key=shared_tuples(60))}}),
        "huge shape": archive({"state_dict": {"a": tensor(size=(1 << 40,), stride=(0,))}}),
        "values beyond the end": archive({"state_dict": {"a": tensor(size=(1 << 40,))}}),
        "values before the start": archive({"state_dict": {"a": tensor(offset=-4)}}),
        "longer than its values": archive({"state_dict": {"a": tensor(length=1 << 40)}}),
        "one tensor many times": archive({"state_dict": same}),
        "huge number": archive({"state_dict": {"a": tensor()}, "hyper_parameters": {"n_heads": 10**600}}),
    }
