"""Files that are wrong in one way each. Every function takes a good case (model/, rows.jsonl) and spoils it in place."""

import json
import shutil
import struct

from safetensors.torch import load_file, save_file


def rows(folder):
    return (folder / "rows.jsonl").read_text().splitlines()


def write_lines(folder, lines):
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")


def replace_row(folder, number, text):
    lines = rows(folder)
    lines[number - 1] = text
    write_lines(folder, lines)


def turns(*pairs):
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in pairs]})


def broken_json(folder):
    replace_row(folder, 3, rows(folder)[2][:-5])


def duplicate_key(folder):
    replace_row(folder, 2, '{"messages": [], "messages": []}')


def no_messages(folder):
    replace_row(folder, 4, '{"conversation": "hello"}')


def unknown_role(folder):
    replace_row(folder, 2, turns(("user", "hello"), ("helper", "hi")))


def content_is_a_number(folder):
    replace_row(folder, 2, '{"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "hi"}]}')


def no_answer(folder):
    replace_row(folder, 5, turns(("user", "hello")))


def not_utf8(folder):
    (folder / "rows.jsonl").write_bytes((folder / "rows.jsonl").read_bytes()[:-3] + b'\xff"}\n')


def empty_file(folder):
    (folder / "rows.jsonl").write_text("")


def too_long(folder):
    replace_row(folder, 3, turns(("user", "hello " * 400), ("assistant", "hi")))


def ragged_csv(folder):
    (folder / "rows.csv").write_text("prompt,completion\nhello,hi\nhello,hi,there\n")


def completion_is_a_number(folder):
    write_lines(folder, ['{"prompt": "two and two", "completion": " four"}', '{"prompt": "two and three", "completion": 5}',
                        '{"prompt": "nothing", "completion": null}'])


def broken_choices_file(folder):
    (folder / "choices.json").write_text('["a", "b"')


def weights_are_not_numbers(folder):
    change_weights(folder, lambda tensors: tensors["model.norm.weight"].fill_(float("nan")))


def weights_cut_short(folder):
    path = folder / "model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def weights_with_huge_header(folder):
    path = folder / "model/model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def weights_without_a_tensor(folder):
    change_weights(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))


def weights_with_another_shape(folder):
    change_weights(folder, lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"][:-1].clone()}))


def weights_with_an_unknown_tensor(folder):
    change_weights(folder, lambda tensors: tensors.update({"model.extra.weight": tensors["model.norm.weight"].clone()}))


def change_weights(folder, change):
    path = folder / "model/model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def only_a_pickle(folder):
    (folder / "model/model.safetensors").unlink()
    (folder / "model/pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")


def config_is_no_json(folder):
    (folder / "model/config.json").write_text("{model_type: llama}")


def config_without_width(folder):
    change_config(folder, lambda config: config.pop("hidden_size"))


def config_of_an_unknown_family(folder):
    change_config(folder, lambda config: config.update(model_type="mamba", architectures=["MambaForCausalLM"]))


def change_config(folder, change):
    path = folder / "model/config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def tokenizer_is_no_tokenizer(folder):
    (folder / "model/tokenizer.json").write_text('{"version": "1.0"}')


def no_tokenizer(folder):
    (folder / "model/tokenizer.json").unlink()


def template_that_fails(folder):
    path = folder / "model/tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = "{{ raise_exception('only one turn is allowed') }}"
    path.write_text(json.dumps(config))


def adapter_for_another_width(folder):
    path = folder / "adapter/adapter_model.safetensors"
    tensors = load_file(path)
    key = next(name for name in tensors if "lora_A" in name)
    tensors[key] = tensors[key][:, :-1].clone()
    save_file(tensors, path, metadata={"format": "pt"})


def adapter_without_config(folder):
    (folder / "adapter/adapter_config.json").unlink()


def run_folder_with_foreign_files(folder):
    (folder / "run").mkdir()
    (folder / "run/thesis.txt").write_text("mine")


def nothing(_):
    pass


def make_case(good, folder):
    shutil.copytree(good, folder, dirs_exist_ok=True)
    return folder
