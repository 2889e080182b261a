"""Promises that the project makes about itself: pins, entry points, rules."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from planning import large_config
from running import ROOT, SMOKE, copy_project, snakemake

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([0-9][^ #]*)")


def pins(lines: list[str]) -> dict[str, str]:
    found = (PIN.match(line.strip()) for line in lines)
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


LOCK = pins((ROOT / "requirements.lock").read_text().splitlines())


def test_the_lock_holds_what_is_asked_for():
    asked = pins((ROOT / "requirements.in").read_text().splitlines())
    assert len(asked) > 15
    assert {name: LOCK.get(name) for name in asked} == asked


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.stem)
def test_conda_environments_have_the_lock_s_pins(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    own = pins(next(d["pip"] for d in dependencies if isinstance(d, dict)))
    assert len(own) > 5
    assert {name: LOCK.get(name) for name in own} == own


def test_every_rule_has_the_script_of_its_name():
    rules = set()
    for path in (ROOT / "rules").glob("*.smk"):
        rules |= set(re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE))
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    assert rules == scripts


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")), ids=str
)
def test_every_script_explains_itself(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_the_analysis_imports_no_torch():
    program = (
        "import sys; sys.path.insert(0, 'scripts');"
        "import analyse_attacks, analyse_shadows, choose_settings, collect, draw_figures;"
        "import draw_forget_sets, draw_shadows, judge_claims, make_tables, record_provenance;"
        "import render_audit, render_pages;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("unlearning.configuration", "scipy"),  # each start of Snakemake would wait for it
        ("unlearning.memorization.forgetting", "statsmodels"),  # models' environment lacks it
    ],
)
def test_a_module_does_not_load(module, absent):
    program = (
        f"import sys; sys.path.insert(0, 'scripts'); import {module};"
        f"print('{absent}' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_demo_plans_the_whole_grid(tmp_path):
    done = snakemake(copy_project(tmp_path), "-n")
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    # three models, three controls; two sizes
    assert counts["pretrain"] == "6"
    assert counts["measure_original"] == "3"
    assert counts["unlearn"] == counts["measure_unlearned"] == counts["attack_unlearned"] == "6"
    assert counts["attack_original"] == "3"


def test_a_large_grid_is_one_job_per_cell(tmp_path):
    """The benchmark's config, smaller: 2 models x 3 sizes x 5 unlearners x 7 draws."""
    folder = copy_project(tmp_path)
    (folder / "large.yaml").write_text(yaml.safe_dump(large_config(2, 3, 5, 7)))
    done = snakemake(folder, "-n", "--quiet", "rules", "--configfile", "large.yaml")
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert counts["unlearn"] == counts["measure_unlearned"] == counts["attack_unlearned"] == "210"
    assert (counts["pretrain"], counts["measure_original"]) == ("4", "2")
    assert counts["total"] == str(3 * 210 + 4 + 2 + 2 + 10)


def test_every_command_of_the_papers_experiment_can_be_started(tmp_path):
    """A shell takes a command as one argument, and Linux takes 128 KB in one."""
    folder = copy_project(tmp_path)
    done = snakemake(folder, "-n", "--printshellcmds", "--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stdout
    lengths = [len(command) for command in re.findall(r"command: (.*)", done.stdout)]
    assert len(lengths) > 1350  # 450 jobs each of three rules
    assert max(lengths) < 2**16


def test_a_model_over_two_gpus_is_started_by_torchrun(tmp_path):
    folder = copy_project(tmp_path)
    config = yaml.safe_load((folder / SMOKE).read_text())
    config["models"]["tiny"]["gpus"] = 2
    (folder / "two.yaml").write_text(yaml.safe_dump(config))
    starters = {2: {"torchrun --standalone --nproc-per-node 2"}, 1: {"python"}}
    for granted, expected in starters.items():
        arguments = ("--configfile", "two.yaml", "--resources", f"gpu={granted}")
        done = snakemake(folder, "-n", "--printshellcmds", *arguments)
        assert done.returncode == 0, done.stdout
        found = re.findall(r"fi; (\$\(.*) scripts/unlearn.py --model", done.stdout)
        # the shell is what chooses
        started = {
            subprocess.check_output(["bash", "-c", f"echo {start}"], text=True).strip()
            for start in set(found)
        }
        assert started == expected
        gpus = set(re.findall(r"--history .* --gpus (\S+ > \S+) --threads", done.stdout))
        assert gpus == {f"$(({granted} > 0))"}


def test_a_shared_folder_is_made_once_and_anew_after_a_failure(once):
    made = []

    def make(folder: Path) -> None:
        folder.mkdir()
        made.append(folder)
        if len(made) == 1:
            raise RuntimeError("the first try fails")

    with pytest.raises(RuntimeError, match="first try"):
        once("shared", make)
    assert once("shared", make) == once("shared", make)
    assert len(made) == 2
