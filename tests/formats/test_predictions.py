import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.document import Entity
from b2ner_cli.errors import InputError
from b2ner_cli.formats.predictions import PredictionRecord, encode, is_prediction, label_line, read

ENGLISH = (
    "Given the label set of entities, please recognize all the entities in the text. The answer "
    'format should be "entity label: entity; entity label: entity". \n'
    "Label Set: {} \n\nText: {} \nAnswer:"
)
RECORD = PredictionRecord(
    task="NER",
    dataset="AnEM",
    language="zh",
    id="0",
    sentence="张三在北京",
    instruction="给定 ...\n标签范围: 人名, 地名\n\n文本: 张三在北京 \n答案:",
    gold="人名: 张三; 地名: 北京",
    predicted="人名: 张三",
)
LINE = (
    '{"Task":"NER","Dataset":"AnEM","Language":"zh","Instance":{"id":"0","sentence":"张三在北京",'
    '"label":" 人名: 张三; 地名: 北京",'
    '"instruction":"给定 ...\\n标签范围: 人名, 地名\\n\\n文本: 张三在北京 \\n答案:",'
    '"ground_truth":" 人名: 张三; 地名: 北京"},"Prediction":"人名: 张三"}\n'
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANSWERS = TEXTS.map(str.strip)


def written(folder, *lines):
    path = folder / "predictions.jsonl"
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


def test_encode_spells_the_authors_keys_in_their_order():
    assert encode(RECORD).decode() == LINE


def test_encode_adds_entities_at_the_end():
    found = replace(RECORD, entities=(Entity(0, 2, "人名", "张三", 0.5),))
    line = json.loads(encode(found))
    assert list(line) == ["Task", "Dataset", "Language", "Instance", "Prediction", "entities"]
    assert line["entities"] == [
        {"start": 0, "end": 2, "label": "人名", "text": "张三", "score": 0.5}
    ]


@given(TEXTS, TEXTS, TEXTS, ANSWERS, ANSWERS, st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory, name, sentence, instruction, gold, predicted, placed
):
    entities = (Entity(0, 1, "a", sentence[0]),) if placed and sentence else None
    record = PredictionRecord(
        "NER", name, "en", "7", sentence, instruction, gold, predicted, entities
    )
    path = written(tmp_path_factory.mktemp("predictions"), encode(record), encode(record))
    assert list(read(path)) == [
        replace(record, origin=f"{path}:1"),
        replace(record, origin=f"{path}:2"),
    ]


def test_read_takes_the_authors_spelling(tmp_path):
    value = json.loads(LINE)
    value["Instance"]["id"] = 3
    del value["Instance"]["ground_truth"]
    path = written(tmp_path, "\n", json.dumps(value), "\n\n")
    assert list(read(path)) == [replace(RECORD, id="3", origin=f"{path}:2")]


def test_read_takes_gzip_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "predictions.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + LINE.encode()))
    assert [record.predicted for record in read(path)] == ["人名: 张三"]


BROKEN = json.loads(LINE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"Task": "NER", "Inst', "malformed JSON at column"),
        ("[]", "not an object"),
        ("{}", "no Instance object"),
        (json.dumps({**BROKEN, "Prediction": None}), "Prediction must be a string, not NoneType"),
        (json.dumps({"Instance": BROKEN["Instance"]}), "no key 'Task'"),
        (json.dumps({**BROKEN, "Instance": {"id": "1"}}), "no key 'sentence'"),
        (json.dumps({**BROKEN, "entities": {}}), "entities must be a list of objects"),
        (
            json.dumps(
                {**BROKEN, "entities": [{"start": 0, "end": 2, "label": "x", "text": "李四"}]}
            ),
            "is not the document's [0, 2)",
        ),
        (
            json.dumps(
                {**BROKEN, "entities": [{"start": "0", "end": 2, "label": "x", "text": "张三"}]}
            ),
            "start must be a whole number",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = written(tmp_path, LINE, line + "\n")
    with pytest.raises(InputError) as caught:
        list(read(path))
    assert caught.value.message.startswith(f"{path}:2: ")
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_no_lines_are_an_error(tmp_path, content):
    with pytest.raises(InputError, match="no predictions in the file"):
        list(read(written(tmp_path, content)))


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read(tmp_path / "missing.jsonl"))


def test_is_prediction():
    assert is_prediction(LINE.encode())
    assert not is_prediction(b'{"text": "Prediction", "entities": []}')
    assert not is_prediction(b'{"Instance')


@pytest.mark.parametrize(
    ("instruction", "labels"),
    [
        (ENGLISH.format("person, city", "Label Set: none"), "person, city"),
        ("给定\n标签范围: 人名, 地名\n标签描述: 人名 是指\n\n文本: x \n答案:", "人名, 地名"),
        ("给定 \n类别范围: 正面, 负面 \n\n文本: x \n答案:", "正面, 负面"),
        ("Dada la lista\nConjunto de Etiquetas: persona \n\nTexto: x \nRespuesta:", "persona"),
        ("Label Set: person", "person"),
        ("Find the Label Set: of it", None),
        ("", None),
    ],
)
def test_label_line(instruction, labels):
    assert label_line(instruction) == labels
