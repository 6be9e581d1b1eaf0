"""Groups and commands whose plain help has sections and examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from dnabench.cli.errors import fail, report_errors
from dnabench.sweep.numbers import LARGEST, digits

F = TypeVar("F", bound=Callable[..., Any])
HEAD = "Examples:\n\n    "  # then a command on each line: a code block in Markdown
MARGINS = 4  # columns left of the name of a command, and between it and its one-line help

# a flag that a command does not have, though it may be looked for there -> what to write
ELSEWHERE = {("plan", "--pretrain"): "dnabench pretrain MODEL ... --plan"}


class _Sections:
    """Help with a section per `rich_help_panel` and examples that are not wrapped."""

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        """Write commands, arguments and options under the headings of their sections."""
        commands = getattr(self, "commands", {})
        room = formatter.width - max(map(len, commands), default=0) - MARGINS
        rows = [
            (command.rich_help_panel, (name, command.get_short_help_str(room)))
            for name, command in commands.items()
        ]
        for parameter in self.get_params(ctx):
            panel = getattr(parameter, "rich_help_panel", None)
            heading = panel or f"{parameter.param_type_name.title()}s"
            if record := parameter.get_help_record(ctx):
                more = "" if "... <" in record[0] else "..."  # an argument has its own
                left = re.sub(r"<list\[(\w+)\]>", rf"<\1>{more}", record[0])
                rows.append((heading, (left.replace("<Path>", "<path>"), record[1])))
        for heading in dict.fromkeys(heading for heading, _ in rows):
            with formatter.section(heading):
                formatter.write_dl([row for other, row in rows if other == heading])

    def format_epilog(self: Any, ctx: Any, formatter: Any) -> None:
        """Write the examples; those of a group are the first of its commands."""
        texts = [c.epilog for c in getattr(self, "commands", {}).values()] or [self.epilog]
        lines = zip(*(t.removeprefix(HEAD).splitlines() for t in texts if t), strict=False)
        examples = [f"    {line.strip()}\n" for rank in lines for line in rank][:3]
        formatter.write(f"\nExamples:\n{''.join(examples)}")


class Command(_Sections, TyperCommand):
    """A command; its numbers are written with the digits 0-9, whole ones are below 2^63."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As its base class; exit status 2 for 1_000, digits of other scripts, and 10^20.

        And for a flag that is another command's, with that command.
        """
        words = list(args)
        for word in words:
            if instead := ELSEWHERE.get((str(self.name), word)):
                fail(f"{self.name} has no {word}: write {instead}")
        left: list[str] = super().parse_args(ctx, args)
        hints = get_type_hints(self.callback) if self.callback else {}
        for parameter in self.params:
            name = str(parameter.name)
            kinds = {hints.get(name), *get_args(hints.get(name))}
            if kinds & {int, float}:
                texts = [*_given(parameter.opts, words), (ctx.default_map or {}).get(name)]
                _check_number(parameter.opts[0], [str(t) for t in texts if t is not None])
        return left


def _given(flags: Sequence[str], words: Sequence[str]) -> list[str]:
    """What follows any of these flags."""
    after = [*words[1:], ""][: len(words)]
    pairs = [(a.partition("="), b) for a, b in zip(words, after, strict=True)]
    return [value if equals else b for (flag, equals, value), b in pairs if flag in flags]


def _check_number(flag: str, texts: Sequence[str]) -> None:
    for text in texts:
        try:
            digits(text)
        except ValueError as e:
            fail(f"{flag} {e}")
        if text.strip("+-").isdecimal() and int(text) >= LARGEST:
            fail(f"{flag} {text}: write a number below 2^63")


class Group(_Sections, TyperGroup):
    """A group of commands."""


def group(name: str, help: str) -> typer.Typer:
    """A group of commands; without a command it prints its help."""
    made = typer.Typer(
        name=name, cls=Group, help=help, no_args_is_help=True, rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )  # fmt: skip
    made.callback()(lambda: None)  # a group of one command stays a group
    return made


def command(
    of: typer.Typer, name: str, *examples: str, section: str = "Commands"
) -> Callable[[F], F]:
    """Add a function to a group as a command; bad input becomes one message.

    Args:
        of: the group.
        name: of the command.
        examples: arguments, for the lines at the end of its help.
        section: of the group's help.
    """
    path = f"{of.info.name} {name}"
    path = path if path.startswith("dnabench") else f"dnabench {path}"
    epilog = HEAD + "\n    ".join(f"{path} {example}".rstrip() for example in examples)

    def add(function: F) -> F:
        decorate = of.command(name, cls=Command, epilog=epilog, rich_help_panel=section)
        decorate(report_errors(function))
        return function

    return add
