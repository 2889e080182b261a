"""A control for a model that was not trained here, and an audit of models as they are."""

import json
import re
import shutil

import jsonschema
import pandas as pd
import pytest
import yaml

from running import ROOT, copy_project, snakemake
from test_own import FORGOTTEN, folder, template  # noqa: F401  (a fixture)
from unlearning.configuration import check
from unlearning.jobs.errors import InputError


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({}, "models.mine.control: has no origin; give one of hub, folder, gguf"),
        ({"folder": "a", "gguf": "b"}, "control: has folder and gguf; give one"),
        ({"hub": "a/b"}, "control: hub and revision belong together"),
        ({"folder": "nowhere"}, "control: folder: no folder nowhere; paths are"),
        ({"gguf": "nowhere.gguf"}, "control: gguf: no file nowhere.gguf; paths are"),
        ({"folders": "a"}, "unknown key 'models.mine.control.folders'; did you mean 'folder'"),
    ],
)
def test_a_control_comes_from_one_place(folder, control, message):  # noqa: F811
    config = template(folder)
    config["models"]["mine"]["control"] = control
    with pytest.raises(InputError, match=message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_the_hubble_pairs_are_planned_on_stand_ins(folder, tmp_path):  # noqa: F811
    """Folders with the names that the config gives: both are fetched, measured, attacked."""
    project = copy_project(tmp_path)
    config = yaml.safe_load((ROOT / "config/hubble.yaml").read_text())
    (project / "hubble").mkdir()
    for name in ("1b-perturbed", "1b-standard"):
        shutil.copytree(folder / "mine", project / f"hubble/{name}")
    for name in ("inserted", "not_inserted", "held_out"):
        (project / f"hubble/{name}.jsonl").write_text(
            '{"text": "a text of some length, as they are"}\n{"text": "and another one, as long"}\n'
        )
    done = snakemake(project, "-n", "--printshellcmds", "--configfile", "config/hubble.yaml")
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert counts["fetch_model"] == "2"
    assert counts["measure_original"] == counts["attack_original"] == counts["render_audit"] == "1"
    assert counts["unlearn"] == str(len(config["unlearners"]))
    for name in ("1b-perturbed", "1b-standard"):
        assert f'"folder": "hubble/{name}"' in done.stdout
    [command] = re.findall(r"(python \S*measure_original.py.*)", done.stdout)
    assert "--control results/hubble/controls/hubble_1b" in command


@pytest.mark.slow
def test_an_audit_of_a_model_as_it_is_beside_its_control(folder, tmp_path):  # noqa: F811
    """No unlearner: the model knows its list, its twin does not, and the unseen text is alike."""
    project = copy_project(tmp_path)
    config = template(folder)
    config["unlearners"] = {}
    config["own"]["retained"] = str(folder / "retained.jsonl")
    config["models"]["mine"]["control"] = {"folder": str(folder / "other")}
    config["measurement"] |= {"ngram": 3, "extraction_suffix": 8}
    config["attacks"] = {"reference_calibrated": {}, "sampling": {}}
    config["attack_analysis"] = {"resamples": 20}
    (project / "custom.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(project, "--configfile", "custom.yaml", warm=True)
    logs = "".join(path.read_text() for path in (project / "logs").rglob("*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + logs[-3000:]
    results = project / "results/custom"
    document = json.loads((results / "audit.json").read_text())
    jsonschema.validate(document, json.loads((ROOT / "config/audit.schema.json").read_text()))
    [model] = document["models"]
    known = [s["before"]["verdict"] in ("knows", "recites") for s in model["sequences"]]
    assert len(known) == FORGOTTEN
    assert sum(known) >= FORGOTTEN - 2
    assert model["control"] == str(folder / "other")
    assert model["comparability"]["verdict"] == "alike"
    assert model["methods"] == []
    assert all(attack["control"] is not None for attack in model["attacks"])
    assert not (results / "claims.json").exists()
    assert not (results / "unlearned").exists()
    membership = pd.read_parquet(results / "membership.parquet")
    assert set(membership["unlearner"]) == {"original", "control"}
    page = (results / "audit.html").read_text()
    assert "Nothing was unlearned" in page
    text = (folder / "forget.jsonl").read_text().splitlines()[0]
    assert json.loads(text)["text"][:16] not in page
    again = snakemake(project, "--configfile", "custom.yaml", "-n")
    assert "Nothing to be done" in again.stdout
