"""What exported files say of where they come from, and `verify --provenance`, which checks it."""

import hashlib
import json
import shutil

import gguf
import pytest
from conftest import ROOT, Prentice, failed
from safetensors import safe_open
from tiny_models import make_model, save_folder

TICKETS = (ROOT / "data/tickets/train.jsonl").read_text().splitlines()
TRAIN = ["sft", "model.path=model", "data.train=rows.jsonl", "train.steps=2", "train.batch=4", "data.eval_split=0", "run.device=cpu",
         "run.precision=f32", "export.merged=bf16", "export.gguf=[Q8_0]", "export.gguf_adapter=F16", "export.name=it"]
FILES = ["adapter/adapter_model.safetensors", "merged/model.safetensors", "gguf/it-Q8_0.gguf", "gguf/adapter.gguf"]


def write_inputs(folder):
    save_folder(make_model("llama"), folder / "model")
    (folder / "rows.jsonl").write_text("\n".join(TICKETS[:16]) + "\n")


@pytest.fixture
def program(tmp_path, binary):
    write_inputs(tmp_path)
    return Prentice(binary, tmp_path)


def origin(path):
    """The keys of ours in a file's metadata."""
    if path.suffix == ".gguf":
        said = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    else:
        with safe_open(path, "pt") as file:
            said = file.metadata()
    return {key: value for key, value in said.items() if key.startswith("prentice.")}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_sha256(folder):
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hashes(run):
    return {file: sha256(run / file) for file in FILES}


def test_every_file_says_what_it_was_made_of(program, tmp_path, binary):
    program.run(*TRAIN, "run.out=run")
    found = {file: origin(tmp_path / "run" / file) for file in FILES}
    wanted = {"prentice.program": sha256(binary), "prentice.input.model.path": folder_sha256(tmp_path / "model"),
              "prentice.input.data.train[0]": sha256(tmp_path / "rows.jsonl")}
    recipes = {said.pop("prentice.recipe") for said in found.values()}
    assert len(recipes) == 1 and len(recipes.pop()) == 64
    for file, said in found.items():
        verification = said.pop("prentice.verification", None)
        assert said == wanted, file
        # The adapter is what was trained: there is nothing to compare it with.
        assert verification is None if file == FILES[0] else verification.startswith("passed "), (file, verification)
    told = json.loads(program.run("inspect", "run/gguf/it-Q8_0.gguf", "--json").stdout)["metadata"]
    assert told["prentice.input.data.train[0]"] == wanted["prentice.input.data.train[0]"]
    program.run("verify", "verify.model=run", "verify.artifact=run/gguf/it-Q8_0.gguf", "run.out=proof", "--provenance")
    checks = {check["name"]: check["passed"] for check in json.loads((tmp_path / "proof/verify.json").read_text())["checks"]}
    for name in ("recipe", "program", "verification", "input.model.path", "data.train[0] on the disk", "model.path on the disk"):
        assert checks[f"provenance: {name}"] is True, name


def test_the_same_things_elsewhere_give_the_same_bytes(program, tmp_path, binary):
    program.run(*TRAIN, "run.out=run")
    elsewhere = tmp_path / "else/where"
    elsewhere.mkdir(parents=True)
    write_inputs(elsewhere)
    Prentice(binary, elsewhere).run(*TRAIN, "run.out=other", "run.log_every=1")
    assert hashes(tmp_path / "run") == hashes(elsewhere / "other")
    program.run(*TRAIN, "run.out=slower", "optim.lr=1e-4")
    slower = origin(tmp_path / "slower" / FILES[2])
    first = origin(tmp_path / "run" / FILES[2])
    assert slower.pop("prentice.recipe") != first.pop("prentice.recipe") and slower == first
    program.run("export", "model.path=run", "export.peft=false", "export.gguf=[F16]", "export.verify=false", "run.out=plain")
    assert origin(tmp_path / "plain/gguf/plain-F16.gguf")["prentice.verification"].rstrip() == "not asked for"


