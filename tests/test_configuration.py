"""The config check: what is wrong is said in one line, before anything runs."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from unlearning.configuration import check, schema
from unlearning.jobs.errors import InputError

ROOT = Path(__file__).parents[1]
CONFIGS = [
    ROOT / "config/config.yaml",
    ROOT / "config/paper.yaml",
    ROOT / "config/small.yaml",
    ROOT / "tests/config/smoke.yaml",
]


def demo() -> dict:
    return yaml.safe_load(CONFIGS[0].read_text())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_stable(path):
    checked = check(yaml.safe_load(path.read_text()))
    assert checked["unlearning"]["retain"] > 0  # defaults are filled in
    assert check(copy.deepcopy(checked)) == checked
    json.dumps(checked, allow_nan=False)


def test_a_method_with_an_end_of_its_own_has_no_stop_rule_by_default():
    config = demo()
    config["unlearners"] = {"ga": {"method": "gradient_ascent"}, "twin": {"method": "twin"}}
    checked = check(config)["unlearners"]
    assert (checked["ga"]["stop"], checked["twin"]["stop"]) == ("mean", "none")


def test_the_schema_file_is_up_to_date():
    assert (ROOT / "config/schema.json").read_text() == schema(), "run `make schema`"


def test_every_key_of_the_schema_is_described():
    for name, block in json.loads(schema())["$defs"].items():
        for key, value in block["properties"].items():
            assert value.get("description"), f"{name}.{key} has no description"


def paper() -> dict:
    return yaml.safe_load(CONFIGS[1].read_text())


def put(path: str, value):
    """A change that sets a dotted key."""

    def change(config: dict) -> None:
        *parents, last = path.split(".")
        for part in parents:
            config = config[part]
        config[last] = value

    return change


def drop(path: str):
    def change(config: dict) -> None:
        *parents, last = path.split(".")
        for part in parents:
            config = config[part]
        del config[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("modles", {}), r"unknown key 'modles'; did you mean 'models'\?"),
        (put("unlearning.max_epoch", 3), r"'unlearning.max_epoch'; did you mean 'max_epochs'\?"),
        (put("models.small.pretraining.hiden_size", 3), r"did you mean 'hidden_size'\?"),
        (put("models.small.unlearning.rate", 3), r"models.small: unknown key 'rate'"),
        (put("unlearners.ga.method", "gradient_asc"), "there is no method 'gradient_asc'"),
        (put("unlearners.ga.stop", "never"), "unlearners.ga.stop: 'never' is no stop rule"),
        (put("unlearners.ga.stop", "none"), "'none' is no stop rule for a method without an end"),
        (put("unlearners.sga.gama", 0.5), "unlearners.sga: unknown key 'gama'"),
        (put("unlearners.ta.k", 3), "unlearners.ta: k: input should be less than 0"),
        (put("attacks", {"relearn": None}), r"no attack 'relearn'; did you mean 'relearning'\?"),
        (put("attacks.relearning.step", 3), r"attacks.relearning: unknown key 'step'; did you"),
        (put("attacks.sampling.needed", 101), "attacks.sampling: needed 101 is more than tries"),
        (drop("unlearners.ga.method"), "unlearners.ga: key 'method' is missing"),
        (put("forget_sets.sizes", [8, 4000]), "4000 is larger than the pool of 64"),
        (put("forget_sets.sizes", [8, 8]), "names something twice"),
        (put("forget_sets.sizes", []), "forget_sets.sizes: "),
        (put("forget_sets.sizes", None), "a set of all 64 sequences is the same for every seed"),
        (put("measurement.tasks", {"talk": "dialogue"}), "measured by tasks of kind choice, and"),
        (put("measurement.ngram", 56), "measurement.ngram: 56 does not fit into sequences of 56"),
        (put("measurement.tasks", {}), "measurement.tasks: .*at least 1"),
        (put("measurement.tasks.town", "quiz"), "measurement.tasks.town: "),
        (put("unlearning.learning_rate", "fast"), "unlearning.learning_rate: .*'fast'"),
        (put("unlearning.learning_rate", -1), "unlearning.learning_rate: .*greater than 0"),
        (put("run", "../elsewhere"), "run: "),
        (drop("models"), "key 'models' is missing"),
        (put("models", {}), "models: "),
    ],
)
def test_a_wrong_config_gets_one_line(change, message):
    config = demo()
    change(config)
    with pytest.raises(InputError, match=message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("corpus", {}), "has corpus and challenge; give one of corpus, challenge, own"),
        (drop("challenge"), "has no source of sequences; give one of corpus, challenge, own"),
        (put("forget_sets.sizes", None), "forget_sets.sizes: give some"),
        (put("challenge.miror", "x"), "'challenge.miror'; did you mean 'mirror'"),
        (put("challenge.unseen", 3), "challenge.unseen: .*multiple of 2"),
        (put("challenge.vocabulary", 4096), "models.125m: hub: .*tokenizer that this run trains"),
        (put("measurement.tasks.piqa", "dialogue"), "'piqa: dialogue' is no published task"),
        (put("measurement.tasks.town", "choice"), "'town: choice' is no published task"),
        (put("measurement.ngram", 200), "ngram: 200 does not fit into sequences of 200"),
        (drop("models.125m.hub"), "models.125m: has no origin; give one of"),
        (drop("models.125m.revision"), "hub and revision belong together"),
        (put("models.125m.revision", "main"), "models.125m.revision: .*pattern"),
        (put("models.125m.folder", "x"), "models.125m: has hub and folder; give one of"),
        (put("unlearning.precision", "int8"), "unlearning.precision: "),
    ],
)
def test_a_wrong_config_of_real_sequences_gets_one_line(change, message):
    config = paper()
    change(config)
    with pytest.raises(InputError, match=message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_numbers_that_yaml_reads_as_text_are_numbers():
    config = demo()
    config["unlearning"]["learning_rate"] = "5e-4"  # YAML 1.1 reads 5e-4 as a string
    assert check(config)["unlearning"]["learning_rate"] == 5e-4


def test_a_method_that_needs_text_to_keep_says_so_before_anything_runs():
    config = demo()
    config["unlearners"] = {"ga": {"method": "gradient_ascent"}, "npo": {"method": "npo"}}
    config["tuning"] = None
    check(copy.deepcopy(config))
    config["models"]["small"]["unlearning"]["retain"] = 0
    with pytest.raises(InputError, match=r"unlearners.npo: .* there is none; give unlearning.ret"):
        check(copy.deepcopy(config))
    config["unlearners"]["npo"]["retain"] = None
    check(config)


def test_a_method_that_changes_all_weights_takes_no_adapter():
    config = demo()
    config["unlearners"] = {"perturb": {"method": "shrink_and_perturb"}}
    config["tuning"] = None
    check(copy.deepcopy(config))
    config["models"]["small"]["unlearning"]["lora"] = {"rank": 4}
    with pytest.raises(InputError, match=r"unlearners.perturb: .* small is given a low-rank"):
        check(config)


def test_a_method_that_needs_text_to_keep_is_given_some_of_the_challenge():
    config = paper()
    config["unlearners"]["npo"] = {"method": "npo"}
    check(copy.deepcopy(config))
    config["challenge"]["background_share"] = 0
    with pytest.raises(InputError, match=r"npo: .* give challenge.background_share"):
        check(config)


def test_a_term_on_text_to_keep_needs_a_file_of_it_among_your_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("forget", "unseen", "text"):
        row = {"tokens": list(range(16))} if name != "text" else {"text": "anything"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    models = {"mine": {"hub": "owner/name", "revision": "0" * 40}}
    config = demo() | {"models": models, "forget_sets": {"seeds": [0]}, "tuning": None}
    config["unlearners"] = {"ga": {"method": "gradient_ascent"}}
    del config["corpus"]
    config["own"] = {"forget": "forget.jsonl", "unseen": "unseen.jsonl"}
    config["measurement"] |= {"tasks": {"pile": "perplexity"}, "extraction_suffix": 8}
    config["solution_space"] = {"utility_metric": "nats_per_token"}
    check(copy.deepcopy(config))
    config["unlearners"]["ga_kl"] = {"method": "gradient_ascent", "retain": {"kind": "kl"}}
    with pytest.raises(InputError, match="unlearners.ga_kl: .* give own.background"):
        check(copy.deepcopy(config))
    config["own"]["background"] = "text.jsonl"
    check(config)


def test_who_judges_safety_must_be_an_attack_that_runs():
    config = demo()
    config["solution_space"] = {"attackers": ["membership", "relearning"]}
    assert check(copy.deepcopy(config))["solution_space"]["attackers"] == [
        "membership",
        "relearning",
    ]
    config["solution_space"] = {"attackers": ["relerning"]}
    with pytest.raises(InputError, match=r"attackers: 'relerning' .* did you mean 'relearning'"):
        check(copy.deepcopy(config))
    config["solution_space"] = {"attackers": []}
    with pytest.raises(InputError, match="attackers: nobody is named"):
        check(config)
