"""GGUF exports of an adapter: what is left of it, what a kill leaves, and what a full disk stops."""

import hashlib
import json
import shutil
import time

import gguf
import numpy as np
import pytest
from conftest import Prentice
from safetensors.torch import load_file, save_file
from tiny_models import SHAPE, TOKENIZER, make_model, save_folder, start_adapter
from transformers import LlamaConfig, LlamaForCausalLM

WIDE = (LlamaForCausalLM, LlamaConfig(**{**SHAPE, "hidden_size": 256, "intermediate_size": 768}))
RANK = 8  # of start_adapter
EXPORT = ["export", "run.device=cpu", "export.peft=false"]


@pytest.fixture
def program(tmp_path, binary):
    model = make_model(WIDE)
    save_folder(model, tmp_path / "model")
    start_adapter(model, tmp_path / "adapter")
    return Prentice(binary, tmp_path)


def values(path):
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64).reshape(-1)
            for tensor in gguf.GGUFReader(path).tensors}


def test_what_is_left_of_an_update_is_told_as_four_files_show_it(program, tmp_path):
    program.run(*EXPORT, "model.path=model", "export.gguf=[F32, Q4_K_M, Q2_K]", "run.out=base")
    said = json.loads(program.run(*EXPORT, "model.path=model+adapter", "export.gguf=[F32, Q4_K_M, Q2_K]", "run.out=merged",
                                  "--json").stdout)
    before, after = (values(tmp_path / f"{name}/gguf/{name}-F32.gguf") for name in ("base", "merged"))
    files = {entry["file"]: entry for entry in json.loads((tmp_path / "merged/verify.json").read_text())["delta_survival"]}
    assert set(files) == {"gguf/merged-Q4_K_M.gguf", "gguf/merged-Q2_K.gguf"}
    for kind in ("Q4_K_M", "Q2_K"):
        base, merged = (values(tmp_path / f"{name}/gguf/{name}-{kind}.gguf") for name in ("base", "merged"))
        told, sums = files[f"gguf/merged-{kind}.gguf"], np.zeros(4)
        assert len(told["tensors"]) == 7 * SHAPE["num_hidden_layers"]
        for tensor in told["tensors"]:
            name = tensor["name"]
            update, change = after[name] - before[name], merged[name] - base[name]
            error = merged[name] - after[name]
            found = np.array([change @ update, update @ update, change @ change, error @ error])
            sums += found
            assert tensor["survival"] == pytest.approx(found[0] / found[1], rel=1e-4), name
            assert tensor["noise"] == pytest.approx((found[3] / found[1]) ** 0.5, rel=1e-4), name
            columns = 768 if "ffn_down" in name else 256
            assert tensor["signal"] == pytest.approx(columns / RANK * found[1] / found[3], rel=1e-4), name
        assert told["survival"] == pytest.approx(sums[0] / sums[1], rel=1e-4)
        assert told["alignment"] == pytest.approx(sums[0] / (sums[1] * sums[2]) ** 0.5, rel=1e-4)
    assert files["gguf/merged-Q4_K_M.gguf"]["noise"] < files["gguf/merged-Q2_K.gguf"]["noise"]
    assert len(said["survival"]) == 2 and said["warnings"] == [], said


def test_the_rounding_that_hides_all_is_a_warning(program, tmp_path):
    file = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: tensor * 1e-3 if "lora_B" in name else tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    result = program.run(*EXPORT, "model.path=model+adapter", "export.gguf=[Q2_K]", "run.out=run")
    assert "  update    gguf/run-Q2_K.gguf: alignment 0." in result.stdout
    assert "nearly gone in 21 of 21 tensors" in result.stdout and "warning: gguf/run-Q2_K.gguf: " in result.stderr, result.stdout
    result = program.run(*EXPORT, "model.path=model", "export.gguf=[Q2_K]", "run.out=plain")
    assert "  update " not in result.stdout and "warning" not in result.stderr


