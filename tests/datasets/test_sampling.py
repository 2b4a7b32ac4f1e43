"""`b2ner data split` and `sample`: parts that a seed decides."""

import pytest

from tests.datasets.sets import many, put, row, run, texts


def test_split_takes_shares_and_numbers_and_keeps_equal_texts_together(tmp_path):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(50) + many(50))
    options = ["--dev", "0.1", "--test", "10", "-o"]
    assert run("split", tmp_path / "in", *options, tmp_path / "out").code == 0
    folder = tmp_path / "out/NER_en/a"
    parts = {split: texts(folder, split) for split in ("train", "dev", "test")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 70, "dev": 10, "test": 20,
    }  # fmt: skip
    assert not set(parts["train"]) & set(parts["dev"] + parts["test"])
    run("split", tmp_path / "in", *options, tmp_path / "again")
    run("split", tmp_path / "in", *options, tmp_path / "other", "--seed", "1")
    assert texts(tmp_path / "again/NER_en/a", "test") == parts["test"]
    assert texts(tmp_path / "other/NER_en/a", "test") != parts["test"]


def test_split_keeps_a_split_that_is_there(tmp_path):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(20), test=many(3))
    done = run("split", tmp_path / "in", "--dev", 5, "--test", 5, "-o", tmp_path / "out")
    assert "NER_en_a has a test split already; kept" in done.err
    folder = tmp_path / "out/NER_en/a"
    assert [len(texts(folder, s)) for s in ("train", "dev", "test")] == [15, 5, 3]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([], "nothing to split off"),
        (["--dev", "1.5"], "--dev 1.5: neither"),
        (["--test", "20"], "20 texts, of which 20"),
    ],
)
def test_split_of_what_cannot_be(tmp_path, shares, message):
    put(tmp_path / "in", "NER_en/a", ["p"], train=many(20))
    done = run("split", tmp_path / "in", *shares, "-o", tmp_path / "out")
    assert (done.code, message in done.err) == (2, True)


def test_sample_by_number_and_by_type(tmp_path):
    rows = many(30, "p") + many(30, "q") + [row(f"nothing {i}") for i in range(30)]
    put(tmp_path / "in", "NER_en/a", ["p", "q"], train=rows)
    run("sample", tmp_path / "in", "-n", 10, "-o", tmp_path / "n")
    drawn = texts(tmp_path / "n/NER_en/a", "train")
    assert len(drawn) == 10
    order = [each["sentence"] for each in rows]
    assert drawn == sorted(drawn, key=order.index)
    run("sample", tmp_path / "in", "--per-type", 4, "-o", tmp_path / "t")
    kept = texts(tmp_path / "t/NER_en/a", "train")
    assert [sum(t.startswith(p) for t in kept) for p in ("p", "q", "nothing")] == [4, 4, 4]
    assert "how many documents?" in run("sample", tmp_path / "in", "-o", tmp_path / "x").err
