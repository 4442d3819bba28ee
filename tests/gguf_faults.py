"""GGUF files with one thing changed: read and written by the package gguf, so that no fault is planted by the program that is to
find it."""

import gguf
import numpy as np

ARRAY = gguf.GGUFValueType.ARRAY
Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32


class File:
    """The metadata and tensors of a file, to be changed and written again."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.architecture = reader.fields["general.architecture"].contents()
        self.metadata = {key: (field.types, field.contents()) for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        self.types = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
        self.bytes = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        self.shapes = {tensor.name: [int(n) for n in tensor.shape][::-1] for tensor in reader.tensors}

    def get(self, key):
        return self.metadata[key.replace("ARCH", self.architecture)][1]

    def set(self, key, value, kind=None):
        key = key.replace("ARCH", self.architecture)
        self.metadata[key] = ([kind] if kind else self.metadata[key][0], value)

    def drop(self, key):
        del self.metadata[key.replace("ARCH", self.architecture)]

    def values(self, name):
        return gguf.quants.dequantize(self.bytes[name], self.types[name]).astype(np.float32).reshape(self.shapes[name])

    def put(self, name, values, kind=None):
        """Rounded as the tensor's type rounds."""
        kind = kind or self.types.get(name, F32)
        values = np.ascontiguousarray(values, dtype=np.float32)
        self.types[name], self.shapes[name] = kind, list(values.shape)
        self.bytes[name] = values if kind == F32 else gguf.quants.quantize(values, kind)

    def change(self, name, how):
        self.put(name, how(self.values(name)))

    def swap(self, a, b):
        self.bytes[a], self.bytes[b] = self.bytes[b], self.bytes[a]
        self.types[a], self.types[b] = self.types[b], self.types[a]

    def write(self, path, alignment=None):
        writer = gguf.GGUFWriter(path, self.architecture)
        if alignment:
            writer.add_custom_alignment(alignment)
        for key, (types, value) in self.metadata.items():
            if key != "general.architecture":
                writer.add_key_value(key, value, types[0], types[-1] if types[0] == ARRAY else None)
        for name, data in self.bytes.items():
            writer.add_tensor(name, data, raw_dtype=self.types[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def flip(path, target, name, offset, mask):
    """The same file with bits of one byte of a tensor changed."""
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    content = bytearray(path.read_bytes())
    content[tensor.data_offset + offset] ^= mask
    target.write_bytes(content)
    return target


def turned(rows, heads):
    """Rows of q or k in the order of Hugging Face: the two halves of a head under each other, not beside each other."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, width // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
