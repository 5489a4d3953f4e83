"""What the Dagster shells of all assets share: no exception reaches Dagster's databases before it was redacted."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from assets.liveness import hold
from resources.errors import ArchiveError, SettingsError
from resources.redaction import redact


def hold_run(context: dg.AssetExecutionContext) -> None:
    """Show for as long as this process lives that the run does."""
    hold(Path(context.instance.root_directory), context.run.run_id)


_FENCE = "```"


def verbatim(text: str) -> dg.MarkdownMetadataValue:
    """Return text that may hold anything for Dagster's UI, which would otherwise render it: links, pictures of other hosts."""
    inside = text.replace(_FENCE, "'" * len(_FENCE))
    return dg.MetadataValue.md(f"{_FENCE}\n{inside}\n{_FENCE}")


@contextmanager
def clear_failures() -> Generator[None]:
    """Raise any exception as a Dagster failure whose text was redacted.

    An archive error becomes one clear message; a wrong setting is not retried, since trying again cannot help. Anything else is a
    fault of ours or of a library: its traceback is kept, redacted, in the failure's metadata.
    """
    try:
        yield
    except dg.Failure:
        raise
    except ArchiveError as error:
        allow_retries = not isinstance(error, SettingsError)
        raise dg.Failure(description=redact(str(error)), allow_retries=allow_retries) from None
    except Exception as error:  # noqa: BLE001 -- nothing may pass by the redaction
        words = redact(f"{type(error).__name__}: {error}")
        trace = redact("".join(traceback.format_exception(error)))
        raise dg.Failure(description=words, metadata={"traceback": verbatim(trace)}) from None
