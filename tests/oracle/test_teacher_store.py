"""Teacher stores, read by h5py and a decoder written from teacher/store_layout.h alone: real logits of transformers and
a large synthetic vocabulary go in, and what comes out is within the stated error at the stated size."""

import hashlib
import json
import os
import subprocess

import numpy as np
import pytest
import torch
from conftest import built
from safetensors.torch import save_file

h5py = pytest.importorskip("h5py")
TOP_K = 50
VALUE_TYPES = {"q8": ("u1", 1), "f16": ("<f2", 2), "f32": ("<f4", 4)}


@pytest.fixture(scope="module")
def program():
    return built("test_teacher")


def top_rows(logits, k=TOP_K):
    """ids, log_probs and the mass outside of them, from f64 logits [N, V]."""
    log_probs = torch.log_softmax(logits.double(), -1)
    values, ids = log_probs.topk(k, -1)
    outside = log_probs.exp().scatter(-1, ids, 0).sum(-1)
    return {"ids": ids.contiguous(), "log_probs": values.float().contiguous(), "tail": outside}


def real_rows(shared_data):
    """Next-token distributions of stories260K on TinyStories: a sample is a story of at most 256 ids."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder = shared_data / "models/stories260K-hf"
    if not folder.is_dir():
        pytest.skip("no stories260K")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = (shared_data / "datasets/tinystories/train.jsonl").read_text().splitlines()[:40]
    texts = [next(iter(json.loads(line).values())) for line in lines]
    rows, counts = [], []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt").input_ids[:, :256]
            logits = model(ids).logits[0, :-1]
            rows.append(logits)
            counts.append(len(logits))
    return torch.cat(rows), counts


def synthetic_rows(vocabulary=152064, count=3000):
    """Zipf's law over ids, as a byte-pair vocabulary has it, moved by context; a fifth of the rows is nearly certain."""
    generator = torch.Generator().manual_seed(3)
    base = -torch.log(torch.arange(vocabulary, dtype=torch.float64) + 10)
    for _ in range(count // 100):
        sharpness = torch.tensor([0.8, 1.0, 1.5, 2.5, 4.0], dtype=torch.float64)[
            torch.randint(5, (100, 1), generator=generator)]
        noise = 2.2 * torch.randn(100, vocabulary, generator=generator)
        yield sharpness * (base + noise)


def write_store(program, folder, rows, vocabulary, sample_rows, values):
    save_file(rows, folder / "rows.safetensors")
    (folder / "settings.json").write_text(
        json.dumps({"vocabulary": vocabulary, "values": values, "sample_rows": sample_rows}))
    result = subprocess.run([program, "--gtest_filter=Oracle.WritesAStore"], capture_output=True, text=True,
                            env={**os.environ, "PRENTICE_ORACLE_DIR": str(folder)})
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "store"


class Bits:
    """The first bit is the lowest of the first byte."""

    def __init__(self, data):
        self.value, self.at = int.from_bytes(data, "little"), 0

    def take(self, count):
        result = self.value >> self.at & (1 << count) - 1
        self.at += count
        return result


def interpolative(bits, count, low, end):
    """`count` ascending ids in [low, end), the middle one first, in truncated binary."""
    if count == 0:
        return []
    if count == end - low:
        return list(range(low, end))
    middle = count // 2
    span = end - low - (count - 1)
    width = span.bit_length() - 1
    cut = (2 << width) - span
    value = bits.take(width)
    if value >= cut:
        value = (value << 1 | bits.take(1)) - cut
    here = low + middle + value
    return interpolative(bits, middle, low, here) + [here] + interpolative(bits, count - 1 - middle, here + 1, end)


def decode(store):
    """(ids, log-probabilities, tail, scale) of each row, and the first row of each sample."""
    about = json.loads((store / "store.json").read_text())
    store_hash = hashlib.sha256((store / "store.json").read_bytes()).hexdigest()
    samples = h5py.File(store / "samples.h5")
    first = samples["first_row"][: int(samples.attrs["samples"]) + 1].tolist()
    kind, width = VALUE_TYPES[about["key"]["values"]]
    rows = []
    for path in sorted(store.glob("shard-*.h5")):
        file = h5py.File(path)
        assert file.attrs["store"].decode() == store_hash
        assert file["rows"].fletcher32 and file["pool"].fletcher32
        assert file["rows"].chunks == (about["chunk_rows"],)
        table, pool = file["rows"][:], file["pool"][:].tobytes()
        chunk_bytes = about["chunk_rows"] * about["pool_row_bytes"]
        for row in range(int(file.attrs["committed_rows"])):
            offset, count, tail, scale = table[row].tolist()
            at = row // about["chunk_rows"] * chunk_bytes + offset
            bits = Bits(pool[at : at + 4 * count + 8])
            ids = interpolative(bits, count, 0, about["key"]["vocabulary"])
            values = np.frombuffer(pool, kind, count, at + (bits.at + 7) // 8).astype(np.float64)
            if kind == "u1":
                values = -scale * values
            if kind != "<f4":
                values += np.log1p(-tail) - np.log(np.exp(values).sum())
            rows.append((ids, values, tail, scale))
    assert len(rows) == about["rows"] == first[-1]
    return rows, first


def contents(store):
    """What each sample is, by hash."""
    samples = h5py.File(store / "samples.h5")
    count, content = int(samples.attrs["samples"]), samples["content"]
    assert content.dtype == "<u8" and content.fletcher32
    assert (content[count:] == content[count - 1]).all()
    return content[:count].tolist()


def manifest_holds(store):
    commits = {}
    for line in map(json.loads, (store / "manifest.jsonl").read_text().splitlines()):
        path = store / f"shard-{line['shard']:05}.h5"
        if "file_sha256" in line:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == line["file_sha256"]
            assert path.stat().st_size == line["file_bytes"]
            assert hashlib.sha256("".join(commits[line["shard"]]).encode()).hexdigest() == line["commits_sha256"]
        else:
            commits.setdefault(line["shard"], []).append(line["sha256"])


def compare(store, rows, values, tail_limit=0.001):
    """The figures of one store against the exact rows that went into it."""
    found, _ = decode(store)
    worst_excess, divergence, entries = 0.0, 0.0, 0
    for n, (ids, log_probs, tail, scale) in enumerate(found):
        exact = dict(zip(rows["ids"][n].tolist(), rows["log_probs"][n].tolist()))
        wanted = np.array([exact[i] for i in ids])
        true_tail = 1 - np.exp(wanted).sum()
        error = np.abs(log_probs - wanted)
        bound = {"q8": scale, "f16": 2**-10 * np.abs(wanted).max(), "f32": 0}[values] + 2e-6
        worst_excess = max(worst_excess, error.max() - bound)
        assert np.exp(log_probs).sum() + tail == pytest.approx(1, abs=2e-6)
        assert tail == pytest.approx(true_tail, abs=2e-6)
        divergence += (np.exp(wanted) * (wanted - log_probs)).sum()
        entries += len(ids)
    assert worst_excess <= 0
    size = sum(path.stat().st_size for path in store.iterdir())
    figures = {"bytes_per_token": size / len(found), "entries": entries / len(found), "kl": divergence / len(found)}
    print(values, figures)
    return figures


@pytest.mark.parametrize("values", VALUE_TYPES)
def test_real_rows_come_back_within_the_stated_error(program, shared_data, tmp_path, values):
    logits, counts = real_rows(shared_data)
    rows = top_rows(logits)
    store = write_store(program, tmp_path, rows, logits.shape[1], counts, values)
    manifest_holds(store)
    figures = compare(store, rows, values)
    assert decode(store)[1] == [0] + np.cumsum(counts).tolist()
    assert contents(store) == [1000 + sample for sample in range(len(counts))]
    # The divergence that quantizing adds is far below what a student's loss is read to.
    assert figures["kl"] < {"q8": 1e-4, "f16": 1e-5, "f32": 1e-6}[values]
    if values == "q8":
        assert figures["bytes_per_token"] <= 100


def test_our_reader_agrees_with_the_independent_one(program, shared_data, tmp_path):
    logits, counts = real_rows(shared_data)
    store = write_store(program, tmp_path, top_rows(logits), logits.shape[1], counts, "q8")
    found, _ = decode(store)
    kept = np.fromfile(tmp_path / "counts", "<i8")
    ids = np.fromfile(tmp_path / "ids", "<i8").reshape(len(kept), -1)
    log_probs = np.fromfile(tmp_path / "log_probs", "<f4").reshape(len(kept), -1)
    tail = np.fromfile(tmp_path / "tail", "<f4")
    for n, (row_ids, row_values, row_tail, _) in enumerate(found):
        assert ids[n, : kept[n]].tolist() == row_ids
        assert log_probs[n, : kept[n]] == pytest.approx(row_values, abs=2e-6)
        assert tail[n] == np.float32(row_tail)


def test_a_large_vocabulary_stays_within_100_bytes_a_token(program, tmp_path):
    parts = [top_rows(logits) for logits in synthetic_rows()]
    rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    store = write_store(program, tmp_path, rows, 152064, [100] * 30, "q8")
    figures = compare(store, rows, "q8")
    assert figures["bytes_per_token"] <= 100
    assert figures["kl"] < 1e-4
