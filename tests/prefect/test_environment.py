"""What a person's environment and files may say, and nothing of quacc's may depend on."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cloudpickle
import dask
import httpx
import pytest
from prefect import flow

from quacc.cluster.dask_config import CONFIG, configured, overridden
from quacc.cluster.loopback import no_proxy_for_loopback
from quacc.cluster.slurm_env import for_sbatch
from quacc.errors import JobsFailedError
from quacc.prefect import fan_out, make_runner
from quacc.settings import get_settings

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@contextmanager
def answering(status):
    """Answer every request with a status; yield the address, and a list of what was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.requestline)
            self.send_response(status)
            self.end_headers()

        do_POST = do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def no_proxies(monkeypatch):
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_proxies")
class TestProxy:
    @pytest.mark.parametrize("name", [name for name in PROXIES if "https" not in name.lower()])
    @pytest.mark.parametrize("excepted", [{}, {"no_proxy": ""}, {"NO_PROXY": "intra.example"}])
    def test_the_loopback_is_asked_directly(self, name, excepted, monkeypatch):
        with answering(503) as (proxy, asked), answering(200) as (server, _):
            for variable, value in ({name: proxy} | excepted).items():
                monkeypatch.setenv(variable, value)
            assert httpx.get(server).status_code == 503
            asked.clear()
            no_proxy_for_loopback()
            assert httpx.get(server).status_code == 200
            assert httpx.get(server.replace("127.0.0.1", "localhost")).status_code == 200
            assert asked == []
            assert httpx.get("http://api.example/").status_code == 503  # the person's choice

    def test_what_a_person_excepts_stays(self, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "intra.example, 10.0.0.1")
        no_proxy_for_loopback()
        wanted = "intra.example,10.0.0.1,127.0.0.1,localhost,::1"
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == wanted
        no_proxy_for_loopback()
        assert os.environ["NO_PROXY"] == wanted

    def test_nothing_changes_without_a_proxy(self):
        no_proxy_for_loopback()
        assert "no_proxy" not in os.environ

    @pytest.mark.usefixtures("server_for_all")
    def test_a_flow_asks_its_own_server(self):
        with answering(503) as (proxy, asked):
            told = run(
                "print(f()[0])",
                env=dict.fromkeys(PROXIES, proxy),
            )
        assert told.splitlines()[-1] == "[1, 2]"
        assert asked == []


SCRIPT = """
from prefect import flow
from quacc.errors import JobsFailedError
from quacc.prefect import fan_out, make_runner


def job(structure):
    from multiprocessing import Pool
    with Pool(2) as pool:
        return pool.map(abs, [1, -2])


@flow
def f():
    return fan_out(job, ["Cu"]).results()


def g(**kwargs):
    return f.with_options(task_runner=make_runner(**kwargs))()


if __name__ == "__main__":
    f = f.with_options(task_runner=make_runner())
"""


def run(line, env=None, seconds=150):
    """Run a script of a user's that ends with a line; return what it prints."""
    Path("flow.py").write_text(f"{SCRIPT}    {line}\n")
    done = subprocess.run(
        [sys.executable, "flow.py"],
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


NASTY = """
distributed:
  worker:
    memory: {terminate: 0, pause: 0.0001}
    lifetime: {duration: 1s, restart: true}
    preload: [no.such.module]
    blocked-handlers: [compute-task]
  nanny:
    environ: {QUACC_SCRATCH_DIR: relative}
    preload: [no.such.module]
  scheduler:
    {allowed-failures: 9, worker-ttl: 1s, idle-timeout: 1s, blocked-handlers: [heartbeat_worker]}
  comm:
    timeouts: {connect: 1ms, tcp: 1ms}
    compression: no-such-one
  admin: {max-error-length: 1}
jobqueue:
  slurm: {death-timeout: 1, nanny: false, worker-command: no.such.module}
"""


@pytest.fixture
def nasty_dask(tmp_path, monkeypatch):
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "dask.yaml").write_text(NASTY)
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE", "0.0")
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION", "1s")


@pytest.mark.usefixtures("nasty_dask")
class TestDaskFile:
    @pytest.mark.usefixtures("server_for_all")
    def test_local_workers_live(self):
        assert run("print(f()[0])").splitlines()[-1] == "[1, 2]"

    @pytest.mark.slurm
    @pytest.mark.usefixtures("server_for_all")
    def test_workers_in_jobs_live(self, on_slurm):
        told = run(f"print(g(cluster_kwargs={on_slurm!r})[0])")
        assert told.splitlines()[-1] == "[1, 2]"


def test_dask_is_configured_while_a_runner_needs_it():
    name = "distributed.scheduler.worker-ttl"
    with dask.config.set({name: "20m", "distributed.worker.lifetime.duration": "1s"}):
        assert overridden() == ["distributed.worker.lifetime.duration"]
        with configured():
            with configured():
                assert dask.config.get("distributed.worker.lifetime.duration") is None
            assert {key: dask.config.get(key) for key in CONFIG} == CONFIG
            assert dask.config.get(name) == "20m"
        assert dask.config.get("distributed.worker.lifetime.duration") == "1s"
    with dask.config.set({name: "1s"}), configured():
        assert dask.config.get(name) == "5 minutes"


