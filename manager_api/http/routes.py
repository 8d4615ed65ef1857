"""Which path leads to which resource; the old platform's first."""

from collections.abc import Iterator

from manager_api.http.deployments import (
    changes,
    deployment_calls,
    explain,
    instances,
    releases,
    scaling,
    unclaimed_calls,
)
from manager_api.http.events import events
from manager_api.http.files import artifacts
from manager_api.http.inventory import device_files, device_release, devices, groups, memberships
from manager_api.http.logs import logs
from manager_api.http.nodes import brake, node_calls, nodes
from manager_api.http.services import Services
from manager_api.http.system import backup, doctor, health, moving, recover
from manager_api.http.templates import template_records, templates
from manager_api.http.workspaces import workspaces


def routes(services: Services) -> Iterator[tuple[str, object]]:
    """Which path leads to which resource; the old platform's first."""
    yield "/healthz", health.Healthz()
    yield "/readyz", health.Readyz(services)
    yield "/v1/doctor", doctor.Doctor(services)
    yield "/v1/doctor/index", doctor.Index(services)
    yield from _contract_1(services)
    yield from _deployments(services)
    yield from workspaces.routes(services)
    yield from _templates(services)
    yield from _nodes(services)
    yield from _inventory(services)
    yield "/v1/brake", brake.Brake(services)
    yield "/v1/brake/release", brake.Release(services)
    yield "/v1/events", events.Listing(services)
    yield from _files(services)


def _contract_1(services: Services) -> Iterator[tuple[str, object]]:
    yield "/api/task/node", nodes.ContractListing(services)
    yield "/api/task/task_group", templates.TaskGroup(services)
    yield "/api/task/query", templates.Query(services)
    yield "/api/task/task_group/deploy", deployment_calls.Deploy(services)
    yield "/api/task/task_group/query", deployment_calls.Query(services)
    yield "/api/task/task_group/stop", deployment_calls.Stop(services)
    yield "/deployments/{deployment}", deployment_calls.Shown(services)


def _deployments(services: Services) -> Iterator[tuple[str, object]]:
    yield "/v1/deployments/{deployment}", deployment_calls.One(services)
    yield "/v1/deployments/{deployment}/restart", changes.Restart(services)
    yield "/v1/deployments/{deployment}/limits", changes.Limits(services)
    yield "/v1/deployments/{deployment}/explain", explain.Explain(services)
    yield "/v1/deployments/{deployment}/logs", logs.Logs(services)
    yield "/v1/deployments/{deployment}/stop", changes.Stop(services)
    yield "/v1/deployments/{deployment}/scale", scaling.Scale(services)
    yield "/v1/deployments/{deployment}/update", releases.Update(services)
    yield "/v1/deployments/{deployment}/rollback", releases.Rollback(services)
    yield "/v1/deployments/{deployment}/promote", releases.Promote(services)
    yield "/v1/deployments/{deployment}/pause", releases.Pause(services)
    yield "/v1/deployments/{deployment}/resume", releases.Resume(services)
    yield "/v1/deployments", instances.Instances(services)
    yield "/v1/recover", recover.Recover(services)
    yield "/v1/unclaimed", unclaimed_calls.Listing(services)
    yield "/v1/unclaimed/{deployment}/adopt", unclaimed_calls.Adopt(services)
    yield "/v1/unclaimed/{deployment}/stop", unclaimed_calls.Stop(services)


def _templates(services: Services) -> Iterator[tuple[str, object]]:
    yield "/v1/templates", template_records.Templates(services)
    yield "/v1/templates/{template}", template_records.One(services)
    yield "/v1/templates/{template}/versions", template_records.Versions(services)
    yield "/v1/templates/{template}/versions/{version:int}", template_records.Version(services)


def _nodes(services: Services) -> Iterator[tuple[str, object]]:
    yield "/v1/nodes", nodes.Listing(services)
    yield "/v1/nodes/join", nodes.Join(services)
    yield "/v1/nodes/{node}", node_calls.One(services)
    yield "/v1/nodes/{node}/cordon", node_calls.Cordon(services)
    yield "/v1/nodes/{node}/uncordon", node_calls.Uncordon(services)
    yield "/v1/nodes/{node}/drain", node_calls.Drain(services)
    yield "/v1/nodes/{node}/labels", node_calls.Labels(services)
    yield "/v1/nodes/{node}/groups", node_calls.Groups(services)


def _files(services: Services) -> Iterator[tuple[str, object]]:
    desk = artifacts.Desk(services)
    yield "/v1/artifacts", artifacts.Listing(services, desk)
    yield "/v1/artifacts/{artifact:path}", artifacts.One(services, desk)
    yield "/v1/backup", backup.Backup(services)
    yield "/v1/restore", backup.Restore(services)
    yield "/v1/export", moving.Export(services)
    yield "/v1/import", moving.Import(services)


def _inventory(services: Services) -> Iterator[tuple[str, object]]:
    yield "/v1/devices", devices.Devices(services)
    yield "/v1/devices/csv", device_files.DeviceFile(services)
    yield "/v1/devices/{device}", devices.One(services)
    yield "/v1/devices/{device}/release", device_release.Release(services)
    yield "/v1/devices/{device}/groups", memberships.OfDevice(services)
    yield "/v1/groups", groups.Groups(services)
    yield "/v1/groups/{group}", groups.One(services)
    yield "/v1/groups/{group}/devices", memberships.OfGroup(services)
    yield "/v1/memberships", memberships.Memberships(services)
