"""Kubernetes manifests as data: what serves a workflow, and what runs the flows of a work pool.

Made from plain values, never from text, and checked twice: against Kubernetes' own schema, and for
what that lets pass and the cluster, or the kubelet, does not.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from quacc.errors import InputError, SettingsError
from quacc.ownfiles import read_own

Manifest = dict[str, Any]

SECRET_KEYS = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
"""What a Prefect client needs: an address, and one of the others."""

SCHEMA = "1.32"
"""Of Kubernetes."""

NEEDS = "Kubernetes needs packages of its own: pip install 'quacc[kubernetes]'."

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")
_IMAGE = re.compile(r"[a-z0-9][-a-z0-9._:/]*?(:[\w][-\w.]*)?(@sha256:[0-9a-f]{64})?")
_CHOICES = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "restartPolicy": ("Always",),  # of a Deployment, no other is taken
    "type": ("RollingUpdate", "Recreate", "Opaque"),
    "protocol": ("TCP", "UDP", "SCTP"),
}
# What a worker of Prefect's type kubernetes does for each flow run, and no more.
_MAY = (
    (["batch"], ["jobs"], ["create", "delete", "get", "list", "patch", "watch"]),
    ([""], ["pods", "pods/log", "pods/status"], ["get", "list", "watch"]),
    ([""], ["events"], ["get", "list", "watch"]),
)


def manifests(
    workflow: str,
    image: str,
    secrets: Mapping[str, str],
    *,
    namespace: str = "quacc",
    pool: str | None = None,
    replicas: int = 1,
    pull_policy: str = "IfNotPresent",
    cpu: str = "1",
    memory: str = "2Gi",
) -> list[Manifest]:
    """Return the manifests of all that a workflow needs in a cluster, in the order of applying.

    Parameters
    ----------
    workflow
        Such as eos. Without ``pool``, a process in the cluster serves it.
    image
        The container image, with quacc in it.
    secrets
        Values of SECRET_KEYS; see :func:`secrets_from`.
    pool
        A work pool of type kubernetes; a worker in the cluster then starts a job for each run.
    replicas
        How many such processes.
    pull_policy
        When the image is fetched.
    cpu, memory
        Of each process: cores, and bytes such as 2Gi.

    Raises
    ------
    InputError
        Something makes no sense; names all of it.
    """
    name = f"quacc-{workflow.replace('_', '-')}" if pool is None else f"quacc-worker-{pool}"
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "quacc"}

    def head(kind: str, of: str, version: str = "v1", inside: bool = True) -> Manifest:
        place = {"namespace": namespace} if inside else {}
        return {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": of, **place, "labels": dict(labels)},
        }

    secret = f"{name}-prefect"
    command = ["quacc", "deployment", "serve", workflow]
    found: list[Manifest] = [
        head("Namespace", namespace, inside=False),
        head("Secret", secret)
        | {
            "type": "Opaque",
            "data": {
                key: base64.b64encode(text.encode()).decode() for key, text in secrets.items()
            },
        },
        head("ServiceAccount", name) | {"automountServiceAccountToken": pool is not None},
    ]
    if pool is not None:
        command = ["prefect", "worker", "start", "--pool", pool, "--type", "kubernetes"]
        rules = [{"apiGroups": a, "resources": b, "verbs": c} for a, b, c in _MAY]
        authorization = "rbac.authorization.k8s.io"
        found += [
            head("Role", name, f"{authorization}/v1") | {"rules": rules},
            head("RoleBinding", name, f"{authorization}/v1")
            | {
                "roleRef": {"apiGroup": authorization, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        ]
    container = {
        "name": "quacc",
        "image": image,
        "imagePullPolicy": pull_policy,
        "command": command,
        "envFrom": [{"secretRef": {"name": secret}}],
        "resources": {
            "requests": {"cpu": cpu, "memory": memory},
            "limits": {"memory": memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": name,
        "automountServiceAccountToken": pool is not None,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "restartPolicy": "Always",
        "containers": [container],
    }
    found.append(
        head("Deployment", name, "apps/v1")
        | {
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
                "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
            }
        }
    )
    check(found)
    return found


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secrets_from(environment: Mapping[str, str], file: Path | None = None) -> dict[str, str]:
    """Return the address of the Prefect server, and what it asks for.

    Parameters
    ----------
    environment
        Where they are variables, such as ``os.environ``.
    file
        Of lines KEY=VALUE, which is asked instead, and must be this user's alone.

    Raises
    ------
    InputError
        The file cannot be used, or there is no address.
    """
    given: Mapping[str, str] = environment
    if file is not None:
        try:
            lines = read_own(file, secret=True).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file of secrets cannot be used: {error}.") from None
        pairs = [line.strip().removeprefix("export ").partition("=") for line in lines]
        given = {key: value.strip("\"'") for key, _, value in pairs}
    found = {key: given[key] for key in SECRET_KEYS if given.get(key)}
    if "PREFECT_API_URL" not in found:
        where = f"in {file}" if file else "set"
        raise InputError(f"PREFECT_API_URL is not {where}: pods need the server's address.")
    return found


def check(found: Iterable[Manifest]) -> None:
    """Refuse manifests that Kubernetes would not take, or that would not run.

    Raises
    ------
    InputError
        Names each mistake, with its manifest and place.
    """
    kept = list(found)
    mistakes = [
        f"{_title(one)}: {mistake}"
        for one in kept
        for mistake in (*_by_schema(one), *_by_rule(one))
    ]
    mistakes += _between(kept)
    if mistakes:
        raise InputError("These manifests are wrong:\n" + "\n".join(f"  {one}" for one in mistakes))


def _title(one: Manifest) -> str:
    return f"{one.get('kind')} {_in(one, 'metadata').get('name')}"


def _in(value: Any, *names: str) -> Any:
    """Return what is below these names; an empty mapping where that is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return {} if value is None else value


