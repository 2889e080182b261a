"""Downloads by the libraries' own clients, from a hub on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from doubles.hub import Hub, serving
from running import ROOT, environment
from samples import MIRROR, needs_samples
from unlearning.data.challenge import published
from unlearning.data.corpus.tokens import train_tokenizer

COMMIT = "21def0189f5705e2521767faed922f1f15e7d7db"
READ = """
import json, sys
from pathlib import Path
from unlearning.data.challenge import published
from unlearning.jobs.console import run

def main():
    root, mirror, names, folder = *sys.argv[1:3], json.loads(sys.argv[3]), Path(sys.argv[4])
    github = "https://raw.githubusercontent.com"
    for name, source in published.SOURCES.items():
        if isinstance(source, published.Web):
            urls = tuple(url.replace(github, root) for url in source.urls)
            published.SOURCES[name] = published.Web(urls)
    mirror = mirror or None
    for name in names:
        if name == "tokenizer":
            found = sorted(published.read_tokenizer(mirror).get_vocab().items())
        elif name in published.MD5:
            found = published.read_matrix(name, mirror).tolist()
        else:
            found = published.read_rows(name, mirror)
        (folder / f"{name}.json").write_text(json.dumps(found))

run(main)
"""


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    """A hub with one model, of which a pickle and code are no part that anyone should take."""
    folder = tmp_path / "hub/EleutherAI/tiny"
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=64, n_layer=1, n_head=1)).save_pretrained(
        folder
    )
    train_tokenizer(["one two three"] * 9, 300).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    with serving(tmp_path / "hub") as running:
        yield running


def call(hub: Hub, home: Path, *command: object) -> subprocess.CompletedProcess:
    """Run Python with this hub in place of the real one, and an empty cache."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=environment()
        | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
    )


def fetch(hub: Hub, tmp_path: Path, name: str = "EleutherAI/tiny") -> subprocess.CompletedProcess:
    settings = json.dumps({"hub": name, "revision": COMMIT})
    script = ROOT / "scripts/fetch_model.py"
    return call(
        hub, tmp_path / "home", script, "--settings", settings, "--output", tmp_path / "model"
    )


def read(hub: Hub, tmp_path: Path, *names: str, mirror: Path | None = None):
    folder = tmp_path / ("mirror" if mirror else "network")
    folder.mkdir(exist_ok=True)
    return call(
        hub, tmp_path / "home", "-c", READ, hub.url, mirror or "", json.dumps(names), folder
    )


# --- models -----------------------------------------------------------------------------------


def test_a_model_comes_at_its_commit_without_pickles_and_code(hub, tmp_path):
    done = fetch(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    given, taken = hub.folder / "EleutherAI/tiny", tmp_path / "model"
    assert (taken / "model.safetensors").read_bytes() == (given / "model.safetensors").read_bytes()
    names = {path.name for path in taken.iterdir()}
    assert {"config.json", "tokenizer.json"} <= names
    asked = [line for line in hub.asked if "EleutherAI" in line]
    assert asked
    assert all(COMMIT in line for line in asked)
    for name in ("pytorch_model.bin", "modeling.py"):
        assert name not in names
        assert not [line for line in asked if name in line]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, tmp_path):
    hub.break_off = {"model.safetensors"}
    done = fetch(hub, tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: EleutherAI/tiny at 21def0189f5705e")
    assert "cannot be downloaded" in done.stderr
    assert not (tmp_path / "model").exists()
    hub.break_off = set()
    done = fetch(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert load_file(tmp_path / "model/model.safetensors")


def test_a_model_that_the_hub_lacks_is_one_line(hub, tmp_path):
    done = fetch(hub, tmp_path, "EleutherAI/none")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: EleutherAI/none at 21def0189f5705e")


# --- data -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["piqa", "mathqa", "tokenizer", "train"])
def test_what_the_sources_lack_is_one_line(hub, tmp_path, name):
    done = read(hub, tmp_path, name)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "try again, or give a mirror" in done.stderr


def test_a_corrupt_dataset_is_one_line(hub, tmp_path):
    folder = hub.folder / "baber/piqa/data"
    folder.mkdir(parents=True)
    (folder / "validation-0.parquet").write_bytes(bytes(3000))
    done = read(hub, tmp_path, "piqa")
    assert done.returncode == 2, done.stderr
    assert "error: huggingface.co/datasets/baber/piqa at 142f6d7" in done.stderr


def publish(folder: Path) -> None:
    """The samples of a mirror as their sources publish them: on the hub as Parquet, or raw."""
    for name, source in published.SOURCES.items():
        sample = MIRROR / name
        if isinstance(source, published.Hub):
            repository, part = folder / source.repository, source.config or "data"
            (repository / part).mkdir(parents=True, exist_ok=True)
            rows = [json.loads(line) for line in sample.read_text().splitlines()]
            pd.DataFrame(rows).to_parquet(repository / part / f"{source.split}-0.parquet")
            with (repository / "README.md").open("a") as card:
                card.write("---\nconfigs:\n" if not card.tell() else "")
                card.write(f"- config_name: {source.config or 'default'}\n  data_files:\n")
                card.write(f"  - split: {source.split}\n    path: {part}/{source.split}-*\n")
            continue
        paths = [folder / url.split("/", 3)[3] for url in source.urls]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl"):
            rows = [json.loads(line) for line in sample.read_text().splitlines()]
            if sample.stem == "mathqa":
                theirs = {"Problem": "question", "correct": "answer"}
                rows = [{theirs.get(key, key): value for key, value in row.items()} for row in rows]
            if len(paths) > 1:
                rows = {str(i): row for i, row in enumerate(rows)}
                paths[1].write_text(json.dumps(dict.fromkeys(rows, "yes")))
            paths[0].write_text(json.dumps(rows))
        else:
            paths[0].write_bytes(sample.read_bytes())
    for card in folder.glob("*/*/README.md"):
        card.write_text(card.read_text() + "---\n")
    tokenizer = folder / published.TOKENIZER[0]
    tokenizer.mkdir(parents=True)
    for file in (MIRROR / "gpt2-tokenizer").iterdir():
        (tokenizer / file.name).write_bytes(file.read_bytes())


@needs_samples
def test_the_network_gives_what_a_mirror_gives(hub, tmp_path):
    publish(hub.folder)
    tasks = [Path(name).stem for name in published.SOURCES if name.startswith("suite/")]
    names = ["tokenizer", "train", "val", *tasks]
    for mirror in (None, MIRROR):
        done = read(hub, tmp_path, *names, mirror=mirror)
        assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        ours, theirs = (
            json.loads((tmp_path / place / f"{name}.json").read_text())
            for place in ("network", "mirror")
        )
        assert ours == theirs, name
        assert len(ours) > 20
    revisions = [s.revision for s in published.SOURCES.values() if isinstance(s, published.Hub)]
    for revision in (*revisions, published.TOKENIZER[1]):
        assert [line for line in hub.asked if revision in line], revision
