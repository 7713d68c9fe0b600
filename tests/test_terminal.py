"""A command ends soon and with one line on Ctrl-C, and does not mind where its output goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm

from probekit import terminal
from probekit.errors import ProbekitError, printable

SLOW = """
import sys, time
from probekit.cli import main

tidying = float(sys.argv.pop())

def slow(*args, **kwargs):
    print("begun", flush=True)
    try:
        while True:
            time.sleep(0.01)
    finally:
        time.sleep(tidying)

import probekit.data
probekit.data.load = slow
sys.argv = ["probekit", "data", "show", "quadtree"]
main()
"""


@pytest.mark.parametrize("tidying", ["0", "60"])
def test_ctrl_c_ends_a_command_within_two_seconds_with_one_line(tidying: str) -> None:
    """Even where tidying up would take a minute."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, tidying], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 3  # 2 on an idle machine
    assert (process.returncode, err) == (130, "probekit: stopped.\n")


def test_a_command_called_from_python_leaves_ctrl_c_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert terminal.stoppable(lambda: signal.getsignal(signal.SIGINT), "")() != before
    assert signal.getsignal(signal.SIGINT) == before
    assert terminal._ends == []


PROBES = "-m probekit probes"
HELP = """-c 'from probekit import cli; cli.ANSWERS = ("--help",); cli.main()' --help"""
"""A command like `probes`, whose answer is standard output, that imports no torch."""
FULL = "probekit: standard output cannot be written: the disk is full\n"
EARLY = """
import signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "%s":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["probekit", "probes"]
from %s import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "probekit.terminal", "torch"])
@pytest.mark.parametrize("command", ["probekit.cli", "probekit.report.__main__"])
def test_ctrl_c_while_a_command_is_imported(module: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY % (module, command)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert done.stderr.startswith("probekit: stopped.")


TURNED = """
import signal
from probekit.terminal import run_command, stoppable

def command():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as interrupt:
        raise ImportError("initialization failed") from interrupt

run_command(stoppable(command, "What was measured is kept."))
"""


def test_ctrl_c_that_an_import_turns_into_another_error_ends_alike() -> None:
    done = subprocess.run([sys.executable, "-c", TURNED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "probekit: stopped. What was measured is kept.\n")


LOST = """
import signal, time, weakref
from probekit import terminal
from probekit.terminal import run_command, stoppable

terminal.PATIENCE = 600

class Watched:
    pass

def command():
    watched = Watched()
    there = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT))
    del watched
    time.sleep(600)

run_command(stoppable(command, "What was measured is kept."))
"""


def test_ctrl_c_in_a_callback_ends_at_once_and_alike() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (130, "probekit: stopped. What was measured is kept.\n")


def test_ctrl_c_in_a_text_that_is_executed_gives_the_exit_code() -> None:
    """The interpreter ends by the signal where one was raised inside exec(), as when data classes are made."""
    waits = "        while True:\n            time.sleep(0.01)"
    loop = SLOW.replace(waits, "        exec('while True: time.sleep(0.01)')")
    assert "exec" in loop
    process = subprocess.Popen(
        [sys.executable, "-c", loop, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "probekit: stopped.\n")


@pytest.mark.parametrize(("number", "ended"), [("SIGINT", "stopped at once"), ("SIGTERM", "step done")])
def test_ctrl_c_does_not_wait_for_a_long_step_of_training(number: str, ended: str) -> None:
    """SIGTERM does: schedulers wait after it, and the state of the step is worth having."""
    script = f"""
import signal, time
from probekit import terminal
from probekit.training.signals import interruptible

terminal.leave_soon_on_interrupt("stopped at once")
with interruptible() as stop:
    signal.raise_signal(signal.{number})
    time.sleep(terminal.PATIENCE + 0.5)  # the step
    terminal.say("step done")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == f"probekit: {ended}\n"


@pytest.mark.parametrize(
    ("command", "output", "code", "error"),
    [
        (HELP, ">&-", 0, ""),
        (HELP, "2>&-", 0, ""),
        (HELP, ">&- 2>&-", 0, ""),
        (HELP, ">/dev/full", 1, FULL),
        (PROBES, ">/dev/full", 1, FULL),
        (HELP, "2>/dev/full", 0, ""),
        (HELP, "| true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_output_that_nobody_takes(command: str, output: str, code: int, error: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {command} {output}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, error)


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\x9b\u202e\ud800\tc\n") == "a\\x1b[31mb\\x07\\x9b\\u202e\\ud800\tc\n"
    assert printable("a\tb\nc", line=True) == "a b c"
    assert printable("größe 類 × α") == "größe 類 × α"
    assert str(ProbekitError("no \x1b]0;title\x07")) == "no \\x1b]0;title\\x07"
    done = warm.run("-m", "probekit", "inspect", "no\x1b[31m.pth")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


PARENT = """
import multiprocessing, os, signal, sys, time
from probekit.terminal import end_with_parent

def work():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(60)
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
    for _ in range(200):
        if not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_a_message_is_never_longer_than_anyone_reads() -> None:
    text = str(ProbekitError("begin " + "a" * 10**6 + " end"))
    assert len(text) < 10_100
    assert text.startswith("begin aaa")
    assert text.endswith("aaa end")
    assert "990,010 characters" in text
