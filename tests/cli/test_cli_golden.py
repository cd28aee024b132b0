"""Help and errors, word for word.

`UPDATE_GOLDEN=1 pytest tests/cli/test_cli_golden.py` writes them anew; then look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vsdk_trio.cli._flags import HEADINGS, help_of
from vsdk_trio.cli.app import PANELS, load_command

from .conftest import Done, run_cli

GOLDEN = Path(__file__).with_name("golden")
COMMANDS = [name for commands in PANELS.values() for name in commands]

ERRORS = {
    "no-command": (),
    "unknown-command": ("disptch",),
    "unknown-option": ("run", "agent.py", "--max-proceses", "2"),
    "missing-argument": ("run",),
    "missing-value": ("dispatch", "a", "--room"),
    "no-such-file": ("run", "agnt.py"),
    "no-such-module": ("run", "no.such.module"),
    "no-job-in-file": ("run", "plain.py"),
    "no-such-name": ("run", "agent.py:nobody"),
    "does-not-load": ("run", "broken.py"),
    "not-a-number": ("run", "agent.py", "--max-processes", "many"),
    "out-of-range": ("run", "agent.py", "--port", "70000"),
    "not-one-of": ("run", "agent.py", "--log-level", "LOUD"),
    "no-registry": ("jobs", "--registry", "http://127.0.0.1:1"),
    "no-registry-dispatch": ("dispatch", "a", "--registry", "http://127.0.0.1:1"),
    "no-url": ("workers", "--registry", "nowhere"),
    "no-worker": ("drain", "http://127.0.0.1:1"),
    "nothing-to-watch": ("top", "http://127.0.0.1:1"),
    "bad-metadata": ("dispatch", "a", "--metadata", "{"),
    "metadata-is-no-object": ("connect", "agent.py", "--metadata", "[]"),
    "unknown-room-option": ("connect", "agent.py", "--room-options", "options.json"),
    "doctor-without-token": ("doctor", "--signaling-base-url", "http://127.0.0.1:1"),
    "too-often": ("top", "--every", "0.1"),
}


def fill(directory: Path) -> None:
    (directory / "agent.py").write_text("async def entrypoint(ctx): ...\n")
    (directory / "plain.py").write_text("async def act(ctx): ...\n")
    (directory / "broken.py").write_text("import trio\n\nx = (\n")
    (directory / "options.json").write_text('{"nam": "x"}\n')


def compare(name: str, args: tuple[str, ...], done: Done, directory: Path) -> None:
    said = f"$ vsdk-trio {' '.join(args)}\n{done.out}{done.err}[{done.code}]\n"
    lines = (line.rstrip() for line in said.replace(str(directory), "/work").split("\n"))
    text = "\n".join(lines).replace("python -m vsdk_trio", "vsdk-trio")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.real
@pytest.mark.parametrize("command", ["", *COMMANDS])
async def test_help(command: str, tmp_path: Path) -> None:
    args = (*filter(None, [command]), "--help")
    done = await run_cli(*args, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    compare(f"help-{command or 'vsdk-trio'}", args, done, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("columns", [40, 80])
async def test_help_cuts_no_name_off(columns: int) -> None:
    for command in ("run", "connect"):
        done = await run_cli(command, "--help", env={"COLUMNS": str(columns)})
        assert max(map(len, done.out.splitlines())) <= columns or columns < 80
        for parameter in load_command(command).params:
            for name in (*parameter.opts, *parameter.secondary_opts):
                assert not name.startswith("--") or name in done.out, name


@pytest.mark.real
@pytest.mark.parametrize("name", ERRORS)
async def test_error(name: str, tmp_path: Path) -> None:
    fill(tmp_path)
    args = ERRORS[name]
    done = await run_cli(*args, cwd=tmp_path)
    assert done.code != 0
    if name not in ("no-command", "doctor-without-token"):
        assert done.out == ""  # errors are for stderr
    assert "Traceback" not in done.err
    compare(name, args, done, tmp_path)


def test_there_is_no_golden_file_for_nothing() -> None:
    known = {f"help-{name}" for name in ["vsdk-trio", *COMMANDS]} | ERRORS.keys()
    assert {path.stem for path in GOLDEN.iterdir()} == known


@pytest.mark.parametrize("command", COMMANDS)
def test_the_programs_help_says_of_a_command_what_the_command_says(command: str) -> None:
    says = {name: text for commands in PANELS.values() for name, text in commands.items()}
    assert load_command(command).help.split("\n\n")[0].replace("\n", " ") == says[command]


def test_every_option_has_a_flag_or_is_secret_and_a_line_of_help() -> None:
    from vsdk_trio.options.environment import text_options
    from vsdk_trio.options.room import RoomOptions
    from vsdk_trio.options.worker import Options

    flags = {param.name for param in load_command("run").params}
    for option in text_options(Options).values():
        assert option.name in help_of(Options), f"say what {option.name} is in Options"
        assert any(option.name in names for names in HEADINGS.values()), option.name
        assert (option.name in flags) == (not option.is_secret and option.name != "register")
    flags = {param.name for param in load_command("connect").params}
    for option in text_options(RoomOptions).values():
        if not option.is_secret and option.kind is not dict and option.name != "room_id":
            assert option.name in help_of(RoomOptions), f"say what {option.name} is in RoomOptions"
            assert option.name in flags
