"""The manager's decisions. Pure: values in, values out."""
