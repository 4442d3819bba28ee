"""`verify.llama_cpp`: llama.cpp's library as a second witness of good files, of faults that our own reader does not see, and of
adapters; and what is no such library. Beside it, the logits of GGUF adapters without a witness."""

import json
import shutil

import peft
import pytest
import torch
from conftest import failed
from gguf_faults import File
from safetensors.torch import load_file, save_file
from test_verify_faults import STRING, TEMPLATE, UINT32, WIDE, Shop
from tiny_models import MODELS, make_model, save_folder, start_adapter

WITNESS = ["reads the file", "token ids", "log-probabilities", "top-1", "ends of answers", "agreement"]


@pytest.fixture(scope="module")
def library(node_modules):
    folder = node_modules / "@node-llama-cpp/linux-x64/bins/linux-x64"
    files = [path for path in folder.glob("libllama*.so*") if "common" not in path.name]
    assert len(files) == 1, files
    return files[0]


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("shop"))
    save_folder(make_model("llama"), shop.root / "llama")
    (shop.root / "llama/chat_template.jinja").write_text(TEMPLATE)
    start_adapter(make_model("llama"), shop.root / "adapter")
    shop.good = shop.export("llama")
    return shop


def values(report):
    return {check["name"]: check["value"] for check in report["checks"]}


def assert_agrees(report, longrope=False):
    """Our own forward pass and llama.cpp's read the same values; what is left is its rounding of activations. It rotates by the long
    factors in contexts that are longer than the original one, and it makes none below 256, which is longer than that of tiny models."""
    found = values(report)
    assert {f"llama.cpp: {check}" for check in WITNESS} <= set(found)
    assert 0 < found["llama.cpp: agreement"] < (4e-3 if longrope else 1e-3)
    detail = next(check["detail"] for check in report["checks"] if check["name"] == "llama.cpp: agreement")
    assert longrope or "another likeliest id at 0 of " in detail, detail
    assert found["llama.cpp: log-probabilities"] != found["log-probabilities"]


@pytest.mark.parametrize("name", MODELS)
def test_good_files_of_every_family_pass(name, shop, library, tmp_path):
    save_folder(make_model(name), tmp_path / "model")
    for kind in ("F32", "F16" if name.startswith("gemma3") else "Q8_0"):  # that of Gemma 3 goes further than the limit with random weights
        path = shop.export(tmp_path / "model", kind, name=f"family-{name}-{kind}")
        assert_agrees(shop.verify(tmp_path / "model", path, 0, f"verify.llama_cpp={library}")[1], "longrope" in name)


