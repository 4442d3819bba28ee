"""`generate --chat` at a terminal: a person asks, is answered, and leaves."""

import os
import pty
import select
import signal
import subprocess
import time

import pytest
from tiny_models import make_model, save_folder

TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


class Terminal:
    """The program with a terminal as its stdin and stdout."""

    def __init__(self, binary, folder, *words):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([str(binary), *words], cwd=folder, stdin=slave, stdout=slave, stderr=slave,
                                        env={**os.environ, "NO_COLOR": "1", "OMP_WAIT_POLICY": "passive"}, start_new_session=True)
        os.close(slave)
        self.said = ""

    def type(self, line):
        os.write(self.master, line.encode() + b"\n")

    def until(self, text, seconds=60):
        """Reads until the program has said `text` once more."""
        end, before = time.monotonic() + seconds, len(self.said)
        while text not in self.said[before:] and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 65536).decode()
        assert text in self.said[before:], self.said


@pytest.fixture
def terminal(binary, tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").write_text(TEMPLATE)
    opened = Terminal(binary, tmp_path, "generate", "--chat", "model.path=model", "generate.max_new_tokens=4", "run.device=cpu")
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.master)


def test_an_empty_line_ends_the_conversation(terminal):
    terminal.until("> ")
    terminal.type("hello")
    terminal.until("\n> ")
    terminal.type("and again")
    terminal.until("\n> ")
    terminal.type("")
    assert terminal.process.wait(60) == 0
    assert "An empty line ends the conversation." in terminal.said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_a_line(how, terminal):
    terminal.until("> ")
    time.sleep(0.2)
    terminal.process.send_signal(how)
    assert terminal.process.wait(10) == -how
