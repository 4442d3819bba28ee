"""The rules of the house that a script can hold; every broken one is printed as FILE:LINE: what. Exit 1 if any is."""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, KIND_LINES, RECIPE_LINES = 400, 60, 150, 60
SOURCES = {".cpp", ".h", ".cu", ".rs"}

# A folder of src includes only from itself and from these.
MAY_USE = {
    "core": "",
    "io": "core",
    "hub": "core io",
    "config": "core io hub",
    "text": "core io",
    "quant": "core io",
    "kernels": "core quant",
    "data": "core config io text",
    "nn": "core quant kernels",
    "model": "core config io quant kernels nn",
    "adapter": "core config io nn model",
    "objective": "core config kernels nn",
    "run": "core config io",
    "teacher": "core io run",
    "train": "core config io kernels data run",
    "eval": "core config io text data model objective",
    "export": "core io text quant model adapter",
    "proof": "core io config text quant model adapter export hub run",
    "serving": "core config io text model proof",
    "artifact": "core io hub config text kernels model adapter run teacher export",
    "distill": "core io config text data model adapter objective run teacher artifact",
    "plan": "core io config text kernels data model adapter objective run train eval "
    "export proof serving artifact distill",
    "products": "core io config text quant data model adapter run eval export proof serving",
    "pages": "core io config data eval serving artifact products",
    "job": "core io config quant kernels data model adapter objective run train eval "
    "export proof serving artifact distill plan products pages",
    "recipes": "core io hub config text kernels data model objective run teacher eval "
    "export proof artifact distill plan products pages job",
    "cli": "core io hub config kernels data run teacher artifact plan recipes",
}
# A unit is x.h with x.cpp, and the units of a room include each other in no circle. These do, since before that was a
# rule: x.h has both the types and the call that x.cpp makes of other units on them. None comes in; one that is cut goes.
CIRCLES = [
    ("config", "check pipeline read"),
    ("config", "fields fields_train"),
    ("eval", "candidates choice score"),
    (
        "model",
        "config_reader family gguf_keys gguf_load gguf_names gguf_rope "
        "gguf_spec make model rope_spec spec stored_nf4",
    ),
    ("model", "generate sample"),
    ("nn", "dora linear projection served_weight"),
    ("proof", "logit_comparison logit_proof"),
    ("serving", "serving serving_scores serving_warnings"),
    (
        "text",
        "added_splitter backend bridge gguf_vocabulary pre_tokenizer "
        "sentence_piece special_tokens tables tokenizer vocab_merges",
    ),
    ("text", "chat chat_render chat_spans chat_turn markers"),
    ("train", "checkpoint_content loop recorder"),
]
# Each library is seen by one file, so that replacing it stays a one-file change.
ONE_FILE = {
    "yaml-cpp/": "src/config/",
    "nlohmann/": "src/io/json.cpp",
    "sentencepiece_processor.h": "src/text/",
    "hdf5.h": "src/io/hdf5.cpp",
    "curl/": "src/hub/transfer.cpp",
}
# The passes of the loop; a plan, on tensors without storage.
MAY_GO_BACKWARD = {"src/train/step_runner.cpp", "src/plan/rehearsal.cpp"}
# `catch` stands only at the edges where an exception must not pass.
MAY_CATCH = {
    "src/cli/main.cpp": "turns every error into its message and exit code",
    "src/core/error.h": "with_context",
    "src/core/host_copies.cpp": "destructor",
    "src/config/yaml.cpp": "the YAML library reports mistakes as exceptions",
    "src/config/values.h": "with_context for many keys: several bad ones are reported together",
    "src/data/parallel.h": "thread join",
    "src/data/problems.h": "with_context for many rows: several bad ones are reported together",
    "src/text/sentence_piece.cpp": "thread join",
    "src/kernels/plugin_table_cuda.cpp": "plug-in edge",
    "src/job/training.cpp": "memory that runs out, told with what would take less",
    "src/proof/artifact_reading.h": "with_context for the artifact that is verified",
    "src/proof/provenance_checks.cpp": "a verify.json that cannot be read is a finding",
    "src/recipes/verify.cpp": "an artifact that cannot be read is a finding",
    "src/recipes/verify_end.cpp": "a report that cannot be read is made again",
    "src/recipes/verify_sides.cpp": "the same",
}
# Words of file formats that are also names of families.
FORMAT_WORDS = {
    "src/text/pre_tokenizer.cpp": "values of tokenizer.ggml.pre",
    "src/text/vocab_merges.cpp": "class names of tokenizer_config.json",
    "src/export/gguf_metadata.cpp": "values of tokenizer.ggml.model, and llama.cpp's name triggers",
    "src/text/gguf_vocabulary.cpp": "the same, read back",
    "src/proof/vocabulary_checks.cpp": "the same, compared",
    "src/proof/llama_cpp_library.cpp": "functions of llama.cpp",
}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "base", "misc"}
# A program, and a kind of rope scaling.
NOT_A_FAMILY = re.compile(r"llama[._-]?(cpp|server)|llama3\b", re.I)
FAMILY = re.compile(r"(?<![a-z])(llama|mistral|qwen|gemma|smollm|stablelm|phi[-_]?[0-9])", re.I)
NO_FAMILY = "a family's name in src; facts about families stand in configs/families"
NO_CATCH = "catch stands only where scripts/check.py lists it"
NO_SECOND_LOOP = "there is one training loop: src/train/loop.cpp, whose passes step_runner.cpp makes"
MACHINE_PATH = re.compile(r"(?<![\w.}])/(root|home|w[o]rk|Users|mnt)/\w")
HOST = re.compile(r"\b(pypi\.[o]rg|pythonhosted\.[o]rg|crates\.[i]o|npmjs\.[o]rg|npmjs\.[c]om|deb\.debian\.[o]rg)\b")

