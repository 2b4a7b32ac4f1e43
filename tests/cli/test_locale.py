"""The command line under a locale that knows ASCII alone, and with bytes that are not UTF-8."""

import os
import subprocess
import sys

import pytest

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="arguments are bytes on POSIX alone"
)


def run(folder, locale, *command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-m", "b2ner_cli", *command],
        cwd=folder,
        capture_output=True,
        env=environment | {"PYTHONPATH": os.getcwd()} | locale,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()


@pytest.mark.parametrize(
    ("locale", "command", "code", "out", "err"),
    [
        (C_LOCALE, ["labels", "check", "其他"], 0, "note: '其他': the authors write", "1 notes\n"),
        (C_LOCALE, ["tag", "无.jsonl", "-l", "人名"], 2, "", "Error: 无.jsonl: no such file\n"),
        (UTF8, ["tag", b"caf\xe9.jsonl", "-l", "a"], 2, "", r"Error: caf\udce9.jsonl: no such"),
        (UTF8, ["labels", "check", b"a\xff"], 1, r"error: 'a\udcff': label 'a\udcff' is not", ""),
    ],
)
def test_arguments_are_utf8_whatever_the_locale(tmp_path, locale, command, code, out, err):
    found = run(tmp_path, locale, *command)
    assert (found[0], out in found[1], err in found[2]) == (code, True, True)


def test_labels_reach_the_model_under_the_c_locale(tmp_path, tiny_llama):
    (tmp_path / "文.jsonl").write_text('{"text": "张三在北京"}', encoding="utf-8")
    command = ["tag", "文.jsonl", "-l", "人名", "-m", tiny_llama, "--dry-run"]
    code, out, _ = run(tmp_path, C_LOCALE, *command)
    assert code == 0
    assert "标签范围: 人名\n\n文本: 张三在北京" in out
