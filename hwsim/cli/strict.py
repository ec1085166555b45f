"""Commands that refuse what click lets the last of several win silently."""

from __future__ import annotations

import click


class Strict(click.Command):
    """A command whose options of one value are given once: a second one is refused."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Count what is given, then parse as click does."""
        given = self.make_parser(ctx).parse_args(args=list(args))[2]
        for param in dict.fromkeys(given):
            single = isinstance(param, click.Option) and not (param.multiple or param.is_flag or param.count)
            if single and given.count(param) > 1:
                ctx.fail(f"{max(param.opts, key=len)} must be given once, not {given.count(param)} times")
        return super().parse_args(ctx, args)
