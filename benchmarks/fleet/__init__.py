"""A simulated fleet: thousands of agents in few processes, each with the real `NodeLink`."""
