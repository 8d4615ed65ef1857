"""Whatever a parameter's value holds, it arrives as it is, within its word."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from store.model import command, parameters, spec
from tests.builders import a_task, a_template

pytestmark = pytest.mark.property

VALUES = {"node.id": "FILLED", "alloc.dir": "FILLED", "param.v": "FILLED", "param.w": "FILLED"}
hostile = st.lists(
    st.one_of(
        st.sampled_from(
            ["$", "{", "}", "${", "node.id", "${node.id}", "${param.w}", "${text.dollar}", "'", '"', "\\", " ", "\n", "$(id)", "`", ";", "."]
        ),
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5),
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(hostile)
@example("${node.id}")
@example("a b' \"c")
def test_a_word_stays_one_word_and_the_value_is_in_it(value):
    hooks = {"pre_start": "a -${param.v}- c"}
    task = a_task(
        command="run '${param.v}' x${param.v} ${node.id}", hooks=hooks, healthcheck={"exec": "p ${param.v}"}
    )
    body = {**a_template(task), "parameters": {"v": {}}}
    found = spec.groups(parameters.fill(body, parameters.check(body["parameters"], {"v": value})))[0].tasks[0]
    ran = [command.fill(word, VALUES) for word in found.argv]
    assert ran == ["run", value, f"x{value}", "FILLED"]
    assert [command.fill(word, VALUES) for word in found.pre_start] == ["a", f"-{value}-", "c"]
    assert [command.fill(word, VALUES) for word in found.health.argv] == ["p", value]


WHOLE = re.compile(r"\$\{param\.v\}|\$\{node\.id\}")


@given(st.lists(st.one_of(hostile, st.just("${param.v}")), max_size=6).map("".join), hostile)
def test_what_surrounds_a_value_means_what_it_meant(template, value):
    """Against the rule told otherwise: one pass over the template's own variables, and over nothing else."""
    task = a_task(config={"env": {"A": template}})
    body = {**a_template(task), "parameters": {"v": {}}}
    found = parameters.fill(body, {"v": value})["task_groups"][0]["tasks"][0]["config"]["env"]["A"]
    once = command.fill(template, {**VALUES, "param.v": value, "param.w": "${param.w}"})
    kept = {**VALUES, "param.w": "${param.w}"}
    assert command.fill(found, kept) == once