def _by_schema(one: Manifest) -> Iterator[str]:
    try:
        import kubernetes_validate as schema
    except ImportError:
        raise SettingsError(NEEDS) from None
    try:
        schema.validate(one, SCHEMA, strict=True)
    except schema.ValidationError as error:
        yield f"{'.'.join(map(str, error.path)) or 'it'}: {error.message}"
    except schema.InvalidSchemaError:
        yield f"Kubernetes {SCHEMA} has no kind {one.get('kind')} of {one.get('apiVersion')}"


def _by_rule(one: Manifest) -> Iterator[str]:
    for place, key, value in _leaves(one):
        if key in _CHOICES and isinstance(value, str) and not _allowed(place, key, value):
            yield f"{place}: {value!r} is none of {', '.join(_CHOICES[key])}"
        if place.split(".")[-2:-1] in (["requests"], ["limits"]) and not _QUANTITY.fullmatch(
            str(value)
        ):
            yield f"{place}: {value!r} is no quantity such as 500m, 2 or 2Gi"
        if key in ("name", "namespace", "serviceAccountName") and not _NAME.fullmatch(str(value)):
            yield (
                f"{place}: {value!r} is no name: small letters, digits and -, 63 at most, of which "
                "the first and last are no -"
            )
    if one.get("kind") != "Deployment":
        return
    chosen = _in(one, "spec", "selector", "matchLabels")
    labels = _in(one, "spec", "template", "metadata", "labels")
    if not chosen or not chosen.items() <= labels.items():
        yield f"spec.selector.matchLabels: {chosen} are not the labels of its pods, {labels}"
    replicas = _in(one, "spec").get("replicas", 1)
    if not isinstance(replicas, int) or replicas < 0:
        yield f"spec.replicas: {replicas!r} is no number of pods"
    for number, container in enumerate(_in(one, "spec", "template", "spec", "containers") or []):
        place, image = f"spec.template.spec.containers.{number}.image", container.get("image")
        if not image:
            yield f"{place}: is missing"
        elif not _IMAGE.fullmatch(str(image)):
            yield f"{place}: {image!r} is no image such as group/quacc:1.2"


def _allowed(place: str, key: str, value: str) -> bool:
    if key == "type" and "seccompProfile" in place:
        return value in ("RuntimeDefault", "Localhost", "Unconfined")
    return value in _CHOICES[key]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield place, last name and value of all that is no mapping or list, but secrets' values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not (place == "" and key in ("data", "stringData")):
                yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}.{number}")
    else:
        yield place, place.rpartition(".")[2], value


def _between(found: list[Manifest]) -> Iterator[str]:
    """Yield what one manifest asks of another, and does not find."""
    there = {(str(one.get("kind")), _in(one, "metadata").get("name")) for one in found}
    spaces = {name for kind, name in there if kind == "Namespace"}
    for one in found:
        space = _in(one, "metadata").get("namespace")
        if one.get("kind") != "Namespace" and space not in spaces:
            yield f"{_title(one)}: metadata.namespace: there is no Namespace {space}"
        pod = _in(one, "spec", "template", "spec")
        asked = [("ServiceAccount", pod.get("serviceAccountName"))] if pod else []
        for container in _in(pod, "containers") or []:
            for source in container.get("envFrom", []):
                asked.append(("Secret", _in(source, "secretRef").get("name")))
        if one.get("kind") == "RoleBinding":
            asked.append(("Role", _in(one, "roleRef").get("name")))
            asked += [(each.get("kind"), each.get("name")) for each in one.get("subjects", [])]
        yield from (
            f"{_title(one)}: there is no {kind} {name}"
            for kind, name in asked
            if (kind, name) not in there
        )
        for rule in one.get("rules", []) if one.get("kind") == "Role" else []:
            if any("*" in listed for listed in rule.values()):
                yield f"{_title(one)}: rules: * allows more than a worker needs"
