"""The `shoal` command: asks a running peer, and tells people or programs what it said.

    shoal status         how the peer is
    shoal ls [PATH]      a directory of the network
    shoal peers          who is there
    shoal forget PATH    withdraw one's own file from the network
    shoal warm PATH...   fetch files before somebody reads them
    shoal scrub [PATH]   read again what is kept, and compare it with its hashes
    shoal limit          how many bytes a second it moves at most
    shoal pin, unpin     keep a file or folder here, whatever room is needed
    shoal evict, free    give up copies: by path, or those that enough others have
    shoal du [PATH]      how much is kept here

Exit codes: 0 done, 1 failed, 2 usage, 4 no such path or key, 5 try again, 130 interrupted.
"""

import io
import signal
import sys
from pathlib import Path

import click

from shoal.asking import Asked, common
from shoal.errors import Busy, Gone, Refused, ShoalError, UsageError
from shoal.names import printable
from shoal.verbs import care, limits, network, stock

FAILED, USAGE, NO_SUCH, AGAIN, INTERRUPTED = 1, 2, 4, 5, 130
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_VERBS: tuple[click.Command, ...] = (
    network.status,
    network.ls,
    network.peers,
    network.forget,
    care.warm,
    care.scrub,
    limits.limit,
    stock.pin,
    stock.unpin,
    stock.evict,
    stock.free,
    stock.du,
)


@click.group(
    context_settings=_SETTINGS,
    no_args_is_help=False,
    epilog="""\b
Examples:
  shoal status                           how the peer on this machine is
  shoal ls data                          what the network has in data/
  shoal peers --json                     who is there, for a program
  shoal forget data/old.bin              withdraw your own file from the network
  shoal warm data/models                 fetch all of data/models/ now
  shoal scrub                            is all that is kept here what it was?
  shoal limit --down 20M --up 5M         leave some of the network to others
  shoal pin data/models                  keep data/models/ here, and what comes into it
  shoal free --keep 2                    give up the copies that two others have
  shoal --peer lab3:8080 status          how the peer at lab3 is
""",
)
@common
@click.pass_context
def command(context: click.Context, peer: str | None, token_file: Path | None, as_json: bool) -> None:
    """Talk to a running peer.

    Exit codes: 0 done, 1 failed, 2 usage, 4 no such path or key, 5 try again.
    """
    context.obj = Asked(peer, as_json, token_file)


for _each in _VERBS:
    command.add_command(_each)


def _code(error: ShoalError) -> int:
    """The exit code of an error."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, Gone):
        return NO_SUCH
    return AGAIN if isinstance(error, Busy) or (isinstance(error, Refused) and error.status == 409) else FAILED


def main() -> None:
    """Runs the command and exits with its code; errors are one line on stderr."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 shows the escaped name
    try:
        code = command.main(prog_name="shoal", standalone_mode=False)
    except click.ClickException as error:
        code = _complain(f"{error.format_message()} (see --help)", error.exit_code)
    except ShoalError as error:
        code = _complain(str(error), _code(error))
    sys.exit(code or 0)


def _complain(sentence: str, code: int) -> int:
    click.echo(f"shoal: {printable(sentence)}", err=True)
    return code
