"""The WSGI application that gunicorn serves. Preloaded: nothing connects before the fork."""

import os

from manager_api.base import PASSWORD
from manager_api.http.app import create_app
from manager_api.http.services import Services
from manager_api.settings import StoreAccess
from store.clock import SystemClock

services = Services(StoreAccess.from_environment(dict(os.environ)), SystemClock())
os.environ.pop(PASSWORD, None)  # what we start inherits our environment
app = create_app(services)
