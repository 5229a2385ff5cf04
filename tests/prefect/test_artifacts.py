"""Tables and pictures in the dashboard, as the server has them."""

import asyncio
import base64
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from quacc.errors import ParameterError
from quacc.prefect.show.artifacts import artifact_key, show_picture, show_table

pytestmark = pytest.mark.usefixtures("prefect_server")


def shown(show):
    """Return the artifact that a flow with this in it has on the server."""

    @flow
    def one():
        show()
        return FlowRunContext.get().flow_run.id

    async def read(run):
        async with get_client() as client:
            only = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
            return (await client.request("POST", "/artifacts/filter", json=only)).json()

    [artifact] = asyncio.run(read(one()))
    return artifact


def content(artifact):
    kind, data = artifact["data"].split(";base64,")
    return kind, base64.b64decode(data)


def test_table():
    rows = [{"alloy": "Cu3Au", "energy": -15.66666666, "plane": [1, 1, 1]}, {"alloy": "CuAu"}]
    table = shown(lambda: show_table(rows, key="Alloys of Cu_3", description="Best first"))
    assert (table["type"], table["key"]) == ("table", "alloys-of-cu-3")
    assert table["description"] == "Best first"
    assert table["data"] == (
        '[{"alloy": "Cu3Au", "energy": -15.6667, "plane": "1 1 1"}, {"alloy": "CuAu"}]'
    )


def test_figure():
    figure = Figure(figsize=(2, 1), facecolor="red")
    picture = shown(lambda: show_picture(figure, key="red"))
    assert picture["type"] == "image"
    kind, data = content(picture)
    assert kind == "data:image/png"
    np.testing.assert_allclose(imread(io.BytesIO(data))[0, 0], [1, 0, 0, 1])


@pytest.mark.parametrize(("suffix", "kind"), [("PNG", "image/png"), ("svg", "image/svg+xml")])
def test_file(tmp_path, suffix, kind):
    path = tmp_path / f"figure.{suffix}"
    Figure(figsize=(1, 1)).savefig(path)
    assert content(shown(lambda: show_picture(path, key="a"))) == (
        f"data:{kind}",
        path.read_bytes(),
    )


def test_what_is_no_picture():
    with pytest.raises(ParameterError, match=r"\.png or \.svg, not 'notes.pdf'"):
        show_picture("notes.pdf", key="a")


def test_outside_a_flow_nothing_happens():
    show_table([{"a": 1}], key="a")
    show_picture(Figure(figsize=(1, 1)), key="a")


def test_keys():
    assert artifact_key("emt.bulk_to_slabs_flow-Surfaces!") == "emt-bulk-to-slabs-flow-surfaces"
