"""What is answered about templates."""

from marshmallow import INCLUDE, fields

from manager_api.http.frame.answer_fields import flag, text, whole
from manager_api.http.frame.answers import AnswerSchema, listed
from manager_api.http.templates.schemas import TemplateSchema

A_TEMPLATE = {
    "name": "我的数据处理任务",
    "task_groups": [
        {
            "tasks": [
                {"name": "数据清洗器", "config": {"command": "192.168.10.100:/opt/apps/clean.sh"}},
                {"name": "数据分析器", "config": {"command": "/opt/apps/analyze.py"}},
            ]
        }
    ],
}
A_STORED_TEMPLATE = {
    "name": "我的数据处理任务",
    "version": 1,
    "task_groups": [
        {
            "tasks": [
                {
                    "name": "数据清洗器",
                    "config": {"command": "/opt/apps/clean.sh", "node": "192.168.10.100"},
                },
                {"name": "数据分析器", "config": {"command": "/opt/apps/analyze.py"}},
            ]
        }
    ],
}
A_VERSION = {"name": "我的数据处理任务", "version": 1}
A_ROW = {**A_VERSION, "tasks": ["数据清洗器", "数据分析器"]}


class StoredTemplateSchema(TemplateSchema):
    """A template in the form in which it is kept, with its version. It may be posted back."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE

    version = whole("Its version, counted from 1.")  # type: ignore[assignment]


class TemplateVersionSchema(AnswerSchema):
    """A version of a template."""

    name = text("Name of the template.")
    version = whole("Its version, counted from 1.")


class SavedTemplateSchema(TemplateVersionSchema):
    """A template that was saved."""

    changed = flag("False: its newest version was that already.")


class SavedTaskGroupSchema(TemplateVersionSchema):
    """A template that was saved, in the contract's words."""

    status = text("`success`.")


class TemplateRowSchema(TemplateVersionSchema):
    """A template, in short."""

    tasks = fields.List(fields.String(), required=True, metadata={"description": "Names of its tasks."})


TEMPLATES = listed(TemplateRowSchema, "Templates")
VERSIONS = listed(TemplateVersionSchema, "TemplateVersions")
