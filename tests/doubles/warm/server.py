"""The process that the double of python beside this file asks: it has loaded torch, and forks.

A forked job has its caller's words, folder, variables and outputs, and the scripts of that folder.
"""

import json
import os
import runpy
import signal
import socket
import sys
import traceback

LIBRARIES = ("datasets", "lm_eval.models.huggingface", "scipy.stats", "sklearn.linear_model")
MODELS = ("gpt2", "gpt_neo", "llama")


def serve(address: str) -> None:
    """Load what jobs import, then fork one for each caller."""
    for name in (*LIBRARIES, *(f"transformers.models.{m}.modeling_{m}" for m in MODELS)):
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{address}.new")
        door.listen()
        os.rename(f"{address}.new", address)  # who sees it may call
        while True:
            line, _ = door.accept()
            if os.fork() == 0:
                answer(line)
            line.close()


def answer(line: socket.socket) -> None:
    """Do one job, tell its exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, outputs, *_ = socket.recv_fds(line, 8, 2)
    request = line.makefile("rb").read(int.from_bytes(size, "big"))
    sys.argv, folder, variables = json.loads(request)
    for target, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, target)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[0] = os.path.join(folder, os.path.dirname(sys.argv[0]))
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    line.sendall(str(code).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
