"""Whose temporary object is it: the living, the dead, and those that come after them under the same process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from resources.storage.owner import Process, is_abandoned, machine, owner, runs, temporary_name

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began")


def _self() -> Process:
    found = owner(temporary_name())
    assert found is not None
    return found


def test_a_name_tells_its_owner() -> None:
    """Machine, process and beginning can be read from a name; no two names are the same."""
    assert (_self().machine, _self().pid) == (machine(), os.getpid())
    assert temporary_name() != temporary_name()


@pytest.mark.parametrize("name", ["a-b-c", "a-1-b-c", "a-1-c", "a-1-2-c-d", "notes", ""])
def test_other_names_belong_to_nobody(name: str) -> None:
    """What is not named as the archive names things is never taken for abandoned."""
    assert owner(name) is None
    assert not is_abandoned(name, alive=lambda _: False)


def test_a_living_process_abandons_nothing() -> None:
    """This process runs, so what bears its name is spared."""
    assert runs(_self())
    assert not is_abandoned(temporary_name())


def test_another_machine_is_never_judged() -> None:
    """A process id means nothing elsewhere."""
    here = temporary_name()
    elsewhere = here.replace(machine(), "0" * 16)
    assert is_abandoned(here, alive=lambda _: False)
    assert not is_abandoned(elsewhere, alive=lambda _: False)


@linux
def test_a_process_id_that_is_used_again_is_told_apart() -> None:
    """A dead process is dead although another one has its id now."""
    predecessor = replace(_self(), began=_self().began - 1)
    assert not runs(predecessor)


def test_a_killed_process_is_dead_at_once_and_after_it_was_buried() -> None:
    """Also while its parent has not asked how it ended, as in a container whose first process never asks."""
    script = (
        "import sys; from resources.storage.owner import temporary_name; print(temporary_name(), flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not is_abandoned(name)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_abandoned(name)
    child.communicate()
    assert is_abandoned(name)
