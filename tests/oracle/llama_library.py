"""llama.cpp 0.5.0 as a library: its quantize call."""

import ctypes


class Parameters(ctypes.Structure):
    """llama_model_quantize_params."""

    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("output", ctypes.c_int32), ("embedding", ctypes.c_int32),
                *[(name, ctypes.c_bool) for name in ("requantize", "quantize_output", "only_copy", "pure", "keep_split", "dry_run")],
                *[(name, ctypes.c_void_p) for name in ("imatrix", "overrides", "types", "prune")], ("buffer", ctypes.c_size_t)]


class Importance(ctypes.Structure):
    """llama_model_imatrix_data; a list of them ends with an entry without a name."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def importance_list(weights):
    entries = (Importance * (len(weights) + 1))()
    for entry, (name, values) in zip(entries, weights.items()):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = (ctypes.c_float * len(values))(*values.tolist())
    return entries


def quantizer(node_modules):
    """A function (source file, target file, number of llama_ftype, threads, {tensor: importance of its columns})."""
    folder = node_modules / "@node-llama-cpp/linux-x64/bins/linux-x64"
    ctypes.CDLL(folder / "libggml.v0.5.0.so", ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(folder / "libllama.v0.5.0.so")
    llama.llama_model_quantize_default_params.restype = Parameters
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]

    def quantize(source, target, file_type, threads=2, imatrix=None):
        parameters = llama.llama_model_quantize_default_params()
        entries = importance_list(imatrix or {})
        if imatrix:
            parameters.imatrix = ctypes.cast(entries, ctypes.c_void_p)
        parameters.threads, parameters.file_type = threads, file_type
        assert llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) == 0

    return quantize
