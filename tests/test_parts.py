"""The loop of a job over its parts: what is finished is kept, what is cut is made anew."""

import pandas as pd
import pytest

from unlearning.jobs.parts import Made, work_through

NAMES = {name: name for name in ("one", "two", "three")}


def made(name: str) -> Made:
    return Made({"table": pd.DataFrame({"part": [name]})}, lambda folder: marked(folder, name))


def marked(folder, name: str) -> None:
    folder.mkdir()
    (folder / "mark").write_text(name)


def test_tables_come_back_in_the_order_asked_for(tmp_path):
    done = work_through(NAMES, made, tmp_path / "work", "a" * 64)
    assert done.read("table", ["three", "one"])["part"].tolist() == ["three", "one"]
    assert (done.path("two") / "mark").read_text() == "two"
    done.close()
    assert not (tmp_path / "work").exists()


def test_after_a_failure_only_what_is_missing_is_made(tmp_path):
    def fails_at_two(name: str) -> Made:
        if name == "two":
            raise RuntimeError("cut")
        return made(name)

    with pytest.raises(RuntimeError, match="cut"):
        work_through(NAMES, fails_at_two, tmp_path / "work", "a" * 64)
    asked = []

    def counted(name: str) -> Made:
        asked.append(name)
        return made(name)

    done = work_through(NAMES, counted, tmp_path / "work", "a" * 64)
    assert asked == ["two", "three"]
    assert done.read("table", NAMES)["part"].tolist() == list(NAMES)


def test_a_part_whose_saving_fails_is_not_taken_for_finished(tmp_path):
    def cut(folder) -> None:
        marked(folder, "half")
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        work_through(NAMES, lambda _: Made({}, cut), tmp_path / "work", "a" * 64)
    assert not [path for path in (tmp_path / "work").rglob("*") if path.name == "mark"]


def test_other_inputs_start_afresh(tmp_path):
    work_through(NAMES, made, tmp_path / "work", "a" * 64)
    asked = []

    def counted(name: str) -> Made:
        asked.append(name)
        return made(name)

    work_through(NAMES, counted, tmp_path / "work", "b" * 64)
    assert asked == list(NAMES)


def test_only_the_first_of_several_processes_writes(tmp_path):
    met = []
    work_through(NAMES, made, tmp_path / "work", "a" * 64, first=False, meet=lambda: met.append(1))
    assert not list((tmp_path / "work").rglob("table.parquet"))
    assert len(met) == 1 + 2 * len(NAMES)
