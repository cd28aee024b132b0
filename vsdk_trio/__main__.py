"""`python -m vsdk_trio`, and the program `vsdk-trio`."""

from __future__ import annotations

from .system.signals import heed_signals_as_process_1, interrupts_end_quietly


def main() -> None:
    """Run the program. While it is loaded, and after its end, SIGINT shows no traceback."""
    heed_signals_as_process_1()
    interrupts_end_quietly()
    from .cli.app import main as run

    try:
        run()
    finally:
        interrupts_end_quietly()


if __name__ == "__main__":
    main()
