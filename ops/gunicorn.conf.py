"""gunicorn for the manager's API. Measured on 2 cores; `manager` binds the socket and passes it."""

import os

worker_class = "manager_api.api_worker.Worker"  # gthread, held up by no client
workers = int(os.environ.get("MUSTER_API_WORKERS", "2"))
threads = 1064  # 64, and one for each read that is held: they are made when there is work for them
worker_connections = 4000
preload_app = True  # workers share the code; they connect after the fork
timeout = 30
graceful_timeout = 15
keepalive = 15
max_requests = 50_000
max_requests_jitter = 5_000
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
forwarded_allow_ips = "127.0.0.1"
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - memory, not a temporary file
control_socket_disable = True
proc_name = "muster-api"
accesslog = None
errorlog = "-"
loglevel = "warning"


def pre_fork(server, worker):  # noqa: ANN001, ANN201
    """Give it a number that no living worker has: counts lie in files by number, so these stay few."""
    from manager_api.api_worker import hold_ends

    taken = {each.slot for each in server.WORKERS.values()}
    worker.slot = next(number for number in range(1, len(taken) + 2) if number not in taken)
    hold_ends()


def on_starting(server):  # noqa: ANN001, ANN201, ARG001 - gunicorn's names
    """Once, before the first worker."""
    from manager_api.api_worker import hear_ends

    os.register_at_fork(after_in_parent=hear_ends)


def on_one_cpu(slot):  # noqa: ANN001, ANN201
    """Keep a worker's threads on one processor: they take turns anyway, and over several wait for each other.

    Half of the time of a request went into that on two processors (benchmarks/bench_api.py). Each worker has
    another one, from the last on; what else runs there is free to move.
    """
    import contextlib

    with contextlib.suppress(OSError):  # where that is not allowed
        allowed = sorted(os.sched_getaffinity(0), reverse=True)
        os.sched_setaffinity(0, {allowed[(slot - 1) % len(allowed)]})


def post_fork(server, worker):  # noqa: ANN001, ANN201, ARG001 - gunicorn's names
    """Open what must not be shared between workers."""
    import gc
    from pathlib import Path

    from manager_api.wsgi import services
    from store import logs

    gc.freeze()  # what was made before the fork stays for ever: it is neither looked through nor copied
    gc.set_threshold(7000, 20, 20)  # a list of records is no garbage yet
    on_one_cpu(worker.slot)
    log_file = os.environ.get("MUSTER_LOG_FILE")
    logs.setup(Path(log_file) if log_file else None)
    services.slot = worker.slot
    services.after_fork()
    services.stopping = lambda: not worker.alive
