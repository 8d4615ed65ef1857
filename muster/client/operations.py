"""A method for each of the API's calls.

Generated from the API's description by `make client`: do not change it here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Unpack

from muster.client.blocking import Calls, Streamed
from muster.client.exchange import Options, path, with_query
from muster.client.flows import WAIT, OnTrouble

if TYPE_CHECKING:
    from muster.client.models import (
        About,
        ArtifactRow,
        Artifacts,
        Begun,
        Brake,
        Claimed,
        CleanedUp,
        CleanUp,
        Confirm,
        ContractNodes,
        Cordon,
        Create,
        Created,
        Deployment,
        DeploymentId,
        Deployments,
        Device,
        DeviceChange,
        DeviceChanged,
        DeviceGone,
        DeviceGroupChange,
        DeviceGroupMade,
        DeviceGroupPatch,
        DeviceGroupRow,
        DeviceMade,
        DevicePatch,
        DeviceRelease,
        DeviceRow,
        DevicesFound,
        DevicesGone,
        DevicesPage,
        Drain,
        DrainPlan,
        Event,
        Events,
        Explained,
        Going,
        GroupChanged,
        GroupGone,
        GroupMade,
        Groups,
        GroupsFound,
        GroupsGone,
        GroupsPage,
        Health,
        Id,
        Ids,
        Imported,
        Join,
        Joined,
        Labels,
        Limit,
        Limited,
        Membership,
        MembershipIds,
        MembershipMade,
        MembershipRow,
        Memberships,
        MembershipsChanged,
        MembershipsFound,
        MembershipsGone,
        Mended,
        Name,
        Named,
        NamedTemplate,
        NewRelease,
        Node,
        NodeRow,
        Nodes,
        Number,
        OldListAnswer,
        Paused,
        Plan,
        Promoted,
        Readiness,
        Recover,
        Recovered,
        Release,
        Released,
        Removed,
        Report,
        Restored,
        Rollback,
        SavedTaskGroup,
        SavedTemplate,
        Scale,
        Scaled,
        Stopped,
        StoredTemplate,
        Template,
        TemplateRow,
        Templates,
        TemplateVersion,
        TemplateVersions,
        Unclaimed,
        UnclaimedRow,
        Uploaded,
        Workspace,
        Workspaces,
        WorkspaceWish,
    )


class Operations(Calls):
    """The API's calls, by the ids of their operations."""

    def adopt_unclaimed(self, deployment: str, **options: Unpack[Options]) -> Claimed:
        """Adopt unclaimed work.

        `POST /v1/unclaimed/{deployment}/adopt`
        """
        found: Claimed = self.request("POST", path("/v1/unclaimed/{}/adopt", deployment), {}, **options)
        return found

    def change_device(self, device: str, body: DevicePatch, **options: Unpack[Options]) -> DeviceRow:
        """Change a device.

        `PUT /v1/devices/{device}`
        """
        found: DeviceRow = self.request("PUT", path("/v1/devices/{}", device), body, **options)
        return found

    def change_group(self, group: str, body: DeviceGroupPatch, **options: Unpack[Options]) -> DeviceGroupRow:
        """Change a group.

        `PUT /v1/groups/{group}`
        """
        found: DeviceGroupRow = self.request("PUT", path("/v1/groups/{}", group), body, **options)
        return found

    def clean_up_workspaces(self, body: CleanUp | None = None, **options: Unpack[Options]) -> CleanedUp:
        """Forget ended workspaces; remove unused images.

        `POST /v1/workspaces/cleanup`
        """
        found: CleanedUp = self.request(
            "POST", "/v1/workspaces/cleanup", {} if body is None else body, **options
        )
        return found

    def cordon_node(self, node: str, body: Cordon | None = None, **options: Unpack[Options]) -> Node:
        """Cordon a node: it takes no new work.

        `POST /v1/nodes/{node}/cordon`
        """
        found: Node = self.request(
            "POST", path("/v1/nodes/{}/cordon", node), {} if body is None else body, **options
        )
        return found

    def create_backup(self, **options: Unpack[Options]) -> contextlib.AbstractContextManager[Streamed]:
        """Take a backup, checked, and send it.

        The answer comes as a stream.

        `POST /v1/backup`
        """
        return self.stream("POST", "/v1/backup", **options)

    def create_container(self, body: WorkspaceWish, **options: Unpack[Options]) -> Begun:
        """Start a user's workspace.

        `POST /create`
        """
        found: Begun = self.request("POST", "/create", body, **options)
        return found

    def create_deployment(
        self, body: Create, *, dry_run: bool | None = None, **options: Unpack[Options]
    ) -> Plan | Created:
        """Deploy a template.

        `POST /v1/deployments`

        Args:
            dry_run: Only say what would come of it.
        """
        found: Plan | Created = self.request(
            "POST", with_query("/v1/deployments", {"dry_run": dry_run}), body, **options
        )
        return found

    def create_device(self, body: Device, **options: Unpack[Options]) -> DeviceMade:
        """Add a device.

        `POST /v1/devices`
        """
        found: DeviceMade = self.request("POST", "/v1/devices", body, **options)
        return found

    def create_group(self, body: DeviceGroupMade, **options: Unpack[Options]) -> GroupMade:
        """Add a group.

        `POST /v1/groups`
        """
        found: GroupMade = self.request("POST", "/v1/groups", body, **options)
        return found

    def create_membership(self, body: Membership, **options: Unpack[Options]) -> MembershipMade:
        """Put a device into a group.

        `POST /v1/memberships`
        """
        found: MembershipMade = self.request("POST", "/v1/memberships", body, **options)
        return found

    def create_template(self, body: Template, **options: Unpack[Options]) -> SavedTemplate:
        """Save a template.

        `POST /v1/templates`
        """
        found: SavedTemplate = self.request("POST", "/v1/templates", body, **options)
        return found

    def create_workspace(self, body: WorkspaceWish, **options: Unpack[Options]) -> Begun:
        """Start a user's workspace.

        `POST /v1/workspaces`
        """
        found: Begun = self.request("POST", "/v1/workspaces", body, **options)
        return found

    def delete_artifact(self, artifact: str, **options: Unpack[Options]) -> Named:
        """Remove a file.

        `DELETE /v1/artifacts/{artifact}`
        """
        found: Named = self.request("DELETE", path("/v1/artifacts/{}", artifact), None, **options)
        return found

    def delete_device(self, device: str, **options: Unpack[Options]) -> DeviceGone:
        """Delete a device.

        `DELETE /v1/devices/{device}`
        """
        found: DeviceGone = self.request("DELETE", path("/v1/devices/{}", device), None, **options)
        return found

    def delete_devices(self, body: Ids, **options: Unpack[Options]) -> DevicesGone:
        """Delete devices.

        `DELETE /v1/devices`
        """
        found: DevicesGone = self.request("DELETE", "/v1/devices", body, **options)
        return found

    def delete_group(self, group: str, **options: Unpack[Options]) -> GroupGone:
        """Delete a group.

        `DELETE /v1/groups/{group}`
        """
        found: GroupGone = self.request("DELETE", path("/v1/groups/{}", group), None, **options)
        return found

    def delete_groups(self, body: Ids, **options: Unpack[Options]) -> GroupsGone:
        """Delete groups.

        `DELETE /v1/groups`
        """
        found: GroupsGone = self.request("DELETE", "/v1/groups", body, **options)
        return found

    def delete_memberships(self, body: MembershipIds, **options: Unpack[Options]) -> MembershipsGone:
        """Take devices out of groups.

        `DELETE /v1/memberships`
        """
        found: MembershipsGone = self.request("DELETE", "/v1/memberships", body, **options)
        return found

    def delete_node(self, node: str, *, force: bool | None = None, **options: Unpack[Options]) -> Going:
        """Remove a node.

        `DELETE /v1/nodes/{node}`

        Args:
            force: Although its agent is alive, or may be.
        """
        found: Going = self.request(
            "DELETE", with_query(path("/v1/nodes/{}", node), {"force": force}), None, **options
        )
        return found

    def delete_template(self, template: str, **options: Unpack[Options]) -> None:
        """Delete a template.

        `DELETE /v1/templates/{template}`
        """
        self.request("DELETE", path("/v1/templates/{}", template), None, **options)

    def delete_workspace(self, user: str, **options: Unpack[Options]) -> Removed:
        """Stop a user's workspace.

        `DELETE /v1/workspaces/{user}`
        """
        found: Removed = self.request("DELETE", path("/v1/workspaces/{}", user), None, **options)
        return found

    def deploy_task_group(self, body: Name, **options: Unpack[Options]) -> DeploymentId:
        """Deploy a template.

        `POST /api/task/task_group/deploy`
        """
        found: DeploymentId = self.request("POST", "/api/task/task_group/deploy", body, **options)
        return found

    def drain_node(
        self, node: str, body: Drain | None = None, **options: Unpack[Options]
    ) -> Node | DrainPlan:
        """Drain a node: everything on it runs elsewhere.

        `POST /v1/nodes/{node}/drain`
        """
        found: Node | DrainPlan = self.request(
            "POST", path("/v1/nodes/{}/drain", node), {} if body is None else body, **options
        )
        return found

    def explain_deployment(self, deployment: str, **options: Unpack[Options]) -> Explained:
        """Why is everything of a deployment where it is, or is not?

        `GET /v1/deployments/{deployment}/explain`
        """
        found: Explained = self.request(
            "GET", path("/v1/deployments/{}/explain", deployment), None, **options
        )
        return found

    def export_devices(self, **options: Unpack[Options]) -> contextlib.AbstractContextManager[Streamed]:
        """Export all devices as a CSV file.

        The answer comes as a stream.

        `GET /v1/devices/csv`
        """
        return self.stream("GET", "/v1/devices/csv", **options)

    def export_records(self, **options: Unpack[Options]) -> contextlib.AbstractContextManager[Streamed]:
        """Export all records as JSON lines.

        The answer comes as a stream.

        `GET /v1/export`
        """
        return self.stream("GET", "/v1/export", **options)

    def get_about(self, **options: Unpack[Options]) -> About:
        """What this is, and its version.

        `GET /`
        """
        found: About = self.request("GET", "/", None, **options)
        return found

    def get_brake(self, **options: Unpack[Options]) -> Brake:
        """Is rescheduling held?

        `GET /v1/brake`
        """
        found: Brake = self.request("GET", "/v1/brake", None, **options)
        return found

    def watch_brake(
        self,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Brake]:
        """Is rescheduling held?

        What `get_brake` answers: now, and again whenever that has become another.

        `GET /v1/brake`
        """
        asked = {"after": after}
        return self._watch("/v1/brake", asked, options, wait, on_trouble)

    def get_deployment(self, deployment: str, **options: Unpack[Options]) -> Deployment:
        """A deployment with its tasks.

        `GET /v1/deployments/{deployment}`
        """
        found: Deployment = self.request("GET", path("/v1/deployments/{}", deployment), None, **options)
        return found

    def watch_deployment(
        self,
        deployment: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Deployment]:
        """A deployment with its tasks.

        What `get_deployment` answers: now, and again whenever that has become another.

        `GET /v1/deployments/{deployment}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/deployments/{}", deployment), asked, options, wait, on_trouble)

    def get_device(self, device: str, **options: Unpack[Options]) -> DeviceRow:
        """Show a device.

        `GET /v1/devices/{device}`
        """
        found: DeviceRow = self.request("GET", path("/v1/devices/{}", device), None, **options)
        return found

    def watch_device(
        self,
        device: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceRow]:
        """Show a device.

        What `get_device` answers: now, and again whenever that has become another.

        `GET /v1/devices/{device}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/devices/{}", device), asked, options, wait, on_trouble)

    def get_group(self, group: str, **options: Unpack[Options]) -> DeviceGroupRow:
        """Show a group.

        `GET /v1/groups/{group}`
        """
        found: DeviceGroupRow = self.request("GET", path("/v1/groups/{}", group), None, **options)
        return found

    def watch_group(
        self,
        group: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceGroupRow]:
        """Show a group.

        What `get_group` answers: now, and again whenever that has become another.

        `GET /v1/groups/{group}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/groups/{}", group), asked, options, wait, on_trouble)

    def get_health(self, **options: Unpack[Options]) -> Health:
        """Does this process answer?

        `GET /healthz`
        """
        found: Health = self.request("GET", "/healthz", None, **options)
        return found

    def get_metrics(self, **options: Unpack[Options]) -> contextlib.AbstractContextManager[Streamed]:
        """Figures for Prometheus.

        The answer comes as a stream.

        `GET /metrics`
        """
        return self.stream("GET", "/metrics", **options)

    def get_node(self, node: str, **options: Unpack[Options]) -> Node:
        """Show a node.

        `GET /v1/nodes/{node}`
        """
        found: Node = self.request("GET", path("/v1/nodes/{}", node), None, **options)
        return found

    def watch_node(
        self,
        node: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Node]:
        """Show a node.

        What `get_node` answers: now, and again whenever that has become another.

        `GET /v1/nodes/{node}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/nodes/{}", node), asked, options, wait, on_trouble)

    def get_readiness(self, **options: Unpack[Options]) -> Readiness:
        """Can the whole manager do its work?

        `GET /readyz`
        """
        found: Readiness = self.request("GET", "/readyz", None, **options)
        return found

    def get_template(self, template: str, **options: Unpack[Options]) -> StoredTemplate:
        """A template.

        `GET /v1/templates/{template}`
        """
        found: StoredTemplate = self.request("GET", path("/v1/templates/{}", template), None, **options)
        return found

    def watch_template(
        self,
        template: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[StoredTemplate]:
        """A template.

        What `get_template` answers: now, and again whenever that has become another.

        `GET /v1/templates/{template}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/templates/{}", template), asked, options, wait, on_trouble)

    def get_template_version(self, template: str, version: str, **options: Unpack[Options]) -> StoredTemplate:
        """A version of a template.

        `GET /v1/templates/{template}/versions/{version}`
        """
        found: StoredTemplate = self.request(
            "GET", path("/v1/templates/{}/versions/{}", template, version), None, **options
        )
        return found

    def get_workspace(self, user: str, **options: Unpack[Options]) -> Workspace:
        """A user's workspace.

        `GET /v1/workspaces/{user}`
        """
        found: Workspace = self.request("GET", path("/v1/workspaces/{}", user), None, **options)
        return found

    def watch_workspace(
        self,
        user: str,
        *,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Workspace]:
        """A user's workspace.

        What `get_workspace` answers: now, and again whenever that has become another.

        `GET /v1/workspaces/{user}`
        """
        asked = {"after": after}
        return self._watch(path("/v1/workspaces/{}", user), asked, options, wait, on_trouble)

    def group_node(self, node: str, body: Groups, **options: Unpack[Options]) -> Node:
        """Put a node into groups, or take it out.

        `POST /v1/nodes/{node}/groups`
        """
        found: Node = self.request("POST", path("/v1/nodes/{}/groups", node), body, **options)
        return found

    def import_devices(
        self,
        content: bytes | Iterable[bytes],
        size: int | None = None,
        *,
        dry_run: bool | None = None,
        match: Literal["sn"] | None = None,
        **options: Unpack[Options],
    ) -> contextlib.AbstractContextManager[Streamed]:
        """Import devices from a CSV file.

        The answer comes as a stream.

        `POST /v1/devices/csv`

        Args:
            dry_run: Only say what would become of each line.
            match: A line without an id is for the device that has its serial number, or makes it: a
                file may be sent again. Where the number does not tell which, the line is refused.
        """
        return self.stream(
            "POST",
            with_query("/v1/devices/csv", {"dry_run": dry_run, "match": match}),
            content,
            size,
            **options,
        )

    def import_records(
        self,
        content: bytes | Iterable[bytes],
        size: int | None = None,
        *,
        mode: Literal["auto", "move", "merge"] | None = None,
        conflict: Literal["refuse", "skip", "replace"] | None = None,
        dry_run: bool | None = None,
        confirm: bool | None = None,
        **options: Unpack[Options],
    ) -> Imported:
        """Import what another system, or this one, exported.

        `POST /v1/import`

        Args:
            mode: `move`: the whole cluster moves in, into an empty system; `merge`: what people
                said comes into a living one; `auto`, the default: whichever fits.
            conflict: What becomes of records that are here and say something else; `refuse` is the
                default.
            dry_run: Only say what would become of it.
            confirm: Needed where groups that are made or replaced stop more than half of what a
                deployment has on every node of a group.
        """
        found: Imported = self.upload(
            "POST",
            with_query(
                "/v1/import", {"mode": mode, "conflict": conflict, "dry_run": dry_run, "confirm": confirm}
            ),
            content,
            size,
            **options,
        )
        return found

    def join_node(self, body: Join, **options: Unpack[Options]) -> Joined:
        """Join: an agent asks for its place in the cluster.

        `POST /v1/nodes/join`
        """
        found: Joined = self.request("POST", "/v1/nodes/join", body, **options)
        return found

    def label_node(self, node: str, body: Labels, **options: Unpack[Options]) -> Node:
        """Label a node.

        `POST /v1/nodes/{node}/labels`
        """
        found: Node = self.request("POST", path("/v1/nodes/{}/labels", node), body, **options)
        return found

    def limit_deployment(self, deployment: str, body: Limit, **options: Unpack[Options]) -> Limited:
        """Limit a task otherwise.

        `POST /v1/deployments/{deployment}/limits`
        """
        found: Limited = self.request("POST", path("/v1/deployments/{}/limits", deployment), body, **options)
        return found

    def list_artifacts(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["name", "-name", "size", "-size", "modified", "-modified"] | None = None,
        prefix: str | None = None,
        **options: Unpack[Options],
    ) -> Artifacts:
        """List files on the server of --sftp-host.

        `GET /v1/artifacts`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            prefix: With what their names begin.
        """
        found: Artifacts = self.request(
            "GET",
            with_query(
                "/v1/artifacts",
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "prefix": prefix},
            ),
            None,
            **options,
        )
        return found

    def iter_artifacts(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["name", "-name", "size", "-size", "modified", "-modified"] | None = None,
        prefix: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[ArtifactRow]:
        """List files on the server of --sftp-host.

        Row by row of `list_artifacts`, over all its pages; `limit`: rows of a page.

        `GET /v1/artifacts`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            prefix: With what their names begin.
        """
        return self._pages(
            "/v1/artifacts",
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "prefix": prefix},
            options,
        )

    def list_containers(self, *, all: bool | None = None, **options: Unpack[Options]) -> OldListAnswer:
        """The workspaces.

        `GET /list`

        Args:
            all: Those that were stopped or are over, too, as long as they are remembered.
        """
        found: OldListAnswer = self.request("GET", with_query("/list", {"all": all}), None, **options)
        return found

    def list_contract_nodes(self, **options: Unpack[Options]) -> ContractNodes:
        """List all nodes, as the old platform does.

        `GET /api/task/node`
        """
        found: ContractNodes = self.request("GET", "/api/task/node", None, **options)
        return found

    def list_deployments(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "name", "-name"] | None = None,
        status: str | None = None,
        template: str | None = None,
        name: str | None = None,
        node: str | None = None,
        id: str | None = None,
        over: bool | None = None,
        **options: Unpack[Options],
    ) -> Deployments:
        """List deployments.

        `GET /v1/deployments`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-created`: the newest first.
            status: Only those in this state, or one of several with commas between: PENDING,
                RUNNING, DEGRADED, COMPLETED, FAILED, STOPPING, STOPPED.
            template: Only those of this template.
            name: Only the one of this name, and those that had it.
            node: Only those that have something on this node, or had when they ended.
            id: Only those whose id begins so.
            over: Only those that have ended (true), or have not (false).
        """
        found: Deployments = self.request(
            "GET",
            with_query(
                "/v1/deployments",
                {
                    "limit": limit,
                    "cursor": cursor,
                    "fields": fields,
                    "sort": sort,
                    "status": status,
                    "template": template,
                    "name": name,
                    "node": node,
                    "id": id,
                    "over": over,
                },
            ),
            None,
            **options,
        )
        return found

    def iter_deployments(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "name", "-name"] | None = None,
        status: str | None = None,
        template: str | None = None,
        name: str | None = None,
        node: str | None = None,
        id: str | None = None,
        over: bool | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Deployment]:
        """List deployments.

        Row by row of `list_deployments`, over all its pages; `limit`: rows of a page.

        `GET /v1/deployments`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-created`: the newest first.
            status: Only those in this state, or one of several with commas between: PENDING,
                RUNNING, DEGRADED, COMPLETED, FAILED, STOPPING, STOPPED.
            template: Only those of this template.
            name: Only the one of this name, and those that had it.
            node: Only those that have something on this node, or had when they ended.
            id: Only those whose id begins so.
            over: Only those that have ended (true), or have not (false).
        """
        return self._pages(
            "/v1/deployments",
            {
                "limit": limit,
                "cursor": cursor,
                "fields": fields,
                "sort": sort,
                "status": status,
                "template": template,
                "name": name,
                "node": node,
                "id": id,
                "over": over,
            },
            options,
        )

    def watch_deployments(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "name", "-name"] | None = None,
        status: str | None = None,
        template: str | None = None,
        name: str | None = None,
        node: str | None = None,
        id: str | None = None,
        over: bool | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Deployments]:
        """List deployments.

        What `list_deployments` answers: now, and again whenever that has become another.

        `GET /v1/deployments`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-created`: the newest first.
            status: Only those in this state, or one of several with commas between: PENDING,
                RUNNING, DEGRADED, COMPLETED, FAILED, STOPPING, STOPPED.
            template: Only those of this template.
            name: Only the one of this name, and those that had it.
            node: Only those that have something on this node, or had when they ended.
            id: Only those whose id begins so.
            over: Only those that have ended (true), or have not (false).
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "status": status,
            "template": template,
            "name": name,
            "node": node,
            "id": id,
            "over": over,
            "after": after,
        }
        return self._watch("/v1/deployments", asked, options, wait, on_trouble)

    def list_device_groups(
        self,
        device: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        **options: Unpack[Options],
    ) -> GroupsPage:
        """List the groups of a device.

        `GET /v1/devices/{device}/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        found: GroupsPage = self.request(
            "GET",
            with_query(
                path("/v1/devices/{}/groups", device),
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            ),
            None,
            **options,
        )
        return found

    def iter_device_groups(
        self,
        device: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceGroupRow]:
        """List the groups of a device.

        Row by row of `list_device_groups`, over all its pages; `limit`: rows of a page.

        `GET /v1/devices/{device}/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        return self._pages(
            path("/v1/devices/{}/groups", device),
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            options,
        )

    def watch_device_groups(
        self,
        device: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[GroupsPage]:
        """List the groups of a device.

        What `list_device_groups` answers: now, and again whenever that has become another.

        `GET /v1/devices/{device}/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        asked = {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "after": after}
        return self._watch(path("/v1/devices/{}/groups", device), asked, options, wait, on_trouble)

    def list_devices(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        id: str | None = None,
        sn: str | None = None,
        model: str | None = None,
        name: str | None = None,
        node: str | None = None,
        group: str | None = None,
        **options: Unpack[Options],
    ) -> DevicesFound:
        """Find devices, or list all.

        `GET /v1/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            sn: Exactly this serial number.
            model: A part of the model's name; capitals matter.
            name: Exactly this name.
            node: The device that is this node.
            group: Members of the group with this id.
        """
        found: DevicesFound = self.request(
            "GET",
            with_query(
                "/v1/devices",
                {
                    "limit": limit,
                    "cursor": cursor,
                    "fields": fields,
                    "sort": sort,
                    "id": id,
                    "sn": sn,
                    "model": model,
                    "name": name,
                    "node": node,
                    "group": group,
                },
            ),
            None,
            **options,
        )
        return found

    def iter_devices(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        id: str | None = None,
        sn: str | None = None,
        model: str | None = None,
        name: str | None = None,
        node: str | None = None,
        group: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceRow]:
        """Find devices, or list all.

        Row by row of `list_devices`, over all its pages; `limit`: rows of a page.

        `GET /v1/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            sn: Exactly this serial number.
            model: A part of the model's name; capitals matter.
            name: Exactly this name.
            node: The device that is this node.
            group: Members of the group with this id.
        """
        return self._pages(
            "/v1/devices",
            {
                "limit": limit,
                "cursor": cursor,
                "fields": fields,
                "sort": sort,
                "id": id,
                "sn": sn,
                "model": model,
                "name": name,
                "node": node,
                "group": group,
            },
            options,
        )

    def watch_devices(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        id: str | None = None,
        sn: str | None = None,
        model: str | None = None,
        name: str | None = None,
        node: str | None = None,
        group: str | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[DevicesFound]:
        """Find devices, or list all.

        What `list_devices` answers: now, and again whenever that has become another.

        `GET /v1/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            sn: Exactly this serial number.
            model: A part of the model's name; capitals matter.
            name: Exactly this name.
            node: The device that is this node.
            group: Members of the group with this id.
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "id": id,
            "sn": sn,
            "model": model,
            "name": name,
            "node": node,
            "group": group,
            "after": after,
        }
        return self._watch("/v1/devices", asked, options, wait, on_trouble)

    def list_events(
        self,
        *,
        deployment: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        order: Literal["desc", "asc"] | None = None,
        follow: bool | None = None,
        after: str | None = None,
        **options: Unpack[Options],
    ) -> Events:
        """List events, or follow them.

        `GET /v1/events`

        Args:
            deployment: Only those about this deployment.
            node: Only those about this node.
            kind: Only those of this kind, or of kinds below it.
            since: Only those since then: so long ago (`10m`), a time (`2026-01-31T12:00:00Z`), or
                seconds since 1970.
            until: Only those before then: so long ago (`10m`), a time (`2026-01-31T12:00:00Z`), or
                seconds since 1970. For pages.
            limit: Events of a page.
            cursor: `next` of the page before.
            order: The newest first, or the oldest. For pages.
            follow: Tell of what happens from now on, too, as server-sent events.
            after: The last event that is known. For those who follow.
        """
        found: Events = self.request(
            "GET",
            with_query(
                "/v1/events",
                {
                    "deployment": deployment,
                    "node": node,
                    "kind": kind,
                    "since": since,
                    "until": until,
                    "limit": limit,
                    "cursor": cursor,
                    "order": order,
                    "follow": follow,
                    "after": after,
                },
            ),
            None,
            **options,
        )
        return found

    def iter_events(
        self,
        *,
        deployment: str | None = None,
        node: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        order: Literal["desc", "asc"] | None = None,
        follow: bool | None = None,
        after: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Event]:
        """List events, or follow them.

        Row by row of `list_events`, over all its pages; `limit`: rows of a page.

        `GET /v1/events`

        Args:
            deployment: Only those about this deployment.
            node: Only those about this node.
            kind: Only those of this kind, or of kinds below it.
            since: Only those since then: so long ago (`10m`), a time (`2026-01-31T12:00:00Z`), or
                seconds since 1970.
            until: Only those before then: so long ago (`10m`), a time (`2026-01-31T12:00:00Z`), or
                seconds since 1970. For pages.
            limit: Events of a page.
            cursor: `next` of the page before.
            order: The newest first, or the oldest. For pages.
            follow: Tell of what happens from now on, too, as server-sent events.
            after: The last event that is known. For those who follow.
        """
        return self._pages(
            "/v1/events",
            {
                "deployment": deployment,
                "node": node,
                "kind": kind,
                "since": since,
                "until": until,
                "limit": limit,
                "cursor": cursor,
                "order": order,
                "follow": follow,
                "after": after,
            },
            options,
        )

    def list_group_devices(
        self,
        group: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        **options: Unpack[Options],
    ) -> DevicesPage:
        """List the devices of a group.

        `GET /v1/groups/{group}/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        found: DevicesPage = self.request(
            "GET",
            with_query(
                path("/v1/groups/{}/devices", group),
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            ),
            None,
            **options,
        )
        return found

    def iter_group_devices(
        self,
        group: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceRow]:
        """List the devices of a group.

        Row by row of `list_group_devices`, over all its pages; `limit`: rows of a page.

        `GET /v1/groups/{group}/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        return self._pages(
            path("/v1/groups/{}/devices", group),
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            options,
        )

    def watch_group_devices(
        self,
        group: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name", "sn", "-sn", "model", "-model"] | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[DevicesPage]:
        """List the devices of a group.

        What `list_group_devices` answers: now, and again whenever that has become another.

        `GET /v1/groups/{group}/devices`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
        """
        asked = {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "after": after}
        return self._watch(path("/v1/groups/{}/devices", group), asked, options, wait, on_trouble)

    def list_groups(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        id: str | None = None,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> GroupsFound:
        """Find groups, or list all.

        `GET /v1/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            name: Exactly this name.
        """
        found: GroupsFound = self.request(
            "GET",
            with_query(
                "/v1/groups",
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "id": id, "name": name},
            ),
            None,
            **options,
        )
        return found

    def iter_groups(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        id: str | None = None,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[DeviceGroupRow]:
        """Find groups, or list all.

        Row by row of `list_groups`, over all its pages; `limit`: rows of a page.

        `GET /v1/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            name: Exactly this name.
        """
        return self._pages(
            "/v1/groups",
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "id": id, "name": name},
            options,
        )

    def watch_groups(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "name", "-name"] | None = None,
        id: str | None = None,
        name: str | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[GroupsFound]:
        """Find groups, or list all.

        What `list_groups` answers: now, and again whenever that has become another.

        `GET /v1/groups`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            id: Exactly this one.
            name: Exactly this name.
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "id": id,
            "name": name,
            "after": after,
        }
        return self._watch("/v1/groups", asked, options, wait, on_trouble)

    def list_memberships(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id"] | None = None,
        id: str | None = None,
        device_id: str | None = None,
        group_id: str | None = None,
        **options: Unpack[Options],
    ) -> MembershipsFound:
        """Find memberships, or list all.

        `GET /v1/memberships`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: By group, then by device.
            id: Exactly this one.
            device_id: Of this device.
            group_id: Of this group.
        """
        found: MembershipsFound = self.request(
            "GET",
            with_query(
                "/v1/memberships",
                {
                    "limit": limit,
                    "cursor": cursor,
                    "fields": fields,
                    "sort": sort,
                    "id": id,
                    "device_id": device_id,
                    "group_id": group_id,
                },
            ),
            None,
            **options,
        )
        return found

    def iter_memberships(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id"] | None = None,
        id: str | None = None,
        device_id: str | None = None,
        group_id: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[MembershipRow]:
        """Find memberships, or list all.

        Row by row of `list_memberships`, over all its pages; `limit`: rows of a page.

        `GET /v1/memberships`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: By group, then by device.
            id: Exactly this one.
            device_id: Of this device.
            group_id: Of this group.
        """
        return self._pages(
            "/v1/memberships",
            {
                "limit": limit,
                "cursor": cursor,
                "fields": fields,
                "sort": sort,
                "id": id,
                "device_id": device_id,
                "group_id": group_id,
            },
            options,
        )

    def watch_memberships(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id"] | None = None,
        id: str | None = None,
        device_id: str | None = None,
        group_id: str | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[MembershipsFound]:
        """Find memberships, or list all.

        What `list_memberships` answers: now, and again whenever that has become another.

        `GET /v1/memberships`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: By group, then by device.
            id: Exactly this one.
            device_id: Of this device.
            group_id: Of this group.
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "id": id,
            "device_id": device_id,
            "group_id": group_id,
            "after": after,
        }
        return self._watch("/v1/memberships", asked, options, wait, on_trouble)

    def list_nodes(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "hostname", "-hostname", "ip", "-ip", "version", "-version"] | None = None,
        label: list[str] | None = None,
        group: list[str] | None = None,
        status: list[
            Literal["online", "offline", "unknown", "frozen", "ready", "cordoned", "draining", "removing"]
        ]
        | None = None,
        **options: Unpack[Options],
    ) -> Nodes:
        """List nodes.

        `GET /v1/nodes`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            label: A label that they have: a key, or `key=value`. Several must all hold.
            group: A group that they are in, by name. Several must all hold.
            status: Whether they are there, or take work; several: one of them.
        """
        found: Nodes = self.request(
            "GET",
            with_query(
                "/v1/nodes",
                {
                    "limit": limit,
                    "cursor": cursor,
                    "fields": fields,
                    "sort": sort,
                    "label": label,
                    "group": group,
                    "status": status,
                },
            ),
            None,
            **options,
        )
        return found

    def iter_nodes(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "hostname", "-hostname", "ip", "-ip", "version", "-version"] | None = None,
        label: list[str] | None = None,
        group: list[str] | None = None,
        status: list[
            Literal["online", "offline", "unknown", "frozen", "ready", "cordoned", "draining", "removing"]
        ]
        | None = None,
        **options: Unpack[Options],
    ) -> Iterator[NodeRow]:
        """List nodes.

        Row by row of `list_nodes`, over all its pages; `limit`: rows of a page.

        `GET /v1/nodes`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            label: A label that they have: a key, or `key=value`. Several must all hold.
            group: A group that they are in, by name. Several must all hold.
            status: Whether they are there, or take work; several: one of them.
        """
        return self._pages(
            "/v1/nodes",
            {
                "limit": limit,
                "cursor": cursor,
                "fields": fields,
                "sort": sort,
                "label": label,
                "group": group,
                "status": status,
            },
            options,
        )

    def watch_nodes(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["id", "-id", "hostname", "-hostname", "ip", "-ip", "version", "-version"] | None = None,
        label: list[str] | None = None,
        group: list[str] | None = None,
        status: list[
            Literal["online", "offline", "unknown", "frozen", "ready", "cordoned", "draining", "removing"]
        ]
        | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Nodes]:
        """List nodes.

        What `list_nodes` answers: now, and again whenever that has become another.

        `GET /v1/nodes`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            label: A label that they have: a key, or `key=value`. Several must all hold.
            group: A group that they are in, by name. Several must all hold.
            status: Whether they are there, or take work; several: one of them.
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "label": label,
            "group": group,
            "status": status,
            "after": after,
        }
        return self._watch("/v1/nodes", asked, options, wait, on_trouble)

    def list_template_versions(
        self,
        template: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["version", "-version"] | None = None,
        **options: Unpack[Options],
    ) -> TemplateVersions:
        """List the versions of a template.

        `GET /v1/templates/{template}/versions`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-version`: the newest first.
        """
        found: TemplateVersions = self.request(
            "GET",
            with_query(
                path("/v1/templates/{}/versions", template),
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            ),
            None,
            **options,
        )
        return found

    def iter_template_versions(
        self,
        template: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["version", "-version"] | None = None,
        **options: Unpack[Options],
    ) -> Iterator[TemplateVersion]:
        """List the versions of a template.

        Row by row of `list_template_versions`, over all its pages; `limit`: rows of a page.

        `GET /v1/templates/{template}/versions`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-version`: the newest first.
        """
        return self._pages(
            path("/v1/templates/{}/versions", template),
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort},
            options,
        )

    def watch_template_versions(
        self,
        template: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["version", "-version"] | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[TemplateVersions]:
        """List the versions of a template.

        What `list_template_versions` answers: now, and again whenever that has become another.

        `GET /v1/templates/{template}/versions`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `-version`: the newest first.
        """
        asked = {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "after": after}
        return self._watch(path("/v1/templates/{}/versions", template), asked, options, wait, on_trouble)

    def list_templates(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["name", "-name"] | None = None,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> Templates:
        """List templates.

        `GET /v1/templates`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `name`.
            name: Only the one of this name.
        """
        found: Templates = self.request(
            "GET",
            with_query(
                "/v1/templates",
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "name": name},
            ),
            None,
            **options,
        )
        return found

    def iter_templates(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["name", "-name"] | None = None,
        name: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[TemplateRow]:
        """List templates.

        Row by row of `list_templates`, over all its pages; `limit`: rows of a page.

        `GET /v1/templates`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `name`.
            name: Only the one of this name.
        """
        return self._pages(
            "/v1/templates",
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "name": name},
            options,
        )

    def watch_templates(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["name", "-name"] | None = None,
        name: str | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Templates]:
        """List templates.

        What `list_templates` answers: now, and again whenever that has become another.

        `GET /v1/templates`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: Without it `name`.
            name: Only the one of this name.
        """
        asked = {
            "limit": limit,
            "cursor": cursor,
            "fields": fields,
            "sort": sort,
            "name": name,
            "after": after,
        }
        return self._watch("/v1/templates", asked, options, wait, on_trouble)

    def list_unclaimed(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: str | None = None,
        **options: Unpack[Options],
    ) -> Unclaimed:
        """List unclaimed work.

        `GET /v1/unclaimed`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: By what the rows are sorted; `-` before it: the other way round.
        """
        found: Unclaimed = self.request(
            "GET",
            with_query("/v1/unclaimed", {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort}),
            None,
            **options,
        )
        return found

    def iter_unclaimed(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: str | None = None,
        **options: Unpack[Options],
    ) -> Iterator[UnclaimedRow]:
        """List unclaimed work.

        Row by row of `list_unclaimed`, over all its pages; `limit`: rows of a page.

        `GET /v1/unclaimed`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            sort: By what the rows are sorted; `-` before it: the other way round.
        """
        return self._pages(
            "/v1/unclaimed", {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort}, options
        )

    def list_workspaces(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "user_id", "-user_id"] | None = None,
        all: bool | None = None,
        **options: Unpack[Options],
    ) -> Workspaces:
        """List workspaces.

        `GET /v1/workspaces`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            all: Those that were stopped or are over, too, as long as they are remembered.
        """
        found: Workspaces = self.request(
            "GET",
            with_query(
                "/v1/workspaces",
                {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "all": all},
            ),
            None,
            **options,
        )
        return found

    def iter_workspaces(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "user_id", "-user_id"] | None = None,
        all: bool | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Workspace]:
        """List workspaces.

        Row by row of `list_workspaces`, over all its pages; `limit`: rows of a page.

        `GET /v1/workspaces`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            all: Those that were stopped or are over, too, as long as they are remembered.
        """
        return self._pages(
            "/v1/workspaces",
            {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "all": all},
            options,
        )

    def watch_workspaces(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        fields: str | None = None,
        sort: Literal["created", "-created", "user_id", "-user_id"] | None = None,
        all: bool | None = None,
        after: str | None = None,
        wait: float = WAIT,
        on_trouble: OnTrouble = None,
        **options: Unpack[Options],
    ) -> Iterator[Workspaces]:
        """List workspaces.

        What `list_workspaces` answers: now, and again whenever that has become another.

        `GET /v1/workspaces`

        Args:
            limit: Rows of a page; without it, all.
            cursor: `next` of the page before.
            fields: Only these keys of each row, with commas between.
            all: Those that were stopped or are over, too, as long as they are remembered.
        """
        asked = {"limit": limit, "cursor": cursor, "fields": fields, "sort": sort, "all": all, "after": after}
        return self._watch("/v1/workspaces", asked, options, wait, on_trouble)

    def mend_index(self, **options: Unpack[Options]) -> Mended:
        """Put the index of devices right.

        `POST /v1/doctor/index`
        """
        found: Mended = self.request("POST", "/v1/doctor/index", None, **options)
        return found

    def pause_deployment(self, deployment: str, **options: Unpack[Options]) -> Paused:
        """Hold the updates of a deployment.

        `POST /v1/deployments/{deployment}/pause`
        """
        found: Paused = self.request("POST", path("/v1/deployments/{}/pause", deployment), {}, **options)
        return found

    def promote_deployment(self, deployment: str, **options: Unpack[Options]) -> Promoted:
        """Promote the canaries of a deployment.

        `POST /v1/deployments/{deployment}/promote`
        """
        found: Promoted = self.request("POST", path("/v1/deployments/{}/promote", deployment), {}, **options)
        return found

    def put_artifact(
        self,
        artifact: str,
        content: bytes | Iterable[bytes],
        size: int | None = None,
        *,
        sha256: str | None = None,
        **options: Unpack[Options],
    ) -> Uploaded:
        """Put a file there, in place of what had the name.

        `PUT /v1/artifacts/{artifact}`

        Args:
            sha256: Its SHA-256, in hexadecimal; another one is not put there. Also as
                `Muster-Sha256`.
        """
        found: Uploaded = self.upload(
            "PUT",
            with_query(path("/v1/artifacts/{}", artifact), {"sha256": sha256}),
            content,
            size,
            **options,
        )
        return found

    def put_template(self, template: str, body: NamedTemplate, **options: Unpack[Options]) -> SavedTemplate:
        """Save a template.

        `PUT /v1/templates/{template}`
        """
        found: SavedTemplate = self.request("PUT", path("/v1/templates/{}", template), body, **options)
        return found

    def query_task_group(self, body: Id, **options: Unpack[Options]) -> Number:
        """State of a deployment as a number.

        `POST /api/task/task_group/query`
        """
        found: Number = self.request("POST", "/api/task/task_group/query", body, **options)
        return found

    def query_template(self, body: Name, **options: Unpack[Options]) -> StoredTemplate:
        """A template.

        `POST /api/task/query`
        """
        found: StoredTemplate = self.request("POST", "/api/task/query", body, **options)
        return found

    def read_logs(
        self,
        deployment: str,
        *,
        task: str | None = None,
        node: str | None = None,
        tail: str | None = None,
        since: str | None = None,
        follow: bool | None = None,
        stream: Literal["stdout", "stderr", "both"] | None = None,
        cursor: str | None = None,
        format: Literal["text", "json"] | None = None,
        **options: Unpack[Options],
    ) -> contextlib.AbstractContextManager[Streamed]:
        """Read the logs of a deployment.

        The answer comes as a stream.

        `GET /v1/deployments/{deployment}/logs`

        Args:
            task: Only this task.
            node: Only this node.
            tail: So many last lines of each log; `all`.
            since: From so long ago (`10m`), or from a time (`2026-01-31T12:00:00Z`, or seconds
                since 1970).
            follow: Go on with what is written from now on.
            stream: Which of a task's two logs.
            cursor: Where to go on: cursors of an earlier answer, with commas between.
            format: Lines as they are, or a JSON object for each.
        """
        return self.stream(
            "GET",
            with_query(
                path("/v1/deployments/{}/logs", deployment),
                {
                    "task": task,
                    "node": node,
                    "tail": tail,
                    "since": since,
                    "follow": follow,
                    "stream": stream,
                    "cursor": cursor,
                    "format": format,
                },
            ),
            **options,
        )

    def recover_cluster(self, body: Recover | None = None, **options: Unpack[Options]) -> Recovered:
        """Give an empty store its cluster back.

        `POST /v1/recover`
        """
        found: Recovered = self.request("POST", "/v1/recover", {} if body is None else body, **options)
        return found

    def release_brake(self, **options: Unpack[Options]) -> Released:
        """Release the brake.

        `POST /v1/brake/release`
        """
        found: Released = self.request("POST", "/v1/brake/release", {}, **options)
        return found

    def release_device(
        self, device: str, body: DeviceRelease | None = None, **options: Unpack[Options]
    ) -> DeviceRow:
        """Give what people edited of a node's device back to its agent.

        `POST /v1/devices/{device}/release`
        """
        found: DeviceRow = self.request(
            "POST", path("/v1/devices/{}/release", device), {} if body is None else body, **options
        )
        return found

    def replace_memberships(self, body: Memberships, **options: Unpack[Options]) -> MembershipsChanged:
        """Replace the groups of a device.

        `PUT /v1/memberships`
        """
        found: MembershipsChanged = self.request("PUT", "/v1/memberships", body, **options)
        return found

    def restart_deployment(
        self, deployment: str, body: Confirm | None = None, **options: Unpack[Options]
    ) -> DeploymentId:
        """Restart a deployment.

        `POST /v1/deployments/{deployment}/restart`
        """
        found: DeploymentId = self.request(
            "POST", path("/v1/deployments/{}/restart", deployment), {} if body is None else body, **options
        )
        return found

    def restore_backup(
        self,
        content: bytes | Iterable[bytes],
        size: int | None = None,
        *,
        sha256: str,
        epoch: str | None = None,
        **options: Unpack[Options],
    ) -> Restored:
        """Look what a backup would undo, or put it in place.

        `POST /v1/restore`

        Args:
            sha256: The SHA-256 of the file, in hexadecimal.
            epoch: The epoch that is to be replaced; without it, nothing is changed.
        """
        found: Restored = self.upload(
            "POST", with_query("/v1/restore", {"sha256": sha256, "epoch": epoch}), content, size, **options
        )
        return found

    def resume_deployment(self, deployment: str, **options: Unpack[Options]) -> Paused:
        """Let the updates of a deployment go on.

        `POST /v1/deployments/{deployment}/resume`
        """
        found: Paused = self.request("POST", path("/v1/deployments/{}/resume", deployment), {}, **options)
        return found

    def rollback_deployment(
        self, deployment: str, body: Rollback | None = None, **options: Unpack[Options]
    ) -> Release:
        """Roll a deployment back.

        `POST /v1/deployments/{deployment}/rollback`
        """
        found: Release = self.request(
            "POST", path("/v1/deployments/{}/rollback", deployment), {} if body is None else body, **options
        )
        return found

    def run_doctor(self, **options: Unpack[Options]) -> Report:
        """Look store and fleet over, now.

        `GET /v1/doctor`
        """
        found: Report = self.request("GET", "/v1/doctor", None, **options)
        return found

    def save_task_group(self, body: Template, **options: Unpack[Options]) -> SavedTaskGroup:
        """Save a template.

        `POST /api/task/task_group`
        """
        found: SavedTaskGroup = self.request("POST", "/api/task/task_group", body, **options)
        return found

    def scale_deployment(self, deployment: str, body: Scale, **options: Unpack[Options]) -> Scaled:
        """Scale a deployment.

        `POST /v1/deployments/{deployment}/scale`
        """
        found: Scaled = self.request("POST", path("/v1/deployments/{}/scale", deployment), body, **options)
        return found

    def show_deployment(self, deployment: str, **options: Unpack[Options]) -> Deployment:
        """A deployment with its tasks.

        `GET /deployments/{deployment}`
        """
        found: Deployment = self.request("GET", path("/deployments/{}", deployment), None, **options)
        return found

    def stop_deployment(
        self, deployment: str, body: Confirm | None = None, **options: Unpack[Options]
    ) -> Stopped:
        """Stop a deployment.

        `POST /v1/deployments/{deployment}/stop`
        """
        found: Stopped = self.request(
            "POST", path("/v1/deployments/{}/stop", deployment), {} if body is None else body, **options
        )
        return found

    def stop_task_group(self, body: Id, **options: Unpack[Options]) -> DeploymentId:
        """Stop a deployment.

        `POST /api/task/task_group/stop`
        """
        found: DeploymentId = self.request("POST", "/api/task/task_group/stop", body, **options)
        return found

    def stop_unclaimed(self, deployment: str, **options: Unpack[Options]) -> Claimed:
        """Stop unclaimed work.

        `POST /v1/unclaimed/{deployment}/stop`
        """
        found: Claimed = self.request("POST", path("/v1/unclaimed/{}/stop", deployment), {}, **options)
        return found

    def uncordon_node(self, node: str, **options: Unpack[Options]) -> Node:
        """Uncordon a node: it takes work again.

        `POST /v1/nodes/{node}/uncordon`
        """
        found: Node = self.request("POST", path("/v1/nodes/{}/uncordon", node), {}, **options)
        return found

    def update_deployment(
        self, deployment: str, body: NewRelease | None = None, **options: Unpack[Options]
    ) -> Release:
        """Update a deployment.

        `POST /v1/deployments/{deployment}/update`
        """
        found: Release = self.request(
            "POST", path("/v1/deployments/{}/update", deployment), {} if body is None else body, **options
        )
        return found

    def update_device(self, body: DeviceChange, **options: Unpack[Options]) -> DeviceChanged:
        """Change a device.

        `PUT /v1/devices`
        """
        found: DeviceChanged = self.request("PUT", "/v1/devices", body, **options)
        return found

    def update_group(self, body: DeviceGroupChange, **options: Unpack[Options]) -> GroupChanged:
        """Change a group.

        `PUT /v1/groups`
        """
        found: GroupChanged = self.request("PUT", "/v1/groups", body, **options)
        return found
