"""``quacc report``: one page that needs nothing else."""

from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from quacc.cache.once import cached
from quacc.cache.results import of_process
from quacc.cli.main import app
from quacc.errors import InputError
from quacc.recipes import report
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows import eos_flow
from quacc.settings import change_settings
from quacc.store import Store


def call(*words):
    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


class Page(HTMLParser):
    """Its texts, and all that a browser would fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.open, self.sources, self.scripts = [], [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag in ("script", "iframe", "object", "embed", "link")
        self.sources += [value for name, value in attrs if name in ("src", "srcset", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture
def eos():
    with change_settings(calculator="emt"):
        result = eos_flow("Cu", cached(relax_job), cached(static_job), points=5)
    of_process().keep_now(result)
    return result


def test_a_workflow_on_one_page(eos, tmp_path):
    file = tmp_path / "eos.html"
    call("report", "latest", "--output", str(file))
    text = file.read_text()
    page = Page(text)
    assert report.summary(eos) in page.texts
    assert f"{eos['bulk_modulus']:.6g} GPa" in page.texts
    assert {key[:10] for key in eos["jobs"]} <= {*page.texts}
    assert "emt ase 3.29.0" in page.texts
    assert any("Birch1947" in one for one in page.texts)
    assert page.scripts == 0
    assert all(one.startswith("data:image/svg+xml") for one in page.sources)
    assert len(page.sources) == 2  # structure and figure
    assert "default-src 'none'" in text
    assert len(text) < 300_000


def test_several_results_and_texts_of_others(eos):
    evil = {**static_job("Cu"), "name": "<script>x.y_job", "key": "e" * 64, "warnings": ["<b>"]}
    Store().add([evil])
    assert f"Wrote {eos['formula']}-{eos['key'][:10]}.html" in call(
        "report", eos["key"], "eeeeeeee", eos["key"][:12]
    )
    with open(f"Cu-{eos['key'][:10]}.html", encoding="utf-8") as stream:
        page = Page(stream.read())
    assert page.scripts == 0
    assert len([one for one in page.sources if one.startswith("#r")]) == 2  # links within the page
    assert "<script>x.y_job of" not in page.texts
    assert any("<script>x.y_job" in one for one in page.texts)


def test_what_is_refused(eos):
    with pytest.raises(InputError, match=r"must end in \.html"):
        call("report", "latest", "-o", "page.pdf")
    call("report", "latest", "-o", "page.html")
    with pytest.raises(InputError, match="exists"):
        call("report", "latest", "-o", "page.html")
    call("report", "latest", "-o", "page.html", "--force")


def test_the_newest_of_any_kind_is_drawn(tmp_path):
    Store().add([relax_job("H2O", fmax=0.1)])
    assert "H2O: emt.relax_job" in call("results", "plot", "latest", str(tmp_path / "a.svg"))
    assert "largest force" in (tmp_path / "a.svg").read_text()
