"""The files of tasks, decided: wishes over children over jobs; `agentd.artifacts` does what comes of it."""
