"""Templates and deployments of a merge: found again by what they say, and by id."""

from manager_api.http.deployments import composing, naming
from manager_api.http.frame.errors import ApiError
from manager_api.http.system.merge_part import Choice, Part
from manager_api.http.system.merge_report import Report
from manager_api.http.templates import templates
from store.codec import Json, dumps, loads
from store.errors import Unsupported
from store.keys import DEPLOYMENTS, STATUS, TEMPLATES, VERSIONS, version_field
from store.kv.api import Change, Compare
from store.kv.store import Store
from store.kv.swap import Swap

_BEGUN = ("v", "template", "version", "wanted", "created", "name", "parameters", "ttl", "wait", "scale")
"""What a deployment begins with; the rest of its record is about what became of it there."""


class Work(Part):
    """Templates with their versions, then the deployments that live."""

    def __init__(self, store: Store, staged: Swap, choice: Choice, report: Report) -> None:
        super().__init__(store, staged, choice, report)
        self._versions: dict[tuple[str, int], int] = {}
        """Versions of templates there -> here."""
        self._there: dict[str, list[int]] | None = None

    def run(self) -> None:
        """Templates first: deployments name versions of them."""
        self._each(TEMPLATES, self._template)
        self._each(DEPLOYMENTS, self._deployment)

    def _template(self, name: str, record: Json) -> None:
        found = self._store.get(TEMPLATES, name)
        if found is None and self._is_haunted(name):
            why = "versions of a template of this name that was deleted are here and say something else"
            self._differs(TEMPLATES, name, why, replaceable=False)
            self._match(name)
            return
        if found is None:
            self._report.note(TEMPLATES, "made")
            self._do(lambda: self._make_template(name, record))
            for number, _ in self._bodies(name):
                self._versions[name, number] = number
            return
        mine = loads(found.value)
        if mine["body"] == record["body"]:
            self._report.note(TEMPLATES, "same")
        else:
            why = "a template of this name is here and says something else"
            if self._differs(TEMPLATES, name, why):
                self._do(lambda: templates.save(self._store, record["body"]))
                self._versions[name, int(record["version"])] = int(mine["version"]) + 1
        self._match(name)

    def _make_template(self, name: str, record: Json) -> None:
        """All versions that there are, one transaction each, the newest with the template itself."""
        none = Compare(TEMPLATES, name, 0)  # else a version that somebody posts meanwhile would be another
        for number, raw in self._bodies(name):
            field = version_field(name, number)
            if self._store.get(VERSIONS, field) is None:
                self._write([none, Compare(VERSIONS, field, 0)], [Change(VERSIONS, field, raw)])
        self._write([none], [Change(TEMPLATES, name, dumps(record))])

    def _is_haunted(self, name: str) -> bool:
        """Whether a template that was deleted left versions which say something else under their numbers."""
        bodies = self._bodies(name)
        here = self._store.values_of(VERSIONS, [version_field(name, number) for number, _ in bodies])
        return any(
            mine is not None and loads(mine)["body"] != loads(raw)["body"]
            for (_, raw), mine in zip(bodies, here, strict=True)
        )

    def _bodies(self, name: str) -> list[tuple[int, bytes]]:
        newest = self._staged.staged_one(TEMPLATES, name)
        last = int(loads(newest)["version"]) if newest else 0
        numbers = [number for number in self._numbers().get(name, ()) if number <= last]
        fields = ((number, version_field(name, number)) for number in numbers)
        found = ((number, self._staged.staged_one(VERSIONS, field)) for number, field in fields)
        return [(number, raw) for number, raw in found if raw is not None]

    def _numbers(self) -> dict[str, list[int]]:
        """Which versions there are of each template, in order."""
        if self._there is None:
            self._there = {}
            for field in sorted({field for field, _ in self._staged.staged(VERSIONS)}, key=_number):
                self._there.setdefault(field.partition(":")[2], []).append(_number(field))
        return self._there

    def _match(self, name: str) -> None:
        """Which of the versions there are here, under whatever number."""
        here = {}
        for number in templates.kept(self._store, name):
            stored = self._store.get(VERSIONS, version_field(name, number))
            if stored is not None:
                here[dumps(loads(stored.value)["body"])] = number
        for number, raw in self._bodies(name):
            same = here.get(dumps(loads(raw)["body"]))
            if same is not None:
                self._versions[name, number] = same

    def _deployment(self, deployment: str, record: Json) -> None:
        raw = self._staged.staged_one(STATUS, deployment)
        if naming.over(record, loads(raw) if raw else None):
            return  # it is history there
        if self._store.get(DEPLOYMENTS, deployment) is not None:
            self._report.note(DEPLOYMENTS, "same")
            return
        name, template = record.get("name"), record["template"]
        version = self._versions.get((template, int(record["version"])))
        label = f"{name or deployment} ({template})"
        if version is None:
            why = f"version {record['version']} of its template is not here: another one says something else"
            self._differs(DEPLOYMENTS, label, why, replaceable=False)
            return
        self._check(deployment, record)
        if name and naming.look(self._store, name).holder is not None:
            why = "its name is a living deployment's here"
            self._differs(DEPLOYMENTS, label, why, replaceable=False)
            return
        self._report.note(DEPLOYMENTS, "made")
        self._do(lambda: self._begin(deployment, {**record, "version": version}))

    def _check(self, deployment: str, record: Json) -> None:
        """Hold it to what a new deployment is held to.

        Raises:
            Unsupported: nobody could have asked for it.
        """
        raw = self._staged.staged_one(VERSIONS, version_field(record["template"], record["version"]))
        if raw is None:
            return
        body = loads(raw)["body"]
        try:
            composing.check_parameters(body, record.get("parameters", {}))
            composing.check_counts(body, record.get("scale", {}))
        except ApiError as error:
            raise Unsupported(f"{DEPLOYMENTS}/{deployment}: {error.body['detail']}") from None

    def _begin(self, deployment: str, record: Json) -> None:
        """As new: the leader here decides where it runs."""
        fresh = {key: value for key, value in record.items() if key in _BEGUN}
        name = record.get("name")
        place = naming.look(self._store, name) if name else naming.Place(None, ())
        changes = [Change(DEPLOYMENTS, deployment, dumps(fresh))]
        changes += [naming.entry(name, deployment)] if name else []
        self._write([Compare(DEPLOYMENTS, deployment, 0), *place.compares], changes)


def _number(field: str) -> int:
    """The version in a field of `templates:versions`."""
    return int(field.partition(":")[0])