@pytest.mark.parametrize("kind", ["F16", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K", "Q4_0"])
def test_good_files_of_every_type_pass(kind, shop, library):
    if not (shop.root / "wide").is_dir():
        save_folder(make_model("llama", **WIDE), shop.root / "wide")
    assert_agrees(shop.verify("wide", shop.export("wide", kind), 0, f"verify.llama_cpp={library}")[1])


def test_a_trained_model_passes(shop, library, shared_data):
    model, rows = shared_data / "models/stories260K-hf", f"data.eval={shared_data / 'datasets/tinystories/train.jsonl'}"
    for kind in ("F16", "Q8_0", "Q4_0"):
        path = shop.export(model, kind, name=f"stories-{kind}")
        assert_agrees(shop.verify(model, path, 0, f"verify.llama_cpp={library}", rows, "data.limit=8")[1])


# Keys that llama.cpp reads and our own reader does not: without the witness the file passes.
UNSEEN = {
    "a truth value as text": (lambda f: f.set("ARCH.rope.scaling.finetuned", "false", STRING), ["llama.cpp: reads the file"]),
}


@pytest.mark.parametrize("fault", UNSEEN)
def test_a_fault_that_only_llama_cpp_sees(fault, shop, library, tmp_path):
    plant, names = UNSEEN[fault]
    file = File(shop.good)
    plant(file)
    path = file.write(tmp_path / "planted.gguf")
    shop.verify("llama", path)
    said, report = shop.verify("llama", path, 9, f"verify.llama_cpp={library}")
    assert set(names) <= set(failed(report)) and all(name.startswith("llama.cpp: ") for name in failed(report))
    assert "llama.cpp: " in said.stderr and not path.exists() and (tmp_path / "planted.gguf.rejected").is_file()


def test_a_file_that_would_end_llama_cpp_is_refused_before_it_is_asked(shop, library, tmp_path):
    """An assertion of the library's."""
    file = File(shop.good)
    file.set("ARCH.expert_used_count", 2, UINT32)
    said, report = shop.verify("llama", file.write(tmp_path / "planted.gguf"), 9, f"verify.llama_cpp={library}")
    assert failed(report) == ["keys"] and "llama.expert_used_count" in said.stderr


def test_what_is_no_library_of_llama_cpp_is_refused(shop, node_modules, library, tmp_path):
    text = tmp_path / "text.so"
    text.write_text("no library\n")
    shutil.copy(library, tmp_path / "libllama.so")  # without its siblings
    folder = node_modules / "@node-llama-cpp/linux-x64/bins/linux-x64"
    (tmp_path / "bare").mkdir()  # without the processor's part
    for name in (library.name, library.name.replace("llama", "ggml"), "libggml-base.so"):
        shutil.copy(folder / name, tmp_path / "bare" / name)
    path = tmp_path / "file.gguf"
    shutil.copy(shop.good, path)
    for given, reason in ((tmp_path / "bare" / library.name, "finds nothing to run on"),
                          (text, "cannot be loaded as a library: "), (tmp_path / "nowhere.so", "no such file"), (tmp_path, "cannot be loaded"),
                          (tmp_path / "libllama.so", "cannot be loaded as a library: "),
                          (folder / "libggml-base.so", "has no function llama_backend_init")):
        said, report = shop.verify("llama", path, 2, f"verify.llama_cpp={given}")
        errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "verify.llama_cpp: " in errors[0] and str(given) in errors[0] and reason in errors[0], said.stderr
        assert report is None and path.exists()


def test_what_llama_cpp_does_not_read_is_refused(shop, library):
    shop.program.run("export", "model.path=llama+adapter", "export.merged=f32", "run.out=made/folder", "run.device=cpu", "export.peft=false")
    assert "is a folder" in shop.verify("llama+adapter", "made/folder/merged", 2, f"verify.llama_cpp={library}")[0].stderr
    shop.program.run("export", "model.path=llama+adapter", "export.gguf_adapter=F32", "run.out=made/adapter", "run.device=cpu")
    said, _ = shop.verify("llama+adapter", "made/adapter/gguf/adapter.gguf", 2, f"verify.llama_cpp={library}")
    assert "BASE.gguf+ADAPTER" in said.stderr


@pytest.fixture(scope="module")
def adapters(shop):
    """A GGUF adapter on the folder of its base, and on a GGUF file of it."""
    made = {}
    for base in ("llama", str(shop.good)):
        out = f"made/adapter-on-{'file' if base.endswith('gguf') else 'folder'}"
        shop.program.run("export", f"model.path={base}+adapter", "export.gguf_adapter=F32", f"run.out={out}", "run.device=cpu")
        made[f"{base}+adapter"] = shop.root / out / "gguf/adapter.gguf"
    return made


def test_logits_of_adapters_pass(adapters, shop, library, tmp_path):
    for model, artifact in adapters.items():
        path = tmp_path / "adapter.gguf"
        shutil.copy(artifact, path)
        _, report = shop.verify(model, path)
        assert report["kld_mean"] < 1e-9 and values(report)["carried whole"] == 0
    _, report = shop.verify(model, path, 0, f"verify.llama_cpp={library}")
    assert_agrees(report)


def test_factors_in_each_others_place_change_the_logits(adapters, shop, tmp_path):
    for model, artifact in adapters.items():
        file = File(artifact)
        file.swap("blk.0.attn_q.weight.lora_b", "blk.1.attn_q.weight.lora_b")
        _, report = shop.verify(model, file.write(tmp_path / "adapter.gguf"), 9)
        assert set(failed(report)) == {"values", "log-probabilities"}, json.dumps(report["checks"], indent=1)


def test_what_a_gguf_adapter_has_no_place_for_is_missed(shop, tmp_path):
    """The factors of a DoRA adapter alone are another adapter, and so is one without the head that was trained whole."""
    for name, options, lost in (("dora", {"use_dora": True}, "magnitude"), ("whole", {"modules_to_save": ["lm_head"]}, "lm_head")):
        full, part = shop.root / name, shop.root / f"{name}-part"
        tuned = peft.get_peft_model(make_model("llama"), peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"],
                                                                        task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for key, parameter in tuned.named_parameters():
                if "lora_B" in key or lost in key and "original" not in key:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        tuned.save_pretrained(full)
        shutil.copytree(full, part)
        weights = {key: tensor for key, tensor in load_file(full / "adapter_model.safetensors").items() if lost not in key}
        save_file(weights, part / "adapter_model.safetensors", {"format": "pt"})
        config = json.loads((full / "adapter_config.json").read_text())
        (part / "adapter_config.json").write_text(json.dumps({**config, "use_dora": False, "modules_to_save": None}))
        shop.program.run("export", f"model.path=llama+{name}-part", "export.gguf_adapter=F32", f"run.out=made/{name}", "run.device=cpu")
        path = tmp_path / "adapter.gguf"
        shutil.copy(shop.root / f"made/{name}/gguf/adapter.gguf", path)
        said, report = shop.verify(f"llama+{name}", path, 9)
        assert failed(report) == ["carried whole"] and "no place" in said.stderr, said.stderr
