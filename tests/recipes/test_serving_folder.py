"""What `export` hands to those who serve: a self-test of a model that nobody trained here, a Modelfile, the base's licence; and that a
run is not served on a base that has changed."""

import json
import shutil
import time

import peft
import pytest
import torch
from conftest import Prentice, write_rows
from tiny_models import make_model, save_folder, start_adapter
from transformers import AutoModelForCausalLM, AutoTokenizer

TEMPLATE = ("{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }}\n"
            "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}")
TRAIN = ["sft", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=2", "train.batch=2", "run.precision=f32", "run.device=cpu"]


@pytest.fixture
def program(tmp_path, binary):
    save_folder(make_model("llama"), tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").write_text(TEMPLATE)
    start_adapter(make_model("llama"), tmp_path / "adapter")
    rows = [{"messages": [{"role": "user", "content": f"Where is box {i}?"}, {"role": "assistant", "content": f"On shelf {i}."}]}
            for i in range(6)]
    write_rows(tmp_path / "rows.jsonl", rows)
    return Prentice(binary, tmp_path)


def export(program, model, out, *words, code=0):
    return program.run("export", f"model.path={model}", f"run.out={out}", "run.device=cpu", *words, code=code)


def reference(folder, with_adapter):
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    return peft.PeftModel.from_pretrained(model, folder / "adapter").eval() if with_adapter else model


def assert_answers(test, model, tokenizer, template=True):
    """transformers' greedy text and log-probabilities after the same prompts, in its own template."""
    assert len(test["cases"]) == 3 and test["tolerances"] and test["stop_ids"] == [tokenizer.eos_token_id]
    for case in test["cases"]:
        ids = tokenizer(case["prompt"], add_special_tokens=case["add_special"]).input_ids
        assert ids == case["prompt_ids"]
        assert not template or case["prompt"].startswith("USER: ") and case["prompt"].endswith("ASSISTANT:")
        for step, (greedy, margin) in enumerate(zip(case["greedy_ids"], case["greedy_margins"], strict=True)):
            with torch.no_grad():
                log_probs = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            best = log_probs.topk(5)
            assert greedy == best.indices[0] and margin == pytest.approx(float(best.values[0] - best.values[1]), abs=1e-4)
            if step == 0:
                assert [entry["id"] for entry in case["top_log_probs"]] == best.indices.tolist()
                assert [entry["log_prob"] for entry in case["top_log_probs"]] == pytest.approx(best.values.tolist(), abs=1e-4)
            ids.append(greedy)
        assert len(case["greedy_ids"]) == 16 or case["greedy_ids"][-1] in test["stop_ids"]
    assert len({tuple(case["prompt_ids"]) for case in test["cases"]}) == 3
    assert len(test["chats"]) == (1 if template else 0)
    for chat in test["chats"]:
        assert chat["ids"] == tokenizer(tokenizer.apply_chat_template(chat["messages"], add_generation_prompt=True, tokenize=False)).input_ids


@pytest.mark.parametrize("name, words", [("model", ["export.gguf=[F32, Q8_0]", "export.merged=bf16"]), ("model+adapter", ["export.gguf=[F16]"]),
                                         ("base.gguf+adapter", ["export.gguf_adapter=F32"])])
def test_an_export_has_a_self_test(name, words, program, tmp_path):
    if name.startswith("base.gguf"):
        export(program, "model", "base", "export.gguf=[F32]")
        shutil.copy(tmp_path / "base/gguf/base-F32.gguf", tmp_path / "base.gguf")
    export(program, name, "made", *words)
    test = json.loads((tmp_path / "made/serve/selftest.json").read_text())
    assert_answers(test, reference(tmp_path, "+" in name), AutoTokenizer.from_pretrained(tmp_path / "model"))
    products = [entry["product"] for entry in test["tolerances"]]
    assert products == {"model": ["merged", "gguf/made-F32.gguf", "gguf/made-Q8_0.gguf"], "model+adapter": ["adapter", "gguf/made-F16.gguf"],
                        "base.gguf+adapter": ["adapter", "gguf/adapter.gguf"]}[name]
    assert "python3 serve/selftest.py" in (tmp_path / "made/serve/serve.md").read_text() and (tmp_path / "made/serve/selftest.py").is_file()
    assert "serve/selftest.json" in (tmp_path / "made/SHA256SUMS").read_text()


def test_an_export_that_runs_nothing_has_none(program, tmp_path):
    export(program, "model", "made", "export.gguf=[F32]", "export.verify=false")
    assert not (tmp_path / "made/serve/selftest.json").exists() and "selftest" not in (tmp_path / "made/serve/serve.md").read_text()


def test_without_a_template_the_prompts_are_plain_text(program, tmp_path):
    (tmp_path / "model/chat_template.jinja").unlink()
    config = json.loads((tmp_path / "model/tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(config))
    export(program, "model", "made", "export.gguf=[F32]")
    test = json.loads((tmp_path / "made/serve/selftest.json").read_text())
    assert_answers(test, reference(tmp_path, False), AutoTokenizer.from_pretrained(tmp_path / "model"), template=False)


def test_the_modelfile_of_an_adapter_on_the_file_that_it_was_trained_on(program, tmp_path):
    export(program, "model", "base", "export.gguf=[Q8_0]")
    file = tmp_path / "base/gguf/base-Q8_0.gguf"
    program.run(*TRAIN, f"model.path={file}", "run.out=run", "export.gguf_adapter=F16")
    lines = (tmp_path / "run/serve/Modelfile").read_text().splitlines()
    assert f"FROM {file}" in lines and "ADAPTER ../gguf/adapter.gguf" in lines and not any(line.startswith("TEMPLATE") for line in lines)
    assert (tmp_path / "run/serve" / "../gguf/adapter.gguf").is_file()
    assert "ollama create run -f serve/Modelfile" in (tmp_path / "run/serve/serve.md").read_text()
    program.run(*TRAIN, "model.path=model", "run.out=folder", "export.gguf_adapter=F16")
    assert not (tmp_path / "folder/serve/Modelfile").exists()  # which GGUF file the base is, is the receiver's choice


def test_the_licence_of_the_base_goes_along(program, tmp_path):
    texts = {"LICENSE.txt": b"may be used\xff\n", "NOTICE": b"made by others\n", "USE_POLICY.md": b"not for evil\n", "Copying": b"copy\n"}
    for name, text in texts.items():
        (tmp_path / "model" / name).write_bytes(text)
    (tmp_path / "model/README.md").write_text("not a licence\n")
    export(program, "model+adapter", "made", "export.gguf=[F16]", "export.merged=bf16")
    program.run(*TRAIN, "model.path=model", "run.out=run", "export.gguf=[F16]")
    for out in ("made", "run"):
        for name, text in texts.items():
            assert (tmp_path / out / "serve" / name).read_bytes() == text
            assert f"serve/{name}" in (tmp_path / out / "SHA256SUMS").read_text()
        card = (tmp_path / out / "serve/model_card.md").read_text()
        assert all(name.replace("_", "\\_") in card for name in texts) and "beside this card" in card
        assert not (tmp_path / out / "serve/README.md").exists()
    assert all((tmp_path / "made/merged" / name).read_bytes() == text for name, text in texts.items())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_run_is_not_used_on_a_base_that_has_changed(kind, program, tmp_path):
    base, weights = tmp_path / "model", tmp_path / "model/model.safetensors"
    if kind == "file":
        export(program, "model", "base", "export.gguf=[F32]")
        base = weights = tmp_path / "base/gguf/base-F32.gguf"
    adapter = ["export.gguf_adapter=F32", "export.name=it"]
    program.run(*TRAIN, f"model.path={base}", "run.out=run", *adapter, "train.checkpoint_every=1")
    export(program, "run", "before", *adapter)
    data = bytearray(weights.read_bytes())
    data[-3] ^= 4
    before, now = weights.read_bytes(), bytes(data)
    weights.unlink()
    weights.write_bytes(now)
    verbs = [["eval", "model.path=run", "data.eval=rows.jsonl", "run.out=score"], ["generate", "model.path=run", "generate.prompt=a"],
             ["generate", "model.path=run@1", "generate.prompt=a"], ["export", "model.path=run", *adapter, "run.out=again"],
             ["verify", "verify.model=run", "verify.artifact=run/gguf/adapter.gguf", "run.out=proof"]]
    for words in verbs:
        said = program.run(*words, "run.device=cpu", code=4).stderr
        assert f"{tmp_path / 'run'}: its base {base} has changed since it was trained" in said and said.count("error: ") == 1, said
        adapter = tmp_path / ("run/checkpoints/step-00000001" if "model.path=run@1" in words else "run/adapter")
        assert f"hint: put back what was there, or name both to use it as it is: {base}+{adapter}" in said
    assert (tmp_path / "run/gguf/adapter.gguf").exists()
    program.run("generate", f"model.path={base}+run/adapter", "generate.prompt=a", "generate.max_new_tokens=1", "run.device=cpu")
    weights.write_bytes(before)
    program.run(*verbs[0], "run.device=cpu")


def test_a_stopped_run_is_not_used_on_a_base_that_has_changed(program, tmp_path):
    process = program.start(*TRAIN, "model.path=model", "run.out=run", "train.checkpoint_every=1", "train.steps=5000")
    while not list((tmp_path / "run/checkpoints").glob("step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.terminate()
    process.communicate()
    step = int(max((tmp_path / "run/checkpoints").glob("step-*")).name.removeprefix("step-"))
    words = ["generate", f"model.path=run@{step}", "generate.prompt=a", "generate.max_new_tokens=1", "run.device=cpu"]
    program.run(*words)
    weights = tmp_path / "model/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 4
    weights.unlink()
    weights.write_bytes(data)
    assert "has changed since it was trained" in program.run(*words, code=4).stderr
