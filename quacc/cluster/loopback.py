"""This machine is reached without a proxy, whatever the environment says about the others."""

from __future__ import annotations

import os

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def no_proxy_for_loopback() -> None:
    """Add this machine to ``no_proxy`` and ``NO_PROXY``, here and for all child processes.

    Nothing changes where no proxy is set, or where it is used for nothing.
    """
    if not any(name.lower().endswith("_proxy") and os.environ[name] for name in os.environ):
        return
    # Programs differ in which spelling they read; Python prefers the small letters, even if empty.
    usual = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host.strip() for host in os.environ.get(name, usual).split(",") if host.strip()]
        if "*" not in hosts:
            missing = [host for host in _LOOPBACK if host not in hosts]
            os.environ[name] = ",".join([*hosts, *missing])
