"""`points balance <uid>`: what a person has now, from the projection."""

import asyncio
import json

import click


@click.command()
@click.argument("uid")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def balance(uid: str, as_json: bool) -> None:
    """Show a person's points by expiry; UID is the 32 hex digits of the pseudonym."""
    from rich.console import Console
    from rich.table import Table

    from schemas.report import date_of_day, shanghai_day
    from schemas.shards import UID_BYTES, shards_of
    from schemas.state import Person
    from stream.errors import OperatorError
    from stream.operate.projection import open_projection
    from stream.settings import load

    if len(uid) != UID_BYTES or set(uid) - set("0123456789abcdef"):
        raise click.BadParameter(
            "32 hex digits, such as the column uid of `points query` shows", param_hint="UID"
        )
    settings = load()
    [shard] = shards_of([uid], settings.shards)

    async def read() -> tuple:
        async with open_projection(settings) as store:
            return await store.load_head(shard), (await store.read(shard, [uid], {})).persons.get(uid)

    head, person = asyncio.run(read())
    if head is None:
        raise OperatorError(f"Shard {shard} has no state yet.", "start the worker: `points worker intake`.")
    today = shanghai_day(head.time_ms)
    lots = sorted((day, lot_milli) for day, lot_milli in (person or Person()).lots.items() if day >= today)
    total_milli = sum(lot_milli for _, lot_milli in lots)
    if as_json:
        rows = [{"expires_on": date_of_day(d).isoformat(), "points_milli": p} for d, p in lots]
        print(json.dumps({"uid": uid, "shard": shard, "balance_milli": total_milli, "lots": rows}))
        return
    console = Console()
    console.print(
        f"[bold]{uid}[/bold]: {total_milli / 1000:,.3f} points, valid on {date_of_day(today)} (shard {shard})"
    )
    table = Table("valid until the end of")
    table.add_column("points", justify="right")
    for day, lot_milli in lots:
        table.add_row(date_of_day(day).isoformat(), f"{lot_milli / 1000:,.3f}")
    if lots:
        console.print(table)
