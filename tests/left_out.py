"""`python -m tests.left_out`: say what `tox` without arguments leaves out, and how to run it."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

TOX_INI = Path(__file__).parent.parent / "tox.ini"


def read_tox_ini() -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    config.read(TOX_INI, encoding="utf-8")
    return config


def names_in(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text)


def long_ones(config: configparser.ConfigParser) -> list[str]:
    """The environments of the label `long`."""
    found = re.search(r"^long = (.+)$", config["tox"]["labels"], re.MULTILINE)
    assert found, "tox.ini has no label `long`"
    return names_in(found[1])


def others(config: configparser.ConfigParser) -> list[str]:
    """The environments that neither `tox` nor `tox -m long` runs."""
    run = {*names_in(config["tox"]["env_list"]), *long_ones(config)}
    defined = [s.removeprefix("testenv:") for s in config if s.startswith("testenv:")]
    return [name for name in defined if name not in run]


def lines() -> Iterator[str]:
    config = read_tox_ini()
    yield "Left out, because it takes long. `tox -m long` runs all of it, `tox -e NAME` a part:"
    yield from (_line(config, name) for name in long_ones(config))
    yield "Left out by both, because it takes hours or measures the machine; `tox -e NAME` runs it:"
    yield from (_line(config, name) for name in others(config))


def _line(config: configparser.ConfigParser, name: str) -> str:
    return f"  {name:<12} {config[f'testenv:{name}']['description']}"


if __name__ == "__main__":
    for line in lines():
        print(line)