@pytest.mark.parametrize("name, reason", [
    ("data", "data.train[0] on the disk"), ("base", "model.path on the disk"), ("recipe", "recipe"), ("foreign", "metadata"),
    ("moved", "run"), ("unverified", "verification"),
])
def test_what_is_not_so_is_found(name, reason, program, tmp_path):
    program.run(*TRAIN, "run.out=run", *(["export.verify=false"] if name == "unverified" else []))
    artifact = tmp_path / "run/gguf/it-Q8_0.gguf"
    if name == "data":
        (tmp_path / "rows.jsonl").write_text("\n".join(TICKETS[:15]) + "\n")
    elif name == "base":
        (tmp_path / "model/README.md").write_text("another model\n")
    elif name == "recipe":
        recipe = tmp_path / "run/recipe.yaml"
        recipe.write_text(recipe.read_text().replace("steps: 2", "steps: 3"))
    elif name == "foreign":
        data = artifact.read_bytes()
        assert data.count(b"prentice.recipe") == 1
        artifact.write_bytes(data.replace(b"prentice.recipe", b"anotherx.recipe"))
    elif name == "moved":
        shutil.move(artifact, tmp_path / "it.gguf")
        artifact = tmp_path / "it.gguf"
        shutil.copytree(tmp_path / "run/adapter", tmp_path / "adapter")
    said = program.run("verify", f"verify.model=model+{'adapter' if name == 'moved' else 'run/adapter'}", f"verify.artifact={artifact}", "run.out=proof", "--provenance", code=9)
    assert artifact.exists()  # what others have become is no reason to take its name
    assert failed(json.loads((tmp_path / "proof/verify.json").read_text())) == [f"provenance: {reason}"] and reason in said.stderr


def edited(path, change):
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))


def test_the_verification_is_the_one_that_the_run_reports(program, tmp_path):
    program.run(*TRAIN, "run.out=run")
    artifact, report = tmp_path / "run/gguf/it-Q8_0.gguf", tmp_path / "run/verify.json"
    whole, bytes_ = report.read_text(), artifact.read_bytes()
    words = ["verify", "verify.model=model+run/adapter", "run.out=proof", "--provenance"]
    program.run(*words, "verify.artifact=run/merged", "--fresh")

    def refused(said_of_it, *more):
        said = program.run(*words, f"verify.artifact={artifact}", *more, "--fresh", code=9)
        found = json.loads((tmp_path / "proof/verify.json").read_text())
        assert failed(found) == ["provenance: verification"] and said_of_it in said.stderr, said.stderr
        assert artifact.exists()

    def the_first_fails(report):
        of_file = [check for check in report["checks"] if check["name"].startswith("gguf/it-Q8_0.gguf: ")]
        of_file[0]["passed"] = report["passed"] = False

    edited(report, lambda found: found.update(passed=False))
    refused("verify.json says that not all passed")
    report.write_text(whole)
    edited(report, the_first_fails)
    refused("failed 1 of ")
    report.write_text(whole)
    edited(report, lambda found: found["checks"].pop(next(i for i, check in enumerate(found["checks"]) if check["name"].startswith("gguf/it-"))))
    refused("the file says passed ")
    report.unlink()
    refused("verify.json is not there")
    report.write_text(whole)
    count = origin(artifact)["prentice.verification"].rstrip()
    other = "passed 99 checks".ljust(len(count)).encode()
    assert bytes_.count(count.encode()) == 1
    artifact.write_bytes(bytes_.replace(count.encode(), other))
    refused("the file says passed 99 checks")
    artifact.write_bytes(bytes_)
    program.run(*words, f"verify.artifact={artifact}", "--fresh")


def test_a_copy_is_asked_of_the_run_that_verify_model_names(program, tmp_path):
    program.run(*TRAIN, "run.out=run")
    copy = shutil.copy(tmp_path / "run/gguf/it-Q8_0.gguf", tmp_path / "it.gguf")
    for count, model in enumerate(("run", "run@2", "model+run/adapter")):
        program.run("verify", f"verify.model={model}", f"verify.artifact={copy}", f"run.out=proof-{count}", "--provenance")
        checks = {check["name"]: check["detail"] for check in json.loads((tmp_path / f"proof-{count}/verify.json").read_text())["checks"]}
        assert checks["provenance: run"] == str(tmp_path / "run") and "provenance: recipe" in checks
    (tmp_path / "run/recipe.yaml").write_text((tmp_path / "run/recipe.yaml").read_text().replace("log_every: 10", "log_every: 7").replace("steps: 2", "steps: 3"))
    program.run("verify", "verify.model=model+run/adapter", f"verify.artifact={copy}", "run.out=proof-4", "--provenance", code=9)
    assert failed(json.loads((tmp_path / "proof-4/verify.json").read_text())) == ["provenance: recipe"]


def test_a_finished_verification_asks_again_where_the_file_comes_from(program, tmp_path):
    program.run(*TRAIN, "run.out=run")
    words = ["verify", "verify.model=model+run/adapter", "verify.artifact=run/gguf/it-Q8_0.gguf", "run.out=proof"]
    program.run(*words)
    assert "provenance: recipe" in program.run(*words, "--provenance").stdout
    (tmp_path / "rows.jsonl").write_text("\n".join(TICKETS[:15]) + "\n")
    assert "data.train[0] on the disk" in program.run(*words, "--provenance", code=9).stderr
    assert program.run(*words).stdout.startswith("already done")
