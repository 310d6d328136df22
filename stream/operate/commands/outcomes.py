"""`points outcomes APP`: what an app was told of its records, as it reads it itself."""

import sys
from collections.abc import Iterator
from datetime import datetime

import click
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.topics import outcomes_topic
from sinks.app_client.standing import decode_outcome
from sinks.app_client.topics import place_of
from stream.errors import OperatorError
from stream.operate.commands.app_login import CHECK_LOGIN, check_login
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings, load

TIMEOUT_S = 15.0
FETCH_MAX = 1_000
FOLLOW_S = 0.2
PLACES_REMEMBERED = 100_000  # a worker that died repeats at most the outcomes of its last blocks
HEADING = f"{'time':8}  {'verdict':24} {'points':>10} {'balance':>12}  {'expires':10}  report_id and detail"


@click.command()
@click.argument("app")
@click.option("--follow", "-f", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--last", type=click.IntRange(0, 100_000), help="Begin with the newest N; default: with all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the app gets it.")
def outcomes(app: str, follow: bool, last: int | None, as_json: bool) -> None:
    """Show the outcomes of APP's records of the last 30 days, each once."""
    settings = load()
    check_login(settings, app)
    consumer = connect(settings, app)
    seen: dict[tuple[int, int, int], None] = {}
    if not as_json:
        click.echo(HEADING)
    try:
        for message in read(consumer, outcomes_topic(app), follow, last):
            o = decode_outcome(message.value() or b"")
            if (place := (o.shard, o.seq, o.row)) in seen:
                continue
            seen[place] = None
            if len(seen) > PLACES_REMEMBERED:
                del seen[next(iter(seen))]
            click.echo(message.value() if as_json else line_of(message))
    except KafkaException as error:
        raise OperatorError(f"The outcomes cannot be read: {error.args[0].str()}.", CHECK_LOGIN) from error
    except KeyboardInterrupt:
        sys.stdout.flush()
    finally:
        consumer.close()


def connect(settings: Settings, app: str) -> Consumer:
    """A consumer that commits nothing: it takes no outcome away from the app."""
    user = app_principal(app)
    return Consumer(
        settings.librdkafka(user)
        | {"group.id": f"{user}.points-outcomes", "enable.auto.commit": False, "log_level": 0}
        | {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
    )


def read(consumer: Consumer, topic: str, follow: bool, last: int | None) -> Iterator[Message]:
    """What is there, or the newest `last` of it by time; then, with `follow`, what comes. Raises
    KafkaException."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error:
        raise KafkaException(found.error)
    starts = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
    if last is not None:
        for start in starts:
            low, high = consumer.get_watermark_offsets(start, timeout=TIMEOUT_S)
            start.offset = max(low, high - last)
    consumer.assign(starts)
    newest: list[Message] = []
    ended: set[int] = set()
    while follow or len(ended) < len(starts):
        for message in consumer.consume(FETCH_MAX, FOLLOW_S):
            if error := message.error():
                if error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                ended.add(place_of(message)[0])
            elif last is None or len(ended) == len(starts):
                yield message
            else:
                newest.append(message)
        if newest and len(ended) == len(starts):
            yield from sorted(newest, key=lambda message: message.timestamp()[1])[-(last or 0) :]
            newest = []


def line_of(message: Message) -> str:
    """One outcome for people."""
    o = decode_outcome(message.value() or b"")
    at = datetime.fromtimestamp(message.timestamp()[1] / 1000).strftime("%H:%M:%S")
    text = f"{o.report_id} {o.detail}".strip()
    return (
        f"{at}  {o.verdict:24} {o.points_milli / 1000:10,.3f} {o.balance_milli / 1000:12,.3f}"
        f"  {o.expires_on or '-':10}  {text}"
    )
