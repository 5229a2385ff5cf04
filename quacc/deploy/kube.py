"""A Kubernetes cluster: manifests are applied, looked after, and taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from quacc.deploy.manifests import NEEDS, Manifest
from quacc.errors import QuaccError, SettingsError

MANAGER = "quacc"
"""Who has set a field, as the cluster notes it; others' fields stay."""


class ClusterError(QuaccError):
    """The cluster refused something, or does not answer."""


def apply(manifests: Sequence[Manifest]) -> list[str]:
    """Make them, or change them to what they say; return what is there, such as "Secret a".

    Raises
    ------
    ClusterError
        The cluster refused one; those before it are there.
    """
    done = []
    with _cluster() as apis:
        for one in manifests:
            call, where = _call(apis, "patch", one)
            call(
                **where,
                body=one,
                field_manager=MANAGER,
                force=True,
                _content_type="application/apply-patch+yaml",
            )
            done.append(f"{one['kind']} {one['metadata']['name']}")
    return done


def status(namespace: str) -> list[dict[str, Any]]:
    """Return name, wanted and ready pods of each deployment of quacc's, and what is wrong."""
    with _cluster() as apis:
        found = apis["Deployment"].list_namespaced_deployment(namespace, label_selector=_OURS)
        return [
            {
                "name": one.metadata.name,
                "wanted": one.spec.replicas,
                "ready": one.status.ready_replicas or 0,
                "problem": "; ".join(
                    each.message or each.reason
                    for each in one.status.conditions or []
                    if each.status == "False" or each.type == "ReplicaFailure"
                ),
            }
            for one in found.items
        ]


def stop(manifests: Sequence[Manifest]) -> list[str]:
    """Delete all of them but the namespace, the last first; return what was there.

    Raises
    ------
    ClusterError
        The cluster refused, or still has one of them.
    """
    gone = []
    with _cluster() as apis:
        for one in reversed([one for one in manifests if one["kind"] != "Namespace"]):
            call, where = _call(apis, "delete", one)
            if _if_there(call, **where, propagation_policy="Foreground") is not None:
                gone.append(f"{one['kind']} {one['metadata']['name']}")
        for one in manifests:
            call, where = _call(apis, "read", one)
            if one["kind"] == "Namespace":
                continue
            left = _if_there(call, **where)
            if left is not None and left.metadata.deletion_timestamp is None:
                raise ClusterError(f"The cluster still has {one['kind']} {where['name']}.")
    return gone


_OURS = f"app.kubernetes.io/managed-by={MANAGER}"


def _call(apis: Mapping[str, Any], verb: str, one: Manifest) -> tuple[Any, dict[str, str]]:
    """Return the client's function for a manifest, and which object it is about."""
    kind, head = one["kind"], one["metadata"]
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind)
    where = {"name": head["name"]}
    if "namespace" in head:
        where["namespace"] = head["namespace"]
    inside = "_namespaced" if "namespace" in head else ""
    return getattr(apis[kind], f"{verb}{inside}{snake}"), where


def _if_there(call: Any, **arguments: Any) -> Any:
    from kubernetes.client import ApiException

    try:
        return call(**arguments)
    except ApiException as error:
        if error.status != 404:
            raise
        return None


@contextmanager
def _cluster() -> Iterator[dict[str, Any]]:
    """Return the client of each kind; of the cluster that kubectl would talk to.

    Raises
    ------
    SettingsError
        No cluster is configured.
    ClusterError
        It refuses a call in the block, or does not answer.
    """
    try:
        from kubernetes import client, config
        from urllib3.exceptions import HTTPError
    except ImportError:
        raise SettingsError(NEEDS) from None
    try:
        config.load_config()
    except config.ConfigException as error:
        raise SettingsError(
            f"No Kubernetes cluster is configured ({error}). Set KUBECONFIG, or log in to one."
        ) from None
    with client.ApiClient() as connection:
        core, access = client.CoreV1Api(connection), client.RbacAuthorizationV1Api(connection)
        apis: dict[str, Any] = dict.fromkeys(("Namespace", "Secret", "ServiceAccount"), core)
        apis |= dict.fromkeys(("Role", "RoleBinding"), access)
        apis["Deployment"] = client.AppsV1Api(connection)
        try:
            yield apis
        except client.ApiException as error:
            raise ClusterError(f"The cluster refused it ({error.status}): {error.reason}") from None
        except HTTPError as error:
            raise ClusterError(f"The cluster does not answer: {error}") from None