ELSEWHERE = re.compile(r"\b(formats|semantics|reliability|interface|performance|toolchain)(\.md| [0-9](\.[0-9]|\b))", re.I)

broken = []


def complain(path, line, what):
    broken.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def tracked():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]
    kept = ("src", "tests", "scripts", "cmake", "configs", "recipes", "data", "experiments")
    return [path for folder in kept for path in (ROOT / folder).rglob("*") if path.is_file()]


def blank(text, strings=False):
    """The text with comments (and strings) replaced by spaces; line numbers stay."""
    pattern = r'R"(\w*~*)\((?:.|\n)*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*(?:.|\n)*?\*/'

    def replace(match):
        word = match.group(0)
        if word[0] != "/" and not strings:
            return word
        return re.sub(r"[^\n]", " ", word)

    return re.sub(pattern, replace, text)


def functions(text):
    """(first line, lines) of every function body at namespace or class level of C++ text without comments and strings."""
    head_start, depth, at = 0, 0, 0
    opaque_from = None
    while at < len(text):
        char = text[at]
        if char == "{":
            head = text[head_start:at]
            if opaque_from is None and not re.search(r"\b(namespace|class|struct|enum|union|extern)\b[^()]*$", head):
                first = head_start + len(head) - len(head.lstrip())
                opaque_from = (depth, first if ")" in head and "=" not in head.split("(")[0] else None)
            depth += 1
            head_start = at + 1
        elif char == "}":
            depth -= 1
            if opaque_from and depth == opaque_from[0]:
                if opaque_from[1] is not None:
                    line = text.count("\n", 0, opaque_from[1]) + 1
                    yield line, text.count("\n", 0, at) + 2 - line
                opaque_from = None
            head_start = at + 1
        elif char == ";":
            head_start = at + 1
        at += 1