def hashes(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file() and path.suffix in (".gguf", ".safetensors")}


def test_a_killed_export_leaves_whole_files_or_none_and_goes_on(program, tmp_path):
    words = [*EXPORT, "model.path=model+adapter", "export.gguf=[Q4_K_M, Q6_K]", "export.merged=bf16", "export.name=it"]
    start = time.monotonic()
    program.run(*words, "run.out=wanted")
    seconds = time.monotonic() - start
    wanted = hashes(tmp_path / "wanted")
    assert len(wanted) == 3
    killed = 0
    for share in (0.3, 0.5, 0.7, 0.85):
        process = program.start(*words, "run.out=run")
        time.sleep(share * seconds)
        killed += process.poll() is None
        process.kill()
        process.communicate()
        for name, found in hashes(tmp_path / "run").items():
            assert ".tmp-" in name or found == wanted[name], name
    assert killed > 0, "every one was done before it was killed"
    program.run(*words, "run.out=run")
    assert hashes(tmp_path / "run") == wanted
    assert not [path for path in (tmp_path / "run").rglob(".tmp-*")]


def test_a_type_that_is_cut_off_is_the_only_mistake(program):
    for word, meant in (("Q4_K", "Q4_K_M"), ("Q5_", "Q5_K_M"), ("q8_0", "Q8_0")):
        told = program.run(*EXPORT, "model.path=model", f"export.gguf=[{word}]", "run.out=run", code=2).stderr
        assert f"did you mean {meant}?" in told and "nothing is asked for" not in told, told
    assert "nothing is asked for" in program.run("export", "model.path=model", "run.out=run", code=2).stderr


def test_a_finished_export_whose_files_have_changed_is_not_called_done(program, tmp_path):
    words = [*EXPORT, "model.path=model+adapter", "export.gguf=[Q8_0]", "export.name=it", "run.out=run"]
    program.run(*words)
    assert "already done" in program.run(*words).stdout
    file = tmp_path / "run/gguf/it-Q8_0.gguf"
    content = file.read_bytes()
    for change in (lambda: file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]), file.unlink):
        change()
        told = program.run(*words, code=2).stderr
        assert "run/gguf/it-Q8_0.gguf: not as the finished run left it" in told and "--fresh" in told
    program.run(*words, "--fresh")
    assert file.read_bytes() == content and "already done" in program.run(*words).stdout


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(binary, tmp_path):
    """A folder of holes: it takes no space, and what is made of it would."""
    free = shutil.disk_usage(tmp_path).free
    if free > 4e12:
        pytest.skip("no file can be larger than this disk has room for")
    width, feed = 4096, 65536
    layer = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (width, width), "self_attn.v_proj": (width, width),
             "self_attn.o_proj": (width, width), "mlp.gate_proj": (feed, width), "mlp.up_proj": (feed, width), "mlp.down_proj": (width, feed)}
    layers = int(free / (4 * sum(a * b for a, b in layer.values()))) + 2
    shapes = {"model.embed_tokens.weight": (1536, width), "model.norm.weight": (width,), "lm_head.weight": (1536, width)}
    for i in range(layers):
        prefix = f"model.layers.{i}."
        shapes.update({f"{prefix}{name}.weight": shape for name, shape in layer.items()})
        shapes.update({f"{prefix}{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")})
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    folder = tmp_path / "model"
    LlamaConfig(**{**SHAPE, "hidden_size": width, "intermediate_size": feed, "num_hidden_layers": layers, "num_attention_heads": 32,
                   "num_key_value_heads": 32}, dtype="bfloat16", architectures=["LlamaForCausalLM"]).save_pretrained(folder)
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + offset)
    error = Prentice(binary, tmp_path).run(*EXPORT, "model.path=model", "export.gguf=[F32]", "run.out=run", code=5).stderr
    assert "free" in error, error
    assert not list((tmp_path / "run").rglob("*.gguf")) and not list((tmp_path / "run").rglob(".tmp-*"))
