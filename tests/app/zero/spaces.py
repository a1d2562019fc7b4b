"""Stands in for the platform's `spaces` in tests: as there, the function runs in a forked process and all is pickled."""

import multiprocessing
import pickle
import sys
import threading

assert "torch" not in sys.modules, "spaces must be imported before torch"
assert threading.active_count() == 1, "nothing may run beside the fork yet"

LOG = sys.argv[sys.argv.index("--workspace") + 1] + "/lent.log"


def GPU(*, duration):  # noqa: N802 (the platform's name)
    def decorate(task):
        def lent(*args):
            with open(LOG, "a") as log:
                log.write(f"lent for {duration} s\n")
            context = multiprocessing.get_context("fork")
            receive, send = context.Pipe(duplex=False)
            pickled = pickle.dumps(args)

            def work():
                try:
                    for event in task(*pickle.loads(pickled)):
                        send.send(("event", event))
                    send.send(("end", None))
                except Exception as error:
                    send.send(("fault", error))

            process = context.Process(target=work, daemon=True)
            process.start()
            try:
                while True:
                    kind, value = receive.recv()
                    if kind == "end":
                        return
                    if kind == "fault":
                        raise value
                    yield value
            finally:
                process.terminate()
                process.join()

        return lent

    return decorate
