"""Why something of the inventory is not done; whoever serves people puts it into their form."""


class InventoryError(Exception):
    """Nothing was changed; the message is for people."""


class Unknown(InventoryError):
    """There is no such record; `what` is it that was looked for."""

    def __init__(self, text: str, what: str = "record") -> None:
        super().__init__(text)
        self.what = what


class Stale(InventoryError):
    """The record is not at the revision any more that the caller has seen."""


class NoNode(InventoryError):
    """The device is no node, and only one could be asked that."""


class Taken(InventoryError):
    """What is to be unique is there already, or the record is in use."""


class TooMany(InventoryError):
    """There is a bound, and it would be passed."""
