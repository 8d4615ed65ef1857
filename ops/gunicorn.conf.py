"""gunicorn for the manager's API. Measured on 2 cores; `manager` binds the socket and passes it."""

import os

worker_class = "gthread"
workers = int(os.environ.get("MUSTER_API_WORKERS", "2"))
threads = 64  # a deploy call waits up to 2 s for its decision, on a thread of its own
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


def post_fork(server, worker):  # noqa: ANN001, ANN201, ARG001 - gunicorn's names
    """Open what must not be shared between workers."""
    from pathlib import Path

    from manager_api.wsgi import services
    from store import logs

    log_file = os.environ.get("MUSTER_LOG_FILE")
    logs.setup(Path(log_file) if log_file else None)
    services.after_fork()
    services.stopping = lambda: not worker.alive
