"""`explain --json-schema` describes exactly the recipes that ship, and the bad ones are turned away."""

import json

import jsonschema
import pytest
import yaml
from conftest import ROOT

RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))


class Words(yaml.SafeLoader):
    """YAML as recipes are read: `1e-3` is a number and `no` is a word."""


Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Words.add_implicit_resolver("tag:yaml.org,2002:bool", yaml.resolver.re.compile(r"^(true|false)$"), list("tf"))
Words.add_implicit_resolver("tag:yaml.org,2002:float",
                            yaml.resolver.re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?$"),
                            list("-+0123456789."))


@pytest.fixture(scope="module")
def schema(binary, tmp_path_factory):
    from conftest import Prentice
    output = Prentice(binary, tmp_path_factory.mktemp("schema")).run("explain", "--json-schema").stdout
    document = json.loads(output)
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_shipped_recipes_satisfy_the_schema(path, schema):
    errors = [f"{'.'.join(map(str, e.path))}: {e.message}" for e in schema.iter_errors(yaml.load(path.read_text(), Words))]
    assert not errors


@pytest.mark.parametrize("recipe", [
    {"recipe": "sft", "optim": {"learning_rate": 1e-3}},
    {"recipe": "sft", "optimizer": {"lr": 1e-3}},
    {"recipe": "sftt"},
    {"recipe": "sft", "optim": {"schedule": "cosin"}},
    {"recipe": "sft", "adapter": {"rank": 0}},
    {"recipe": "pretrain", "adapter": {"rank": 8}},
    {"recipe": "pipeline", "pipeline": {"steps": [{"name": "a"}]}},
], ids=str)
def test_mistakes_do_not_satisfy_the_schema(recipe, schema):
    assert list(schema.iter_errors(recipe))


def test_quickstart_recipes_validate(prentice):
    prentice.run("validate", ROOT / "recipes/quickstart.yaml", cwd=ROOT)