def check_sizes(path, name, lines):
    is_program = name.startswith("src/recipes/") and any(re.match(r"int run_program\(.*\{$", line) for line in lines)
    if len(lines) > FILE_LINES:
        complain(path, FILE_LINES + 1, f"{len(lines)} lines; a file has at most {FILE_LINES}")
    if is_program and len(lines) > KIND_LINES:
        complain(path, KIND_LINES + 1, f"{len(lines)} lines; a recipe program has at most {KIND_LINES}")
    if path.stem in FORBIDDEN_NAMES:
        complain(path, 1, f"a file named {path.stem} says nothing about what is in it")


def check_cpp(path, name, text):
    code = blank(text)
    for line, length in functions(blank(text, strings=True)):
        if length > FUNCTION_LINES and name.startswith("src/"):  # tests hold tables
            complain(path, line, f"a function of {length} lines; at most {FUNCTION_LINES}")
    if path.suffix == ".h" and not text.startswith("//"):
        complain(path, 1, "a header opens with what lives here and why it is separate")
    for number, line in enumerate(code.split("\n"), 1):
        if re.search(r'#include\s*[<"]torch/torch\.h', line):
            complain(path, number, "torch/torch.h costs 25 s a file; include ATen/core/Tensor.h or one ATen/ops header")
        if name.startswith("src/"):
            check_src_line(path, name, number, line)
    if "parallel_for" in code and name != "src/core/parallel.h" and not re.search(r'#include "(core/parallel|kernels/vector)\.h"', text):
        complain(path, 1, "at::parallel_for is a plain loop without core/parallel.h")


def unit_of(file):
    return PurePosixPath(file).with_suffix("").as_posix()


def check_src_line(path, name, number, line):
    folder = name.split("/")[1]
    include = re.match(r'\s*#include\s*[<"]([^>"]+)', line)
    if include:
        target = include.group(1).split("/")[0]
        if target in MAY_USE and "/" in include.group(1):
            includes.setdefault(unit_of(name.removeprefix("src/")), set()).add(unit_of(include.group(1)))
            if target != folder and target not in MAY_USE.get(folder, "").split():
                complain(path, number, f"{folder} may not include from {target}")
        for library, owner in ONE_FILE.items():
            if include.group(1).startswith(library):
                seen_by.setdefault(library, set()).add(name)
                if not name.startswith(owner):
                    complain(path, number, f"only one file of {owner} sees {library}")
    for permitted, found, what in (
        (FORMAT_WORDS, FAMILY.search(NOT_A_FAMILY.sub("", line)), NO_FAMILY),
        (MAY_CATCH, re.search(r"\bcatch\s*\(", line), NO_CATCH),
        (MAY_GO_BACKWARD, re.search(r"(\.|->)backward\(", line), NO_SECOND_LOOP),
    ):
        if found and name in permitted:
            used.setdefault(id(permitted), set()).add(name)
        elif found:
            complain(path, number, what)


def check_words(path, text):
    if path.suffix == ".lock" or path.name in {"package-lock.json", "check.py"}:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            complain(path, number, "an unfinished thing is an issue, not a comment")
        if MACHINE_PATH.search(line):
            complain(path, number, "a path of one machine")
        if ELSEWHERE.search(line):
            complain(path, number, "cites a document that is not in the repository; state the rule, or the paper")
        if HOST.search(line):
            complain(path, number, "a registry's host; clients are configured by the user")


def check_recipe(path, lines):
    if len(lines) > RECIPE_LINES:
        complain(path, RECIPE_LINES + 1, f"{len(lines)} lines; a shipped recipe has at most {RECIPE_LINES}")
    if not lines or not lines[0].startswith("# ") or "prentice" not in lines[0] and "scripts/" not in lines[0]:
        complain(path, 1, "a recipe's first comment is the command that runs it")
    keys = [line for line in lines if re.match(r"\w", line)]
    if not keys or not re.match(r"(recipe|extends):", keys[0]):
        complain(path, 1, "a recipe's first key is `recipe`")


