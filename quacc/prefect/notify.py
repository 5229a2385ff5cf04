"""Messages to people about flow runs, by the addresses of the setting ``notify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quacc.errors import SettingsError
from quacc.ownfiles import read_own
from quacc.settings import get_settings

if TYPE_CHECKING:
    from apprise import Apprise


def notify(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell that a flow run has failed: ``@flow(on_failure=[notify], on_crashed=[notify])``.

    Does nothing where the setting ``notify`` names no file.

    Raises
    ------
    SettingsError
        The message cannot be sent; Prefect writes that into the run's log.
    """
    from prefect.utilities.urls import url_for

    if get_settings().notify is None:
        return
    lines = [state.message or "", url_for(flow_run) or ""]
    lines.append(f"quacc sends this; all of it: prefect flow-run logs {flow_run.id}")
    send(f"{flow.name}: {flow_run.name}: {state.name}", "\n".join(filter(None, lines)))


def send(title: str, text: str) -> int:
    """Send a message to all addresses; return how many there are.

    Raises
    ------
    SettingsError
        There are none, one makes no sense, or one does not take the message.
    """
    receivers = addresses()
    deaf = [one.url(privacy=True) for one in receivers if not one.notify(title=title, body=text)]
    if deaf:
        raise SettingsError(f"The message could not be sent to {', '.join(deaf)}.")
    return len(receivers)


def addresses() -> Apprise:
    """Return the receivers that the file of the setting ``notify`` names, one address a line.

    Raises
    ------
    SettingsError
        There are none, one makes no sense, or others can read the file.
    """
    from apprise import Apprise

    file = get_settings().notify
    if file is None:
        raise SettingsError("No file of addresses is set: quacc settings set notify FILE")
    try:
        lines = read_own(file, secret=True).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file of the setting notify cannot be read: {error}.") from None
    receivers = Apprise()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#") and not receivers.add(line):
            raise SettingsError(
                f"{file}, line {number} is no address that Apprise knows; such are "
                "mailtos://USER:PASSWORD@HOST, slack://…, jsons://HOST/PATH."
            )
    if not receivers:
        raise SettingsError(f"{file} has no address.")
    return receivers
