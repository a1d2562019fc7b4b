"""Two threads that need the libraries at once: both get them whole."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading, time
from pathlib import Path
import torch
from core.families import get
from core.studio.library.weights import offset_info
from core.studio.workspace import Workspace

workspace, results = Workspace(Path(sys.argv[1])), []

def asks():
    while "transformers" not in sys.modules:  # the other thread is about to import it, and takes half a second
        time.sleep(0.001)
    try:
        results.append(offset_info(workspace, "sd15-mini-negative")["family"])
    except BaseException as error:
        results.append(repr(error))

thread = threading.Thread(target=asks)
thread.start()
get("sd15")
thread.join()
print(*results)
"""


@pytest.mark.process
def test_a_second_thread_waits_for_the_libraries_instead_of_finding_them_half_imported(tmp_path):
    """What is it?, clicked in the seconds in which the page's engine was warming, failed: cannot import name 'AutoModel'."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert ended.stdout.strip() == "sd15"
