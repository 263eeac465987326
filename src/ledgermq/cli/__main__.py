"""``python -m ledgermq.cli``: the command, where no console script is installed."""

from ledgermq.cli.main import main

if __name__ == "__main__":
    main()
