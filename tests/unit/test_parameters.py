"""What a template declares, what a deployment gives, what comes of both."""

import copy

import pytest

from store.model import command, parameters, spec
from tests.builders import a_task, a_template

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("rule", "given", "value"),
    [
        ({}, {}, ""),
        ({"default": "d"}, {}, "d"),
        ({"default": "d"}, {"x": ""}, ""),
        ({"required": True}, {"x": "v"}, "v"),
        ({}, {"x": 5}, "5"),
        ({}, {"x": 1.5}, "1.5"),
        ({"pattern": "[a-z]+"}, {"x": "abc"}, "abc"),
        ({"type": "int", "min": 1, "max": 5}, {"x": "5"}, "5"),
        ({"type": "number", "max": 1}, {"x": "-1e3"}, "-1e3"),
        ({"type": "bool"}, {"x": True}, "true"),
        ({"type": "bool"}, {"x": "false"}, "false"),
        ({"enum": ["a", "b"]}, {"x": "b"}, "b"),
        ({}, {"x": "清洗 'a' $(b) \n"}, "清洗 'a' $(b) \n"),
        ({"pattern": "[a-z]+", "type": "string"}, {}, ""),
    ],
)
def test_values_that_are_taken(rule, given, value):
    assert parameters.check({"x": rule}, given) == {"x": value}


@pytest.mark.parametrize(
    ("rule", "given", "says"),
    [
        ({"required": True}, {}, "parameter 'x': is needed and was not given"),
        ({"required": True, "description": "the user"}, {}, "was not given (the user)"),
        ({}, {"y": "v"}, "parameter 'y' is not known; known are x"),
        ({}, {"x": None}, "not a text or a number"),
        ({}, {"x": True}, "not a text or a number"),
        ({}, {"x": {"secret": "y"}}, "not a text or a number"),
        ({}, {"x": "a\x00"}, "holds NUL"),
        ({}, {"x": "a" * 4097}, "4097 characters, at most 4096"),
        ({}, {"x": 10**5000}, "a number beyond all measure"),
        ({"pattern": "[a-z]+"}, {"x": "abc\n"}, "does not match [a-z]+"),
        ({"pattern": "a"}, {"x": "ab"}, "does not match a"),
        ({"enum": ["a", "b"]}, {"x": "c"}, "not one of a, b"),
        ({"type": "int"}, {"x": "1.0"}, "not a whole number"),
        ({"type": "int"}, {"x": "٣"}, "not a whole number"),
        ({"type": "int", "min": 1, "max": 5}, {"x": 6}, "must be at least 1 and at most 5"),
        ({"type": "number"}, {"x": "nan"}, "not a number"),
        ({"type": "number"}, {"x": "1_0"}, "not a number"),
        ({"type": "bool"}, {"x": "yes"}, "neither true nor false"),
    ],
)
def test_values_that_are_not(rule, given, says):
    with pytest.raises(ValueError, match="parameter") as refusal:
        parameters.check({"x": rule}, given)
    assert says in str(refusal.value)


def test_all_that_is_wrong_is_said_at_once_and_no_value_is_repeated():
    declared = {"a": {"required": True}, "b": {"pattern": "x"}}
    with pytest.raises(ValueError, match="parameter") as refusal:
        parameters.check(declared, {"b": "hunter2", "c": "hunter2"})
    said = str(refusal.value)
    assert all(f"parameter '{name}'" in said for name in "abc")
    assert "hunter2" not in said


def filled_task(task, values, declared=None):
    body = {**a_template(task), "parameters": declared or {name: {} for name in values}}
    before = copy.deepcopy(body)
    found = parameters.fill(body, values)
    assert body == before, "what is stored is not touched"
    return found["task_groups"][0]["tasks"][0]


