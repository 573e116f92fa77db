"""The command line: exit codes, the last line on stderr, and what it does without importing anything heavy."""

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from phantom_series import body_hu

import ctcycle
from ctcycle.config.loading import LoadedConfig, load_config
from ctcycle.config.schema import Denoise
from ctcycle.config.shipped import config_names
from ctcycle.errors import ConfigError, CtcycleError, DivergedError, OutputError, SeriesError, StoppedError
from ctcycle.run import command as console
from ctcycle.run import main
from ctcycle.tasks.terminal.parsers import COMMANDS, EXAMPLES

ROOT = Path(__file__).parent.parent
SCAN = "task: scan\nsources: [{path: somewhere}]\n"

Tasks = Callable[[Callable[[LoadedConfig], object]], None]


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(SCAN)
    return str(tmp_path / "mine.yaml")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """Puts a function in the place of `ctcycle.tasks.running.run`."""

    def put(run: Callable[[LoadedConfig], object]) -> None:
        module = types.ModuleType("ctcycle.tasks.running")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "ctcycle.tasks.running", module)

    return put


def raises(error: BaseException) -> Callable[[LoadedConfig], object]:
    def run(_: LoadedConfig) -> None:
        raise error

    return run


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ctcycle.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, **options)  # type: ignore[call-overload,no-any-return]


def test_the_task_gets_the_config_that_was_asked_for(config: str, tasks: Tasks) -> None:
    seen: list[LoadedConfig] = []
    tasks(seen.append)
    assert main(["seed=1", "--config", config, "out=elsewhere", "seed=2"]) == 0
    assert (seen[0].name, seen[0].config.seed, seen[0].config.out) == ("mine", 2, Path("elsewhere"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("c: wrong; right it"), 2),
        (SeriesError("series 1.2: bad; look"), 3),
        (OutputError("o: full; empty it"), 4),
        (DivergedError("loss: NaN; lower lr"), 5),
        (StoppedError("stopped after epoch 3", 143), 143),
        (CtcycleError("something"), 1),
    ],
)
def test_what_goes_wrong_ends_in_its_code_and_one_sentence(
    error: CtcycleError, code: int, config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks(raises(error))
    assert main(["--config", config]) == code
    assert capsys.readouterr() == ("", f"{error}\n")


def test_a_stop_that_the_config_asked_for_is_no_failure(
    config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks(raises(StoppedError("stopped after epoch 3 as asked; the same command continues", 0)))
    assert main(["--config", config]) == 0
    assert capsys.readouterr() == ("stopped after epoch 3 as asked; the same command continues\n", "")


def test_the_keyboard(config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]) -> None:
    tasks(raises(KeyboardInterrupt()))
    assert main(["--config", config]) == 130
    assert capsys.readouterr().err.startswith("interrupted by Ctrl-C")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler(number: signal.Signals, config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]) -> None:
    tasks(lambda _: signal.raise_signal(number))
    assert main(["--config", config]) == 128 + number
    assert capsys.readouterr().err == f"interrupted by {number.name}; run the command again to resume\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_anywhere(number: int, config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]) -> None:
    tasks(raises(OSError(number, os.strerror(number), "runs/x/file")))
    assert main(["--config", config]) == 4
    assert (
        capsys.readouterr().err
        == f"runs/x/file: cannot write ({os.strerror(number)}); free up space or choose another location\n"
    )