def check_rooms():
    """The three places that say which room stands on which must agree."""
    cmake = (ROOT / "CMakeLists.txt").read_text()
    linked = {
        name: re.findall(r"prentice_(\w+)", uses) for name, uses in re.findall(r"^room\((\w+) USES ((?:(?!TEST_USES)[^)])*)", cmake, re.M)
    }
    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(), re.M)
    table = table[table.index("core") : table.index("cli") + 1] if {"core", "cli"} <= set(table) else []

    def below(room):
        return {room}.union(*(below(other) for other in linked[room]))

    for where, rooms in (("CMakeLists.txt", list(linked)), ("README.md", table)):
        if set(rooms) != set(MAY_USE):
            broken.append(f"{where}: rooms other than check.py's: {', '.join(sorted(set(rooms) ^ set(MAY_USE)))}")
            return
        for room, others in MAY_USE.items():
            for other in others.split():
                if rooms.index(other) > rooms.index(room):
                    broken.append(f"{where}: {room} may include from {other}, which stands below it")
    for room, others in MAY_USE.items():
        for other in sorted(set(others.split()) - below(room)):
            broken.append(f"CMakeLists.txt: {room} may include from {other}, and does not link it")
        for other in sorted(set(linked[room]) - set(others.split())):
            broken.append(f"CMakeLists.txt: {room} links {other}, and may not include from it")


def check_circles():
    """Units of a room that include each other in a circle."""

    def reached(unit):
        found, ahead = set(), {unit}
        while ahead:
            ahead = {other for one in ahead for other in includes.get(one, ()) if in_room(unit, other)} - found
            found |= ahead
        return found

    def in_room(unit, other):
        return unit.split("/")[0] == other.split("/")[0]

    below = {unit: reached(unit) - {unit} for unit in includes}
    circles = {frozenset({unit} | {other for other in below[unit] if unit in below.get(other, ())}) for unit in includes}
    circles = {circle for circle in circles if len(circle) > 1}
    known = {frozenset(f"{room}/{unit}" for unit in units.split()) for room, units in CIRCLES}
    for circle in circles - known:
        broken.append(f"src: these include each other in a circle: {', '.join(sorted(circle))}")
    for circle in known - circles:
        broken.append(f"scripts/check.py: CIRCLES has what is not a whole circle: {', '.join(sorted(circle))}")


def check_permissions():
    """A permission that nothing uses would let in what nobody has decided."""
    for room, others in MAY_USE.items():
        own = [found for unit, found in includes.items() if unit.split("/")[0] == room]
        targets = {other.split("/")[0] for found in own for other in found}
        for other in sorted(set(others.split()) - targets):
            broken.append(f"scripts/check.py: {room} may include from {other}, and does not")
    for permitted, what in ((FORMAT_WORDS, "a family's name"), (MAY_CATCH, "catch"), (MAY_GO_BACKWARD, "backward()")):
        for name in sorted(set(permitted) - used.get(id(permitted), set())):
            broken.append(f"scripts/check.py: {name} may have {what}, and has not")


seen_by = {}
includes = {}  # unit -> units
used = {}  # of each list of permissions, the files that need theirs


def main():
    check_rooms()
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in {".safetensors", ".bin", ".gguf", ".model", ".png", ".gz"} or name.startswith("tests/golden/"):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        if path.suffix in SOURCES | {".py", ".sh", ".cmake"} or path.name == "CMakeLists.txt":
            check_sizes(path, name, lines)
        if path.suffix in {".cpp", ".h", ".cu"}:
            check_cpp(path, name, text)
        parts = name.split("/")
        if parts[0] == "src" and len(parts) > 3 and "text/bridge" not in name:
            complain(path, 1, "src is two folders deep at most")
        if parts[0] == "recipes" and path.suffix == ".yaml":
            check_recipe(path, lines)
        check_words(path, text)
    check_circles()
    check_permissions()
    for library, names in seen_by.items():
        if len(names) > 1:
            broken.append(f"{library} is seen by {', '.join(sorted(names))}; one file may")
    print("\n".join(broken) if broken else "check: every rule holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