def test_every_text_is_filled_in():
    task = a_task(
        command="run '${param.v}' -x", hooks={"pre_start": "a ${param.v}", "post_stop": ["b", "${param.v}"]},
        healthcheck={"exec": "probe ${param.v}", "body": "${param.v}"},
        config={"args": ["-y", "${param.v}!"], "env": {"A": "a ${param.v}"}, "cwd": "/${param.v}", "user": "${param.v}",
                "image": "i:${param.v}", "mounts": ["/${param.v}:/x"], "node": "${param.v}"},
    )  # fmt: skip
    assert filled_task(task, {"v": "a"}) == a_task(
        command=["run", "a", "-x"], hooks={"pre_start": ["a", "a"], "post_stop": ["b", "a"]},
        healthcheck={"exec": ["probe", "a"], "body": "a"},
        config={"args": ["-y", "a!"], "env": {"A": "a a"}, "cwd": "/a", "user": "a", "image": "i:a", "mounts": ["/a:/x"], "node": "a"},
    )  # fmt: skip
    for kind, target in (("http", "http://${param.v}/"), ("tcp", "${param.v}:80")):
        found = filled_task(a_task(healthcheck={kind: target}), {"v": "h"})
        assert found["healthcheck"] == {kind: target.replace("${param.v}", "h")}


def test_a_group_is_placed_by_parameters():
    body = a_template(placement={"node": "${param.v}", "group": "g${param.v}", "labels": {"a": "${param.v}", "b": ["x", "${param.v}"]}, "spread": "rack"})  # fmt: skip
    found = parameters.fill({**body, "parameters": {"v": {}}}, {"v": "${node.id}"})
    assert found["task_groups"][0]["placement"] == {
        "node": "${node.id}", "group": "g${node.id}", "labels": {"a": "${node.id}", "b": ["x", "${node.id}"]}, "spread": "rack",
    }  # fmt: skip


def test_what_has_no_parameter_stays_as_it_was_written():
    task = a_task(command="run 'a b' ${node.id} ${HOME}", config={"env": {"A": "${X}", "N": "5"}})
    assert filled_task(task, {"v": "x"}) == task
    assert parameters.fill(a_template(task), {}) == a_template(task)


def test_defaults_are_filled_in_where_a_deployment_has_none():
    declared = {"a": {"default": "d"}, "b": {}, "c": {"required": True}}
    found = filled_task(a_task(command="x ${param.a} ${param.b}. ${param.c}"), {}, declared)
    assert found["config"]["command"] == ["x", "d", ".", "${param.c}"]


@pytest.mark.parametrize(
    ("text", "value", "comes_out"),
    [
        ("${param.v}", "${node.id}", "${node.id}"),
        ("${param.v}{node.id}", "$", "${node.id}"),
        ("${node.${param.v}}", "id", "${node.id}"),
        ("${node.id${param.v}", "}", "${node.id}"),
        ("${node.id} ${param.v} ${HOME}", "${node.id}", "N ${node.id} ${HOME}"),
        ("${text.dollar}{node.id} ${param.v}", "${text.dollar}", "${node.id} ${text.dollar}"),
        ("${param.v}", "${param.w}", "${param.w}"),
    ],
)
def test_a_value_never_becomes_a_variable(text, value, comes_out):
    task = filled_task(a_task(config={"env": {"A": text}}), {"v": value, "w": "never"})
    assert command.fill(task["config"]["env"]["A"], {"node.id": "N", "param.w": "never"}) == comes_out


def test_an_agent_that_does_not_know_the_dollar_is_not_sent_one():
    plain = spec.task(filled_task(a_task(command="x ${param.v}"), {"v": "$HOME"}))
    hostile = spec.task(filled_task(a_task(command="x ${param.v}"), {"v": "${node.id}"}))
    assert (plain.features, hostile.features) == ({"process"}, {"process", "literal"})


def test_values_are_bounded_together_too():
    declared = {f"p{n}": {} for n in range(10)}
    assert len(parameters.check(declared, dict.fromkeys(declared, "x" * 3000))) == 10
    with pytest.raises(ValueError, match="40000 characters in all, at most 32768"):
        parameters.check(declared, dict.fromkeys(declared, "x" * 4000))
