"""``recording-archive catalog``: where the catalog is and how to open it, or a copy of it that needs no lake."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import click

from assets.catalog.copying import Part, copy_catalog
from assets.catalog.publication import CATALOG_NAME, current, no_catalog
from assets.catalog.sources import literal
from pipelines.cli.output import UTC_DAY, megabytes, print_json, require_archive
from resources.archive import open_archive
from resources.providers.registry import PROVIDERS
from resources.storage import ArchiveStorage

_S3, _GCS, _AZURE = "s3", "gs", "az"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@click.command()
@click.option(
    "--copy", "target", type=click.Path(dir_okay=False, path_type=Path), help="Make a file of tables that needs no lake."
)
@click.option("--provider", type=click.Choice(list(PROVIDERS)), help="Copy this provider alone.")
@click.option("--from", "first", type=UTC_DAY, help="Copy from this day on.")
@click.option("--to", "last", type=UTC_DAY, help="Copy up to this day, included.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def catalog(target: Path | None, provider: str | None, first: date | None, last: date | None, *, as_json: bool) -> None:
    """Say where the catalog is and how to open it; or copy it, or a part of it, to a file of its own.

    Raises:
        StorageError: no catalog has been published yet.
        ArchiveError: the copy cannot be made.
    """
    if target is None and (provider is not None or first is not None or last is not None):
        raise click.UsageError("--provider, --from and --to say what to copy: they need --copy")
    if first is not None and last is not None and first > last:
        msg = f"--from {first} is after --to {last}"
        raise click.UsageError(msg)
    archive = open_archive()
    require_archive(archive)
    if target is not None:
        rows = copy_catalog(archive.storage, PROVIDERS.values(), target, Part(provider, first, last))
        if as_json:
            print_json({"path": str(target), "bytes": target.stat().st_size, "rows": rows})
        else:
            click.echo(
                f"{target}: {megabytes(target.stat().st_size)}, {', '.join(f'{count} {name}' for name, count in rows.items())}"
            )
        return
    _tell(archive.storage, as_json=as_json)


def _tell(storage: ArchiveStorage, *, as_json: bool) -> None:
    local = storage.local_path(CATALOG_NAME)
    pointer = current(storage)
    if pointer is None or (local is not None and not local.exists()):
        raise no_catalog(storage)
    place = str(local) if local is not None else f"{storage.url}/{pointer.path}"
    statements = _statements(place, is_local=local is not None)
    if as_json:
        print_json({"path": place, "bytes": pointer.bytes, "published_at": pointer.published_at, "sql": statements})
        return
    click.echo(f"{place}, {megabytes(pointer.bytes)}, published {pointer.published_at:%Y-%m-%d %H:%M:%S}Z\n")
    if statements:
        click.echo("\n".join(statements))
    else:
        click.echo(
            "DuckDB does not read this kind of storage: use `recording-archive query`, or `recording-archive catalog --copy`"
        )
    if local is not None:
        click.echo("\nWhere the archive lies elsewhere for you: SET VARIABLE archive_root = '/its/folder/there';")


def _statements(place: str, *, is_local: bool) -> list[str]:
    """Return what makes a plain DuckDB client open the catalog; nothing where none can."""
    scheme = "" if is_local else place.partition("://")[0]
    attach = f"ATTACH {literal(place)} AS archive (READ_ONLY);"
    if is_local:
        return [attach]
    if scheme == _S3:
        options = ", ".join(["TYPE s3", "PROVIDER credential_chain", *_endpoint()])
        return ["INSTALL httpfs; LOAD httpfs;", "INSTALL aws; LOAD aws;", f"CREATE SECRET archive ({options});", attach]
    if scheme == _GCS:
        return [
            "INSTALL httpfs; LOAD httpfs;",
            "CREATE SECRET archive (TYPE gcs, KEY_ID 'an HMAC key', SECRET 'its secret');",
            attach,
        ]
    if scheme == _AZURE:
        return ["INSTALL azure; LOAD azure;", "CREATE SECRET archive (TYPE azure, PROVIDER credential_chain);", attach]
    return []


def _endpoint() -> list[str]:
    """Return the options for another service than AWS, where the environment names one."""
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    if not endpoint:
        return []
    parts = urlsplit(endpoint)
    return [f"ENDPOINT {literal(parts.netloc)}", "URL_STYLE 'path'", f"USE_SSL {str(parts.scheme == 'https').lower()}"]
