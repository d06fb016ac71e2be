"""Files made to harm who reads them: pickles that call, safetensors headers that lie. Bytes alone; imports no pickle.

Each pickle would write the file CANARY, start a program or connect somewhere, if anything ever read it as one.
"""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping

NUM_PROTOCOLS = 6
_GADGETS = (
    ("posix", "system", "touch {canary}"),
    ("os", "system", "touch {canary}"),
    ("builtins", "exec", "open({canary!r}, 'w')"),
    ("builtins", "eval", "open({canary!r}, 'w')"),
    ("importlib", "import_module", "antigravity"),
    ("runpy", "run_path", "{canary}.py"),
    ("subprocess", "getoutput", "touch {canary}"),
    ("urllib.request", "urlopen", "http://127.0.0.1:9/{canary}"),
)


def pickles(canary: str) -> Iterator[tuple[str, bytes]]:
    """Yields pickles of every protocol and gadget, bare and in every wrapping in which tensors are saved."""
    wrappings = (_bare, _stacked, _in_zip, _in_tar, _in_npy, _in_npz)
    for number, (module, name, argument) in enumerate(_GADGETS):
        for protocol in range(NUM_PROTOCOLS):
            wrap = wrappings[(number + protocol) % len(wrappings)]
            content = _calling(protocol, module, name, argument.format(canary=canary))
            yield f"pickle {protocol} {module}.{name} {wrap.__name__.strip('_')}", wrap(content)


def tensor_files() -> Iterator[tuple[str, bytes]]:
    """Yields files that claim to be safetensors, and are none, or are not what is expected."""
    pair = {"a": _entry(0, 8), "b": _entry(8, 16)}
    yield "empty", b""
    yield "seven bytes", b"\x08\x00\x00\x00\x00\x00\x00"
    for length in (2**64 - 1, 2**63, 100_000_001, 1_000):
        yield f"a header of {length} bytes that is not there", struct.pack("<Q", length) + b"{}"
    yield "no header", _file(b"")
    yield "no JSON", _file(b"{'a': 1}" + b" " * 8)
    yield "a list", _file(b"[1, 2]  ")
    yield "no UTF-8", _file(b'{"\xff\xfe": {}}')
    yield "JSON 20,000 deep", _file(b'{"__metadata__":' + b"[" * 20_000 + b"]" * 20_000 + b"}")
    yield "one name twice", _file(b'{"a":%s,"a":%s}' % (_dumped(_entry(0, 8)), _dumped(_entry(8, 16))), b"\0" * 16)
    yield "overlapping", _tensors(pair | {"b": _entry(4, 12)}, 12)
    yield "with a hole", _tensors(pair | {"b": _entry(12, 20)}, 20)
    yield "backwards", _tensors({"a": _entry(8, 0)}, 8)
    yield "before the start", _tensors({"a": _entry(-8, 0)}, 8)
    yield "beyond the end", _tensors({"a": _entry(0, 8)}, 4)
    yield "offsets that are no integers", _tensors({"a": _entry(0, 8) | {"data_offsets": [0.0, 8.5]}}, 8)
    yield "offsets of 2**64", _tensors({"a": _entry(0, 8) | {"data_offsets": [0, 2**64]}}, 8)
    yield "an unknown type", _tensors({"a": _entry(0, 8) | {"dtype": "PICKLE"}}, 8)
    yield "a type that is a list", _tensors({"a": _entry(0, 8) | {"dtype": ["F32"]}}, 8)
    yield "a shape that does not fit", _tensors({"a": _entry(0, 8) | {"shape": [3]}}, 8)
    yield "a negative shape", _tensors({"a": _entry(0, 8) | {"shape": [-2]}}, 8)
    yield "a shape that overflows", _tensors({"a": _entry(0, 8) | {"shape": [2**62, 2**62]}}, 8)
    yield "a shape of nothing, 2**62 wide", _tensors({"a": _entry(0, 0) | {"shape": [0, 2**62]}}, 0)
    yield "metadata that is no text", _tensors(pair | {"__metadata__": {"x": {"y": 1}}}, 16)
    yield "more than it says", _tensors(pair, 99)
    yield "names that are paths", _tensors({"../../../etc/passwd": _entry(0, 8)}, 8)
    yield "another network's", _tensors(pair, 16)
    yield "whole numbers", _tensors({"a": _entry(0, 8) | {"dtype": "I64", "shape": [1]}}, 8)


def _calling(protocol: int, module: str, name: str, argument: str) -> bytes:
    """A pickle whose reading calls module.name(argument)."""
    if protocol == 0:
        return f"c{module}\n{name}\n(V{argument}\ntR.".encode()
    text = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    if protocol == 1:
        return f"c{module}\n{name}\n(".encode() + text + b"tR."
    start = b"\x80" + bytes([protocol])
    if protocol < 4:
        return start + f"c{module}\n{name}\n".encode() + text + b"\x85R."
    names = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return start + names + b"\x93" + text + b"\x85R."


def _bare(content: bytes) -> bytes:
    return content


def _stacked(content: bytes) -> bytes:
    """A harmless one first, as in torch's oldest format: magic number, version, and what follows."""
    return b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + content * 3


def _in_zip(content: bytes) -> bytes:
    """As torch saves."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def _in_tar(content: bytes) -> bytes:
    """As torch saved long ago."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _in_npy(content: bytes) -> bytes:
    """An array of objects."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _in_npz(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("arr_0.npy", _in_npy(content))
    return stream.getvalue()


def _entry(start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def _tensors(header: Mapping[str, Mapping[str, object]], num_bytes: int) -> bytes:
    return _file(_dumped(header), b"\0" * num_bytes)


def _file(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def _dumped(record: object) -> bytes:
    return json.dumps(record).encode()
