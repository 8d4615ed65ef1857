"""Makes the generated part of `muster.client`."""
