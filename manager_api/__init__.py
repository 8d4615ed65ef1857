"""The manager: HTTP API, controller, and the program that runs both with their store."""
