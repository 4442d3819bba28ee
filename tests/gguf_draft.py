"""A GGUF file taken apart into what it says, so that a test can spoil any of it, and put together again without a check.

Separate from the Python package gguf, whose writer refuses what hostile files are made of."""

import math
import struct
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 14: (256, 210), 30: (1, 2)}  # type: elements, bytes


def u32(value):
    return struct.pack("<I", value & 0xffffffff)


def u64(value):
    return struct.pack("<Q", value & 0xffffffffffffffff)


def text(value):
    content = value if isinstance(value, bytes) else value.encode()
    return u64(len(content)) + content


@dataclass
class Array:
    type: int
    items: list

    def pack(self):
        head = u32(self.type) + u64(len(self.items))
        if self.type == STRING:
            return head + b"".join(map(text, self.items))
        return head + struct.pack(f"<{len(self.items)}{FORMS[self.type]}", *self.items)


@dataclass
class Raw:
    """Bytes that stand for a value, whatever its type says."""
    content: bytes

    def pack(self):
        return self.content


@dataclass
class Entry:
    key: object
    type: int
    value: object

    def pack(self):
        if isinstance(self.value, (Array, Raw)):
            value = self.value.pack()
        else:
            value = text(self.value) if self.type == STRING else struct.pack("<" + FORMS[self.type], self.value)
        return text(self.key) + u32(self.type) + value


@dataclass
class Info:
    name: object
    dims: list
    type: int
    data: bytes
    offset: int = None  # None: where the writer puts it
    rank: int = None  # None: as many as there are dims

    def pack(self, offset):
        rank = len(self.dims) if self.rank is None else self.rank
        return (text(self.name) + u32(rank) + b"".join(map(u64, self.dims)) + u32(self.type)
                + u64(offset if self.offset is None else self.offset))


@dataclass
class Draft:
    entries: list
    tensors: list
    version: int = 3
    alignment: int = 32
    counts: list = field(default_factory=lambda: [None, None])  # of tensors, of keys; None: as many as there are

    def entry(self, key):
        return next(entry for entry in self.entries if entry.key == key)

    def tensor(self, name):
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def without(self, key):
        self.entries = [entry for entry in self.entries if entry.key != key]

    def set(self, key, type_, value):
        found = [entry for entry in self.entries if entry.key == key]
        if found:
            found[0].type, found[0].value = type_, value
        else:
            self.entries.append(Entry(key, type_, value))

    def parts(self):
        """(what, bytes) in the file's order."""
        counts = [len(found) if count is None else count for count, found in zip(self.counts, (self.tensors, self.entries))]
        yield "magic", b"GGUF"
        yield "version", u32(self.version)
        yield "number of tensors", u64(counts[0])
        yield "number of keys", u64(counts[1])
        size = 24
        for entry in self.entries:
            packed = entry.pack()
            key = len(text(entry.key))
            yield f"{entry.key}: key", packed[:key]
            yield f"{entry.key}: type", packed[key: key + 4]
            yield f"{entry.key}: value", packed[key + 4:]
            size += len(packed)
        offset = 0
        for tensor in self.tensors:
            packed = tensor.pack(offset)
            yield f"{tensor.name}: info", packed
            size += len(packed)
            offset += -(-len(tensor.data) // self.alignment) * self.alignment
        yield "padding", bytes(-size % self.alignment)
        for tensor in self.tensors:
            yield f"{tensor.name}: data", tensor.data + bytes(-len(tensor.data) % self.alignment)

    def pack(self):
        return b"".join(part for _, part in self.parts())


class Reader:
    def __init__(self, content):
        self.content, self.at = content, 0

    def number(self, form):
        value, = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        size = self.number("Q")
        self.at += size
        return self.content[self.at - size: self.at]

    def value(self, type_):
        if type_ == STRING:
            return self.text()
        if type_ != ARRAY:
            return self.number(FORMS[type_])
        element, count = self.number("I"), self.number("Q")
        return Array(element, [self.value(element) for _ in range(count)])


def parse(content):
    """Of a good file."""
    reader = Reader(content)
    reader.at = 4
    version, tensors, keys = reader.number("I"), reader.number("Q"), reader.number("Q")
    entries = []
    for _ in range(keys):
        key, type_ = reader.text().decode(), reader.number("I")
        entries.append(Entry(key, type_, reader.value(type_)))
    places = []
    for _ in range(tensors):
        name = reader.text().decode()
        dims = [reader.number("Q") for _ in range(reader.number("I"))]
        places.append((name, dims, reader.number("I"), reader.number("Q")))
    alignment = next((entry.value for entry in entries if entry.key == "general.alignment"), 32)
    begin = -(-reader.at // alignment) * alignment
    made = Draft(entries, [], version, alignment)
    for name, dims, type_, offset in places:
        elements, block = BLOCKS[type_]
        size = math.prod(dims) // elements * block
        made.tensors.append(Info(name, dims, type_, content[begin + offset: begin + offset + size]))
    return made
