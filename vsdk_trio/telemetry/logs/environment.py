"""Says what the environment has that does not do what somebody may think that it does.

Knows variables and options; reads no option's value from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import OptionsError
from ...options.registry_address import OLDER_NAMES, Source, address_options
from ...options.texts import service_links
from ...options.worker import Options
from .loggers import get_logger

logger = get_logger("vsdk_trio.environment")


def tell_of_environment(options: Options, environ: Mapping[str, str]) -> None:
    """Log what is set and left out: once, as a program begins.

    That is: the links that Kubernetes sets for a Service, and, for a worker, a registry that the
    environment names and `options` do not.
    """
    tell_of_service_links(environ)
    if options.register:
        _tell_of_another_registry(options, environ)


def tell_of_service_links(environ: Mapping[str, str]) -> None:
    """Log the links that Kubernetes sets for a Service."""
    if links := service_links(environ):
        logger.warning(
            "%s: set by Kubernetes for a Service of that name, no option, ignored; "
            "enableServiceLinks: false in the pod's spec leaves them out",
            ", ".join(links),
        )


def _tell_of_another_registry(options: Options, environ: Mapping[str, str]) -> None:
    source = Source.of_environment(environ)
    try:
        named = address_options(source)
    except OptionsError as error:
        logger.warning("not used: %s", error)
        return
    used = {name: getattr(options, name) for name in named}
    if used != named:
        there = next(value for name in OLDER_NAMES if (value := getattr(options, name)))
        said = source.address or next(value for name in OLDER_NAMES if (value := named.get(name)))
        logger.warning(
            "the registry is %s, as the options say, and not %s, as the environment does: "
            "write Options.from_env(...), which reads it, or start the agent by `vsdk-trio run`",
            there,
            said,
        )
