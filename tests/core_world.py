"""A fleet whose plans are carried out at once, and whose nodes say what a test wants them to say."""

from manager_api.core.actions import Advance, Complain, Place, Reorder, SetStatus, Wake
from manager_api.core.fleet import Stored
from manager_api.core.moment import Moment
from manager_api.core.plan import plan_deployments
from manager_api.core.portions import portions
from store.model.status import is_up
from tests.builders import a_fleet, a_task, a_template, add_deployment, add_node, add_template

WALL = 1e9
FEATURES = ("process", "ports", "depends_on", "limits", "disconnect", "peers", "health")


class Case:
    """One deployment over some nodes; `steady` is its clock."""

    def __init__(
        self,
        *tasks,
        nodes=("a", "b", "c"),
        versions=(),
        features=FEATURES,
        **group,
    ):
        self.fleet, self.rev, self.steady = a_fleet(), 10, 1000.0
        for node in nodes:
            add_node(self.fleet, node, features=list(features))
        add_template(self.fleet, a_template(*tasks, **group))
        for number, (more, *changed) in enumerate(versions, 2):
            add_template(self.fleet, a_template(*(changed or tasks), **{**group, **more}), number)
        add_deployment(self.fleet)

    @property
    def now(self):
        return Moment(WALL + self.steady, self.steady)

    def plan(self):
        return plan_deployments(self.fleet, self.now, ["dep"])

    def step(self, most=None):
        """Plan once and do it, all or the first `most` transactions of it; what was done."""
        found = [
            each
            for action in self.plan()
            for each in (portions(action) if isinstance(action, Place | Advance) else (action,))
        ][:most]
        for action in found:
            self.rev += 1
            match action:
                case Place():
                    for key, data in action.allocations.items():
                        self.put(key, data)
                    self.fleet.status["dep"] = Stored(action.status, self.rev)
                case Advance():
                    for key, (_, data) in action.puts.items():
                        self.put(key, data)
                    self.fleet.status["dep"] = Stored(action.status, self.rev)
                case Reorder():
                    for key, (_, data) in action.allocations.items():
                        self.put(key, data)
                case SetStatus():
                    self.fleet.status["dep"] = Stored(action.status, self.rev)
                case Complain():
                    raise AssertionError(action.reason)
                case Wake():
                    self.fleet.due["dep"] = action.at
        return found

    def put(self, key, data):
        self.fleet.put_allocation(key, Stored(data, self.rev))
        known = self.fleet.ordered.get(key)
        if known is None or known[0] != data["generation"]:
            self.fleet.ordered[key] = data["generation"], self.steady

    def up(self, *, state="running", only=None):
        """Nodes that are reached do as they are told, and say so."""
        for key, stored in self.fleet.allocations.items():
            data, node = stored.data, self.fleet.states[stored.data["node"]]
            if not node.online or (only is not None and key not in only):
                continue
            said = state if data["wanted"] == "running" else "stopped"
            rows = [{"name": task["name"], "state": said} for task in self.tasks(data)]
            node.actual[key] = {
                "uid": data["uid"], "epoch": self.fleet.epoch, "rev": self.rev, "wanted": data["wanted"],
                "generation": data["generation"], "tasks": rows,
            }  # fmt: skip
            node.desired[key] = {
                "rev": self.rev,
                "generation": data["generation"],
                "wanted": data["wanted"],
                "change": data.get("change", 0),
            }
            if is_up(node.actual[key]) and node.up_since.get(key, (0,))[0] != data["generation"]:
                node.up_since[key] = data["generation"], self.steady

    def tasks(self, data):
        body = self.fleet.versions[f"{data['version']}:{data['template']}"].data["body"]
        return next(
            group["tasks"]
            for position, group in enumerate(body["task_groups"])
            if group.get("name", f"group-{position}") == data["group"]
        )

    def begin(self):
        """Placed and up."""
        self.step()
        self.up()
        self.step()
        return self

    def ask(self, **more):
        stored = self.fleet.deployments["dep"]
        self.rev += 1
        self.fleet.deployments["dep"] = Stored({**stored.data, **more}, self.rev)

    def mark(self, node, **more):
        self.fleet.nodes[node] = Stored({**self.fleet.nodes[node].data, **more}, self.rev)

    def cut(self, node):
        self.fleet.states[node].online, self.fleet.states[node].away_since = False, self.steady
        self.fleet.brake.turned = True

    def back(self, node):
        self.fleet.states[node].online, self.fleet.states[node].away_since = True, None
        self.fleet.states[node].online_since = self.steady
        self.fleet.brake.turned = True

    @property
    def status(self):
        return self.fleet.status["dep"].data

    @property
    def live(self):
        return {
            key: each.data for key, each in self.fleet.allocations.items() if each.data["wanted"] == "running"
        }

    def nodes(self):
        return sorted(each["node"] for each in self.live.values())


__all__ = ["WALL", "Case", "a_task"]
