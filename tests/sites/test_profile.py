"""Site profiles: reading them, and the job scripts that come of them."""

import subprocess
from pathlib import Path

import pytest

from quacc.cluster.slurm import walltime_seconds
from quacc.errors import ParameterError, SettingsError
from quacc.sites.profile import FIELDS, job_script, load_site, site_names, user_folder

CENTRES = ["perlmutter-cpu", "perlmutter-gpu", "frontier", "lumi-c", "archer2"]


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """The folder of a person's own profiles, which has none of the other tests'."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return user_folder()


def header(site, **changes):
    lines = job_script(load_site(site).with_changes(**changes)).splitlines()
    return [line for line in lines if line.startswith("#")]


def test_all_profiles_that_come_with_quacc_say_where_they_come_from():
    assert set(site_names()) == {"local", "devcluster", *CENTRES, "template"}
    for name in site_names():
        site = load_site(name)
        assert site.name == name
        assert site.description
        assert site.sources
        if name in CENTRES:
            assert "https://" in " ".join(site.sources)
            assert site.required == ("account",)
    assert all(field.description for field in FIELDS.values())


@pytest.mark.parametrize("name", CENTRES)
def test_a_missing_account_is_told_before_anything_else(name):
    with pytest.raises(SettingsError, match=f'make_runner.site="{name}", account="…".') as told:
        load_site(name).cluster_kwargs()
    assert f"{name}.yaml, which begins with 'base: {name}'" in str(told.value)
    assert load_site(name).cluster_kwargs({"account": "m1"})["account"] == "m1"


def test_perlmutter_asks_for_whole_nodes_as_nersc_documents():
    lines = header("perlmutter-cpu", account="m1234", walltime="02:00:00", nodes=2)
    for line in ("-A m1234", "-q regular", "-C cpu", "-N 2", "--mem=0", "-t 02:00:00"):
        assert f"#SBATCH {line}" in lines
    assert not any(
        line.startswith(("#SBATCH -n", "#SBATCH --cpus", "#SBATCH -p")) for line in lines
    )
    assert "#SBATCH --gpus-per-node=4" in header("perlmutter-gpu", account="m1234")
    script = job_script(load_site("perlmutter-cpu").with_changes(account="m1234"))
    assert 'export QUACC_SCRATCH_DIR="$PSCRATCH"' in script
    assert "--interface hsn0" in script
    assert "--nworkers 128" in script


def test_archer2_and_lumi_get_the_memory_directives_they_document():
    archer2 = header("archer2", account="e05")
    assert not any("--mem" in line for line in archer2)
    assert archer2[0] == "#!/bin/bash --login"
    assert "#SBATCH -q standard" in archer2
    lumi = header("lumi-c", account="project_1")
    assert [line for line in lumi if "--mem" in line] == ["#SBATCH --mem=224G"]
    # Nothing is made by looking at a script.
    assert not Path("/work/e05").exists()


def test_parts_of_nodes_are_asked_for_in_full():
    lines = header("devcluster", cores=2, memory="2GiB", nodes=1)
    assert {"#SBATCH -n 1", "#SBATCH --cpus-per-task=2", "#SBATCH --mem=2G"} <= set(lines)
    lines = header("devcluster", cores=2, nodes=2)
    assert {"#SBATCH -N 2", "#SBATCH --ntasks-per-node=2"} <= set(lines)
    assert "#SBATCH -n 1" not in lines


def test_every_worker_does_one_calculation_at_a_time():
    site = load_site("devcluster").with_changes(cores=8, processes=2)
    kwargs = site.cluster_kwargs()
    assert kwargs["cores"] == kwargs["processes"] == 2
    assert kwargs["job_cpu"] == 8
    script = job_script(site)
    assert "--nthreads 1" in script
    assert "--nworkers 2" in script


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"cores": 16, "processes": 1}, "go 1 16 16 0"),
        ({"cores": 16, "processes": 4}, "go 1 4 4 0"),
        ({"cores": 16}, "go 1 1 1 0"),
        ({"cores": 16, "nodes": 3}, "go 3 16 48 0"),
        ({"cores": 16, "nodes": 3, "gpus": 4}, "go 3 16 12 4"),
    ],
)
def test_the_launcher_knows_the_share_of_one_worker(changes, command):
    site = load_site("devcluster").with_changes(
        launcher="go {nodes} {cores} {ranks} {gpus}", **changes
    )
    assert site.launcher_command() == command


def test_no_launcher():
    assert load_site("local").launcher_command() == ""


def test_pbs():
    changes = {"scheduler": "pbs", "account": "m1", "queue": "big", "cores": 16, "gpus": 2}
    changes |= {"memory": "64GiB", "nodes": 2, "walltime": "1-01:00:30", "constraint": "milan"}
    lines = header("template", **changes, exclusive=True, directives=["-M me"])
    assert "#PBS -l select=2:ncpus=16:mem=65536MB:ngpus=2:milan" in lines
    assert {"#PBS -A m1", "#PBS -q big", "#PBS -l walltime=25:00:30"} <= set(lines)
    assert {"#PBS -l place=excl", "#PBS -M me"} <= set(lines)
    assert not any(
        "#PBS -q" in line for line in header("template", **changes, skip_directives="-q")
    )


def test_sge():
    lines = header("template", scheduler="sge", account="m1", directives="-pe smp 4")
    assert {"#$ -P m1", "#$ -pe smp 4", "#$ -l h_rt=00:30:00"} <= set(lines)
    with pytest.raises(ParameterError, match="gpus and exclusive as directives"):
        load_site("template").with_changes(scheduler="sge", gpus=1)


def test_lsf():
    lines = header("template", scheduler="lsf", account="m1", nodes=2, walltime="00:10:01", gpus=1)
    assert {"#BSUB -n 8", "#BSUB -W 00:11", '#BSUB -P "m1"', '#BSUB -gpu "num=1"'} <= set(lines)
    assert [line for line in lines if "span" in line] == ['#BSUB -R "span[ptile=4]"']


def test_explicit_keywords_win():
    site = load_site("perlmutter-cpu").with_changes(account="m1")
    kwargs = site.cluster_kwargs({"cores": 4, "memory": "8GB", "n_workers": 3, "queue": "x"})
    assert (kwargs["cores"], kwargs["n_workers"], kwargs["queue"]) == (4, 3, "x")
    assert "processes" not in kwargs  # as dask-jobqueue documents it for cores
    assert "job_cpu" not in kwargs
    pbs = load_site("template").with_changes(scheduler="pbs")
    assert "resource_spec" not in pbs.cluster_kwargs({"cores": 2})
    own = {"resource_spec": "select=1"}
    assert pbs.cluster_kwargs({"cores": 2} | own)["resource_spec"] == "select=1"


def test_local_has_no_jobs():
    local = load_site("local")
    assert local.cluster_class is None
    assert local.cluster_kwargs() == {}
    assert local.with_changes(processes=2).cluster_kwargs() == {"n_workers": 2}
    with pytest.raises(SettingsError, match="no jobs"):
        job_script(local)


def test_a_persons_own_profiles_come_first(mine):
    assert load_site("devcluster").queue == "main"
    write(mine, "devcluster", "memory: 2GB\nqueue: other\n")
    assert load_site("devcluster").queue == "other"
    assert load_site("devcluster").interface is None  # nothing is inherited unasked
    write(mine, "devcluster", "base: devcluster\naccount: 12345\nqueue:\n")
    site = load_site("devcluster")
    assert (site.account, site.queue, site.interface) == ("12345", None, "lo")
    assert site_names()["devcluster"].parent == mine
    assert list(site_names()) == sorted(site_names())


def test_a_path(tmp_path):
    file = write(tmp_path, "anything", "memory: 2GB\nprologue: module load x\n")
    assert load_site(file) == load_site(str(file))
    assert load_site(file).prologue == ("module load x",)
    assert load_site(file).file == file


def test_all_mistakes_are_told_with_their_lines(tmp_path):
    file = write(
        tmp_path,
        "wrong",
        "# mine\nmemory: 2GB\npartition: debug\nwaltime: 1\ncores: many\nwalltime: 30 minutes\n"
        "launcher: srun -n {tasks}\nprologue:\n  - a\n",
    )
    with pytest.raises(SettingsError) as told:
        load_site(file)
    lines = str(told.value).splitlines()
    assert all(line.startswith(f"{file}, line ") for line in lines)
    text = "\n".join(line.removeprefix(f"{file}, ") for line in lines)
    assert "line 3: 'partition' is not a field of a site. It is called queue here." in text
    assert "line 4: 'waltime' is not a field of a site. Did you mean 'walltime'?" in text
    assert "line 5: cores = 'many' is wrong" in text
    assert "line 6: walltime = '30 minutes' is wrong: write HH:MM:SS" in text
    assert "line 7: launcher = 'srun -n {tasks}' is wrong" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memory: [2GB", "line 1"),
        ("just text", "line 1"),
        ("cores: 4", "memory is missing"),
        ("base: perlmuter-cpu", "line 1: base: .* Did you mean 'perlmutter-cpu'"),
        ("name: x\nmemory: 1GB", "'name' is not a field"),
        ("memory: 1GB\nqueue: 'a\n\n  b'", "one line"),
        ("memory: 1GB\nrequired: acount", "acount is not a field"),
        ("memory: 1GB\nmin_jobs: 3", "min_jobs: 3 is more than max_jobs: 1"),
        ("memory: 1GB\nprocesses: 3\ncores: 2", "processes: 3 is more than cores: 2"),
        ("memory: 1GB\nscheduler: pbs\nqos: x", "qos is Slurm's"),
    ],
)
def test_wrong_files(tmp_path, text, told):
    file = write(tmp_path, "wrong", text)
    with pytest.raises(SettingsError, match=told) as error:
        load_site(file)
    assert str(file) in str(error.value)


def test_unknown_sites(tmp_path):
    with pytest.raises(SettingsError, match="Did you mean 'perlmutter-cpu'"):
        load_site("perlmuter-cpu")
    with pytest.raises(SettingsError, match="Cannot read"):
        load_site(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"waltime": "1:00:00"},
        {"walltime": "2:00"},
        {"walltime": "00:00:00"},
        {"walltime": "1-24:00:00"},
        {"walltime": "00:60:00"},
        {"memory": "all"},
        {"memory": "0GB"},
        {"cores": 0},
        {"nodes": 1.5},
        {"gpus": -1},
        {"queue": "a\nb"},
        {"account": " "},
        {"scheduler": "condor"},
        {"launcher": "srun {0}"},
        {"launcher": "srun {"},
        {"name": "x"},
    ],
)
def test_wrong_changes(changes):
    with pytest.raises(ParameterError, match=next(iter(changes))):
        load_site("devcluster").with_changes(**changes)


def test_changes_leave_the_site_alone():
    site = load_site("devcluster")
    assert site.with_changes(queue=None).queue is None
    assert site.with_changes(cores="4").cores == 4
    assert site.with_changes() == site == load_site("devcluster")


def test_folders_are_expanded_where_the_flow_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setenv("PROJECT", str(tmp_path))
    site = load_site("devcluster").with_changes(account="m1", shared="$PROJECT/{account}")
    assert site.expand(site.shared) == f"{tmp_path}/m1"
    assert "$" not in site.expand("/x/$USER")
    assert site.with_changes(log_directory="$PROJECT/l").logs == f"{tmp_path}/l"
    with pytest.raises(SettingsError, match=r"\$NOT_SET is not set here"):
        site.expand("/x/$NOT_SET")


@pytest.mark.parametrize(
    ("walltime", "expected"), [("00:00:01", 1), ("100:00:00", 360000), ("1-02:03:04", 93784)]
)
def test_walltimes(walltime, expected):
    assert walltime_seconds(walltime) == expected


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("changes", "nodes", "ranks"),
    [
        ({"cores": 2, "processes": 1}, 1, 2),
        ({"cores": 2, "nodes": 2}, 2, 4),
        ({"cores": 2, "nodes": 2, "exclusive": True}, 2, 4),
    ],
)
def test_slurm_gives_what_a_site_asks_for(slurm, tmp_path, changes, nodes, ranks):
    site = load_site("devcluster").with_changes(**changes)
    kept = [line for line in job_script(site).splitlines() if line.startswith("#")]
    command = f"{site.launcher_command()} printenv SLURMD_NODENAME"
    script = tmp_path / "job.sh"
    script.write_text("\n".join([*kept, command]) + "\n")
    output = tmp_path / "output.txt"
    subprocess.run(["sbatch", "--wait", "-o", output, script], check=True, timeout=60)
    printed = output.read_text().split()
    assert len(printed) == ranks
    assert len(set(printed)) == nodes
