"""The console script."""

from __future__ import annotations


def main() -> int:
    from fortctl.commands.app import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
