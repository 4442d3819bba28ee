"""Makes the data of recipes/tasks from data/TASK/material.yaml: train and test rows whose wordings and fillers differ.
Seeded: the same bytes every time. Needs PyYAML (scripts/setup.sh --profile test).

    python scripts/make_task_data.py [--check]

--check only says whether the committed files are what this script makes.
"""

import argparse
import csv
import io
import json
import random
import re
import sys
from pathlib import Path

import yaml

DATA = Path(__file__).resolve().parent.parent / "data"
SEED = 41
SLOT = re.compile(r"<(\w+)>")


def material(task):
    return yaml.safe_load((DATA / task / "material.yaml").read_text())


def of_part(items, part):
    """The last quarter of a list belongs to the test rows alone; of short lists the last item."""
    border = len(items) - max(1, len(items) // 4)
    return items[:border] if part == "train" else items[border:]


def pick(rng, items, part):
    return rng.choice(of_part(items, part))


def filler(rng, items, part):
    """Test rows have values that training never shows beside those that it does."""
    return pick(rng, items, part) if part == "train" else rng.choice(items)


def fill(text, values):
    return SLOT.sub(lambda slot: str(values[slot.group(1)]), text)


def draw(rng, texts, fillers, part):
    """One value for each slot of the texts that has fillers."""
    names = dict.fromkeys(name for text in texts for name in SLOT.findall(text))
    return {name: filler(rng, fillers[name], part) for name in names if name in fillers}


def fill_apart(rng, text, fillers, part):
    """Every slot with a value of its own, so that two names in one text differ more often than not."""
    return SLOT.sub(lambda slot: str(filler(rng, fillers[slot.group(1)], part)), text)


def distinct(count, make, taken, key):
    """`count` rows, no two alike in `key` and none in `taken`. Gives up when the material is used up."""
    rows, tries = [], 0
    while len(rows) < count:
        tries += 1
        assert tries < 400 * count, "the material gives too few rows"
        row = make(len(rows))
        if key(row) not in taken:
            taken.add(key(row))
            rows.append(row)
    return rows


def routing(rng, part, index, source):
    desks = sorted(source["desks"])
    label = desks[index % len(desks)]
    opener, closer = filler(rng, source["openers"], part), filler(rng, source["closers"], part)
    text = fill_apart(rng, rng.choice(source["desks"][label][part]), source["fillers"], part)
    stop = "?" if re.match(r"(How|What|When|Which|Who|Is|Are|Can|May|Will)\b", text) else "."
    return {"text": opener + text + stop + fill_apart(rng, closer, source["fillers"], part), "label": label}


def documents(rng, part, index, source):
    kinds = sorted(source["kinds"])
    label = kinds[index % len(kinds)]
    kind = source["kinds"][label]
    sentences = [pick(rng, kind["opening"], part), *rng.sample(of_part(kind["body"], part), 2), pick(rng, kind["end"], part)]
    return {"text": fill_apart(rng, " ".join(sentences), source["fillers"], part), "label": label}


def extraction(rng, part, index, source):
    frame = source[part][index % len(source[part])]
    values = draw(rng, [frame], source["fillers"], part)
    fields = {name: values.get(name) for name in source["fields"]}
    fields["quantity"] = int(fields["quantity"])
    return {"text": fill(frame, values), "fields": fields}


def sql(rng, part, index, source):
    database = source["databases"][index % len(source["databases"])]
    query = rng.choice(database["queries"])
    wording = pick(rng, query["words"], part)
    values = draw(rng, [wording, query["sql"]], source["fillers"], part)
    return {"schema": database["schema"], "question": fill(wording, values), "sql": fill(query["sql"], values)}


def passages(rng, part, index, source):
    subject = rng.choice(source["subjects"])
    values = {"subject": filler(rng, subject["names"], part)}
    facts = rng.sample(subject["facts"], 5)
    for fact in facts:
        values |= draw(rng, [fact["text"]], source["fillers"], part)
    left_out = index % 5 == 4
    asked = facts[4] if left_out else rng.choice(facts[:4])
    first = [fact for fact in facts[:4] if "<subject>" in fact["text"]]  # the name of the subject comes before "it"
    if not first:
        return passages(rng, part, index, source)
    told = first + [fact for fact in facts[:4] if fact not in first]
    return {"passage": " ".join(fill(fact["text"], values) for fact in told),
            "question": fill(pick(rng, asked["questions"], part), values),
            "answer": source["unknown"] if left_out else fill(asked["answer"], values)}


def code(rng, part, index, source):
    function = source["functions"][index % len(source["functions"])]
    wording = pick(rng, function["tasks"], part)
    values = draw(rng, [wording, function["code"]], source["fillers"], part)
    return {"task": f"Write a Python function {values['name']} that {fill(wording, values)}.", "code": fill(function["code"], values)}


def replies(rng, part, index, source):
    """A question with a reply that helps and one that does not, which keeps a part of the good one now and then."""
    topics = sorted(source["topics"])
    topic = source["topics"][topics[index % len(topics)]]
    question, step = rng.choice(topic[part]), rng.choice(topic["steps"])
    values = draw(rng, [question, step], source["fillers"], part)
    opening, ending = pick(rng, source["openings"], part), pick(rng, source["endings"], part)
    bad = pick(rng, source[("curt", "blaming", "vague")[index % 3]], part)
    rejected = rng.choice([bad, f"{opening} {bad}", f"{bad} {ending}"])
    return {"prompt": fill(question, values), "chosen": f"{opening} {fill(step, values)} {ending}", "rejected": rejected}


# task: (rows made by, train rows, test rows, what makes a row the same as another)
TASKS = {
    "routing": (routing, 400, 80, lambda row: row["text"]),
    "documents": (documents, 300, 60, lambda row: row["text"]),
    "extraction": (extraction, 400, 80, lambda row: row["text"]),
    "sql": (sql, 420, 90, lambda row: (row["schema"], row["question"])),
    "passages": (passages, 450, 90, lambda row: (row["passage"], row["question"])),
    "code": (code, 360, 80, lambda row: row["task"]),
    "replies": (replies, 400, 80, lambda row: row["prompt"]),
}


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def make_all():
    """{path below data/: text}"""
    files = {}
    for task, (make, train, test, key) in TASKS.items():
        source, rng, taken = material(task), random.Random(f"{SEED} {task}"), set()
        for part, count in (("train", train), ("test", test)):
            rows = distinct(count, lambda index, part=part: make(rng, part, index, source), taken, key)
            rng.shuffle(rows)
            name, text = (f"{part}.csv", as_csv(rows)) if task == "routing" else (f"{part}.jsonl", as_jsonl(rows))
            files[f"{task}/{name}"] = text
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    check = parser.parse_args().check
    differ = []
    for name, text in make_all().items():
        if check:
            differ += [name] if not (DATA / name).is_file() or (DATA / name).read_text() != text else []
            continue
        (DATA / name).write_text(text)
        print(f"data/{name}: {len(text.encode()):,} bytes")
    if check:
        print("differ: " + ", ".join(differ) if differ else "the task data is what this script makes")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
