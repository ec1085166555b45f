"""``python -m hwsim`` is the ``hwsim`` command."""

from hwsim.cli.main import main

if __name__ == "__main__":
    main()