def test_a_fault_of_the_program_shows_where_and_ends_in_a_sentence(
    config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks(raises(ZeroDivisionError("by zero")))
    assert main(["--config", config]) == 1
    *trace, last = capsys.readouterr().err.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert last == "internal error (ZeroDivisionError, traceback above); this is a bug in ctcycle, please report it"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        RuntimeError("[enforce fail]\nDefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_lack_of_memory_is_no_bug(
    error: Exception, config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks(raises(error))
    assert main(["--config", config]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("not enough memory (")
    assert line.endswith("; use smaller patches, batches, tiles or networks")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "command line: no config given; try python -m ctcycle.run --config configs/demo.yaml"),
        (["--config"], "command line: argument --config: expected one argument; "),
        (["--config", "CONFIG", "seed=1", "--config", "x"], "command line: --config is given more than once; "),
        (["--confg", "x"], "command line: unrecognized arguments: --confg; see python -m ctcycle.run --help"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: config not found"),
        (["--config", "CONFIG", "seed"], "command line: 'seed' is not of the form key.sub=value"),
        (["--config", "CONFIG", "sed=1"], "command line: unknown key 'sed'; did you mean 'seed'?"),
        (["--config", "CONFIG", "--seed=1"], "command line: unrecognized arguments: --seed=1; "),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], sentence: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([config if argument == "CONFIG" else argument for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)


def test_several_mistakes_end_in_their_number(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config, "seed=x", "sed=1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"{config}: 2 errors; nothing was run"


def test_check_prints_a_config_that_repeats_the_run(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", config, "--check", "seed=4"]) == 0
    (tmp_path / "again.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "again.yaml").config == load_config(Path(config), ["seed=4"]).config


def seconds_of_cpu(line: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, capture_output=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_check_takes_less_than_a_second() -> None:
    line = [sys.executable, "-m", "ctcycle.run", "--check", "--config", "configs/demo.yaml"]
    assert any(seconds_of_cpu(line) < 1.0 for _ in range(3))  # CPU, and three tries: the machine may be busy


@pytest.mark.parametrize("overrides", [[], ["seed=x", "sed=1"]])
def test_check_imports_nothing_heavy(config: str, overrides: list[str]) -> None:
    code = (
        "import sys; from ctcycle.run import main; main(sys.argv[1:]); "
        "print({'torch', 'monai', 'ignite', 'mlflow', 'numpy'} & set(sys.modules))"
    )
    line = [sys.executable, "-c", code, "--check", "--config", config, *overrides]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_shows_every_task_with_an_example_that_loads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    text = capsys.readouterr().out
    shown = re.findall(r"^  (\w+) .*\n +python -m ctcycle\.run --config (.*)$", text, re.MULTILINE)
    assert [task for task, _ in shown] == list(EXAMPLES)
    for task, example in shown:
        file, *overrides = example.split()
        assert load_config(ROOT / file, overrides).resolved["task"] == task


def test_help_of_the_command_shows_short_examples_that_load(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        console(["run", "--help"])
    text = capsys.readouterr().out
    shown = re.findall(r"^  (\w+) .*\n +ctcycle run (.*)$", text, re.MULTILINE)
    assert [task for task, _ in shown] == list(EXAMPLES)
    for task, example in shown:
        assert console(["run", "--check", *example.split()]) == 0
        assert capsys.readouterr().out.startswith(f"task: {task}\n")
    listed = text.partition("Shipped configs: ")[2]
    assert re.split(r",\s+", listed.strip()) == config_names()


def test_version_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"ctcycle {ctcycle.__version__}\n"
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$defs"]["Scan"]["properties"]["task"]["const"] == "scan"


def test_version_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["run", "--version"], ["denoise", "--version"]):
        with pytest.raises(SystemExit, match=r"^0$"):
            console(arguments)
        assert capsys.readouterr().out == f"ctcycle {ctcycle.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--config", "CONFIG", "seed=2"], 0), (["CONFIG", "seed=2", "--check"], 0), (["--config", "none.yaml"], 2)],
)
def test_ctcycle_run_is_python_m_ctcycle_run(
    arguments: list[str], code: int, config: str, tasks: Tasks, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[LoadedConfig] = []
    tasks(seen.append)
    arguments = [config if argument == "CONFIG" else argument for argument in arguments]
    assert main(arguments) == code
    said = capsys.readouterr()
    assert console(["run", *arguments]) == code
    assert capsys.readouterr() == said
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


@pytest.mark.parametrize("arguments", [["cyclegan", "seed=1"], ["seed=1", "cyclegan"], ["--config", "cyclegan.yaml"]])
def test_a_shipped_config_by_its_name(
    arguments: list[str], tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cyclegan.yaml").write_text(SCAN)  # a file must be asked for as a file
    seen: list[LoadedConfig] = []
    tasks(seen.append)
    assert console(["run", *arguments]) == 0
    assert seen[0].name == "cyclegan"
    assert seen[0].config.task == ("scan" if "--config" in arguments else "train")
    assert seen[0].config.seed == int("seed=1" in arguments)


def test_denoise_gets_the_shipped_bundle_and_the_options(tasks: Tasks) -> None:
    seen: list[LoadedConfig] = []
    tasks(seen.append)
    options = ["--strength", "0.7", "--residual", "--no-average-flips", "tile=64"]
    assert console(["denoise", "1.5", "a: [b", *options]) == 0  # names of folders, however they look
    config = seen[0].config
    assert isinstance(config, Denoise)
    assert (config.input, config.out, config.model) == (Path("1.5"), Path("a: [b"), None)
    assert (config.strength, config.residual, config.average_flips, config.tile) == (0.7, True, False, 64)
    assert console(["denoise", "in", "out", "--model", "1"]) == 0
    assert isinstance(seen[1].config, Denoise)
    assert seen[1].config.model == Path("1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "command line: no command given; try ctcycle denoise IN OUT"),
        (["denise"], "command line: unknown command 'denise'; did you mean 'denoise'?"),
        (["x"], "command line: unknown command 'x'; the commands are inspect, denoise, view, serve, run"),
        (["--config", "x"], "command line: unrecognized arguments: --config x; see ctcycle --help"),
        (["run"], "command line: no config given; try ctcycle run demo"),
        (["run", "cyclgan"], "command line: no shipped config named 'cyclgan'; did you mean 'cyclegan'?"),
        (["run", "demo", "scan"], "command line: 'scan' is not of the form key.sub=value"),
        (["denoise", "in"], "command line: the following arguments are required: OUT; see ctcycle denoise --help"),
        (
            ["denoise", "in", ""],
            "command line: argument OUT: the path is empty; '.' is the current folder; see ctcycle",
        ),
        (
            ["denoise", "", "out"],
            "command line: argument IN: the path is empty; '.' is the current folder; see ctcycle",
        ),
        (["denoise", "in", "out", "--model", ""], "command line: argument --model: the path is empty; "),
        (["denoise", "in", "out", "more"], "command line: 'more' is not of the form key.sub=value"),
        (
            ["denoise", "in", "out", "--strengh=1"],
            "command line: unrecognized arguments: --strengh=1; see ctcycle denoise",
        ),
        (["denoise", "in", "out", "strengh=1"], "command line: unknown key 'strengh'; did you mean 'strength'?"),
        (["denoise", "in", "out", "--strength", "3"], "command line: strength: must be at most 2, got 3"),
        (["denoise", "in", "out", "--tile", "64", "--tile", "96"], "command line: --tile is given more than once; "),
        (
            ["denoise", "in", "out", "out=other"],
            "command line: out=other: input and output are already set by IN and OUT",
        ),
    ],
)
def test_a_wrong_command(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)


@pytest.mark.parametrize(("seconds", "code"), [("abc", 2), ("", 2), ("-1", 2), ("0.5", 0), ("10", 0)])
def test_the_interval_of_progress_bars(
    seconds: str, code: int, config: str, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks(lambda _: None)
    monkeypatch.setenv("TQDM_MININTERVAL", seconds)
    assert main(["--config", config]) == code


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        console(["--help"])
    text = capsys.readouterr().out
    for name, (_, example) in COMMANDS.items():
        assert f"\n  {name} " in text
        assert example in text


def test_as_a_program() -> None:
    done = command("--config", "nowhere.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "nowhere.yaml: config not found\n")


def test_a_reader_that_leaves_is_no_reason_to_complain() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ctcycle.run", "--schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


BARS = """
import sys, types
from tqdm import tqdm
from ctcycle.errors import SeriesError
from ctcycle.run import main

def run(_):
    outer = tqdm(total=3, desc="outer", leave=False)
    for _ in tqdm(range(3), desc="inner", leave=False):
        {raises}

sys.modules["ctcycle.tasks.running"] = types.ModuleType("ctcycle.tasks.running")
sys.modules["ctcycle.tasks.running"].run = run
sys.exit(main(["--config", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("raises", "code", "last"),
    [
        ("raise SeriesError('series 1.2: bad; look')", 3, "series 1.2: bad; look"),
        ("1 / 0", 1, "internal error (ZeroDivisionError, traceback above); this is a bug in ctcycle, please report it"),
    ],
)
def test_open_bars_leave_the_last_line_to_the_sentence(
    raises: str, code: int, last: str, config: str, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        line = [sys.executable, "-c", BARS.format(raises=raises), config]
        assert subprocess.run(line, stderr=log, check=False, cwd=ROOT).returncode == code
    *before, sentence, rest = (tmp_path / "log").read_bytes().decode().split("\n")  # splitlines would split at \r, too
    assert (sentence, rest) == (last, "")
    assert any("outer" in text for text in before)


def test_a_full_disk_behind_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-m", "ctcycle.run", "--schema"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert done.returncode == 4
    assert (
        done.stderr.splitlines()[-1]
        == "output: cannot write (No space left on device); free up space or choose another location"
    )


def test_warnings_of_third_parties_are_hidden_and_ours_are_not(config: str, tasks: Tasks) -> None:
    def warn(_: LoadedConfig) -> None:
        warnings.warn("`torch.jit.interface` is deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn_explicit("value 'Doe^Jane' is invalid", UserWarning, "valuerep.py", 1, module="pydicom.valuerep")
        warnings.warn("something of ours", UserWarning, stacklevel=1)

    tasks(warn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(["--config", config]) == 0
    assert [str(warning.message) for warning in caught] == ["something of ours"]


@pytest.mark.slow
def test_denoising_imports_only_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "x_1.npy", body_hu(1, 64)[0])
    line = f"""
import sys
from ctcycle.run import command
code = command(["denoise", {str(tmp_path / "in")!r}, {str(tmp_path / "out")!r}])
heavy = {{"monai", "mlflow", "ignite", "matplotlib", "pandas", "skimage", "torch._dynamo"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else code)
"""
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
