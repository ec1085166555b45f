"""Entry point: subcommands are imported when they are called, errors become one line and exit code 2."""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS = {
    "compare": ("hwsim.cli.compare", "Put quantization schemes side by side on one network and machine."),
    "layouts": ("hwsim.cli.layouts", "Tell which scale layouts can be dequantized after accumulation."),
    "explore": ("hwsim.cli.explore", "Read every point of a design space: time, energy, area, Pareto fronts."),
    "simulate": ("hwsim.cli.simulate", "Cycles, energy, area and error of one network, GEMM or file."),
    "area": ("hwsim.cli.area", "Area of one machine that runs several schemes, part by part."),
    "qat": ("hwsim.cli.qat", "Train digits quantized and compare accuracy with quantization after training."),
    "claims": ("hwsim.cli.claims", "Measure the claims of the source documents on quantization again."),
    "presets": ("hwsim.cli.presets", "List presets, or print one as YAML that loads back."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is used, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            msg = f"{cmd_name} must be a click command, not {type(command).__name__}"
            raise TypeError(msg)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, naming the nearest command when there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from quant.documents import suggest

            ctx.fail(f"No such command {args[0]!r}; {suggest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwsim")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def cli(debug: bool) -> None:
    """Bit-accurate models of integer matrix hardware: error, latency, energy and area of quantization schemes."""


def main() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    debug = "--debug" in sys.argv[1:]
    # The flag may stand anywhere, as a user adds it to the end of the line that failed.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = cli.main(args=arguments, prog_name="hwsim", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("hwsim: interrupted", err=True)
        sys.exit(130)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"hwsim: {_one_line(error.format_message())}{where}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"hwsim: {_one_line(error.format_message())}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output, such as head, has seen enough.
        sys.stderr.close()
        sys.exit(141)
    except (ValueError, TypeError, ArithmeticError, OSError) as error:
        if debug:
            raise
        notes = " ".join(getattr(error, "__notes__", []))
        click.echo(f"hwsim: {_one_line(_text(error))}{f' ({notes})' if notes else ''}", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())
