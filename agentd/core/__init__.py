"""The agent's decisions. Pure: values in, values out."""
