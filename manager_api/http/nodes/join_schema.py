"""What an agent says when it joins."""

from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from manager_api.http.frame.fields import Name, Several, StrictSchema
from manager_api.http.nodes.node_schema import Facts, Labels
from store.keys import is_node_id


class JoinSchema(StrictSchema):
    """What an agent says of itself when it joins. Newer agents may say more."""

    about: ClassVar[dict[str, str]] = {
        "id": "The node's id: its host name unless overridden.",
        "uid": "Random; tells two machines of one name apart.",
        "hostname": "As the machine calls itself.",
        "addresses": "Its addresses, the best first.",
        "secret_sha256": "SHA-256 of the password of the node's own user at the store.",
        "version": "The agent's.",
        "features": "What it understands.",
        "labels": "Labels that its agent claims.",
        "facts": "What its machine is made of: its device's hardware, software and nic.",
    }

    class Meta:
        """marshmallow's options."""

        unknown = "exclude"

    id = Name(required=True)
    uid = Name(required=True)
    hostname = Name(required=True)
    addresses = Several(Name(), 64, required=True)
    secret_sha256 = fields.Str(required=True)
    version = Name(required=True)
    features = Several(Name(), 64, required=True)
    labels = Labels()
    facts = Facts(allow_none=True)

    @validates_schema
    def check(self, data: dict[str, Any], **_: Any) -> None:
        """Ids become keys; the digest becomes part of an ACL rule."""
        if not is_node_id(data["id"]):
            raise ValidationError("1 to 128 of A-Z a-z 0-9 . _ - are taken", "id")
        digest = data["secret_sha256"]
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValidationError("not a SHA-256 digest in lower-case hexadecimal", "secret_sha256")
