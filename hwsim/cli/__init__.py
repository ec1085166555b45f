"""The ``hwsim`` command."""