def seen(structure):
    keys = ("SLURM_CPU_BIND", "SLURM_NTASKS_PER_NODE", "SBATCH_TIMELIMIT", "SLURM_JOB_ID")
    settings = get_settings()
    job = os.environ["SLURM_JOB_ID"]
    limit = subprocess.run(
        ["squeue", "-h", "-o", "%l", "-j", job], capture_output=True, text=True, check=True
    )
    return {
        "environment": {key: os.environ[key] for key in keys if key in os.environ},
        "commands": settings.commands,
        "compress": settings.compress,
        "store": settings.store,
        "limit": limit.stdout.strip(),
    }


@flow
def seen_flow():
    return fan_out(seen, ["Cu"]).results()


@pytest.mark.slurm
@pytest.mark.usefixtures("prefect_server")
def test_the_environment_of_a_submission_decides_nothing(on_slurm, monkeypatch, tmp_path, slurm):
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(tmp_path, ".quacc.yaml").write_text("compress: false\ncommands: {orca: /opt/orca}\n")
    for name, value in {
        "SBATCH_TIMELIMIT": "00:01:00",
        "SBATCH_EXPORT": "NONE",
        "SBATCH_PARTITION": "no-such",
        "SLURM_CPU_BIND": "verbose,mask_cpu:0x1",
        "SLURM_NTASKS_PER_NODE": "7",
        "QUACC_COMMANDS__VASP": "srun -n 4 vasp it's",
        "QUACC_STORE": "postgresql://me:secret@db.example/quacc",
    }.items():
        monkeypatch.setenv(name, value)
    asks = on_slurm["job_extra_directives"]
    kwargs = on_slurm | {
        "queue": "main",
        # Of the flow's environment, then, only what the script itself says is there.
        "job_extra_directives": [*asks, "--export=SLURM_CONF,PATH,HOME=/nonexistent"],
    }
    monkeypatch.delenv("QUACC_STORE")
    (found,) = seen_flow.with_options(task_runner=make_runner(kwargs))()
    assert found["environment"].keys() == {"SLURM_JOB_ID"}
    assert found["limit"] == "10:00"
    assert found["commands"] == {"vasp": "srun -n 4 vasp it's", "orca": "/opt/orca"}
    assert not found["compress"]


def test_sbatch_variables_may_say_who_pays_where_the_script_does_not():
    given = {"SBATCH_ACCOUNT": "m1", "SBATCH_QOS": "debug", "SLURM_CONF": "/etc/slurm", "A": "b"}
    given |= {"SBATCH_MEM_PER_CPU": "1", "SLURM_JOB_ID": "3", "CUDA_VISIBLE_DEVICES": "1"}
    kept, left_out = for_sbatch(given, {"--qos"})
    assert kept == {"SBATCH_ACCOUNT": "m1", "SLURM_CONF": "/etc/slurm", "A": "b"}
    assert left_out == ["SBATCH_MEM_PER_CPU", "SBATCH_QOS"]


def pools(structure):
    """Start processes in every way that Python has."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    found = []
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, context) as pool:
            found.append(list(pool.map(abs, [1, -2])))
        with context.Pool(2) as pool:
            found.append(pool.map(abs, [1, -2]))
    return found


def ended_at_once(_):
    """Return how many of the forked processes outlive a SIGTERM that comes at once."""
    import multiprocessing
    import time

    left = 0
    for _ in range(300):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join(5)
        left += child.is_alive()
        child.kill()
    return left


def fatal(folder):
    """Leave a process behind, and die."""
    import multiprocessing
    import time

    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    Path(folder, str(child.pid)).touch()
    os.kill(os.getpid(), 9)


@flow
def pools_flow(job, structure):
    return fan_out(job, [structure]).results()


@pytest.mark.usefixtures("prefect_server")
class TestProcesses:
    def test_a_job_starts_processes_on_a_local_worker(self):
        assert pools_flow.with_options(task_runner=make_runner())(pools, "Cu") == [[[1, 2]] * 6]

    def test_a_process_that_is_ended_while_it_starts_ends(self):
        flow = pools_flow.with_options(task_runner=make_runner())
        assert flow(ended_at_once, "Cu") == [0]

    @pytest.mark.slurm
    def test_a_job_starts_processes_in_a_slurm_job(self, on_slurm):
        runner = make_runner(on_slurm)
        assert pools_flow.with_options(task_runner=runner)(pools, "Cu") == [[[1, 2]] * 6]

    def test_they_end_with_the_worker(self, tmp_path):
        import psutil

        with pytest.raises(JobsFailedError):
            pools_flow.with_options(task_runner=make_runner())(fatal, str(tmp_path))
        pids = [int(file.name) for file in tmp_path.iterdir()]
        left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        _, alive = psutil.wait_procs(left, timeout=20)
        assert pids
        assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
