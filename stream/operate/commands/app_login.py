"""Whether Kafka lets an app in, told before a command of the app's begins its work."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException

from schemas.topics import outcomes_topic
from stream.errors import OperatorError
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings

CONNECT_TIMEOUT_S = 10.0
TRY_S = 0.5
CHECK_LOGIN = (
    "see with `points doctor` that Kafka runs, and that the password is the app's last one"
    " (`points app rotate` makes a new one)."
)
# librdkafka tries again after these for ever: nothing that it waits for would change them.
REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._UNSUPPORTED_FEATURE})


def check_login(settings: Settings, app: str) -> None:
    """Returns once Kafka has let the app in. Raises OperatorError; at once if Kafka refuses to."""
    user, topic = app_principal(app), outcomes_topic(app)
    causes: list[KafkaError] = []
    consumer = Consumer(
        settings.librdkafka(user)
        | {"group.id": f"{user}.points-login", "error_cb": causes.append, "log_level": 0}
    )
    end_s = time.monotonic() + CONNECT_TIMEOUT_S
    try:
        while True:
            try:
                found = consumer.list_topics(topic, timeout=TRY_S).topics[topic]
                break
            except KafkaException as error:
                consumer.poll(0)  # serves `error_cb`, which knows the cause
                refused = [cause for cause in causes if cause.code() in REFUSED]
                if refused or time.monotonic() > end_s:
                    known = [cause for cause in causes if cause.code() != KafkaError._ALL_BROKERS_DOWN]
                    cause = (refused or known or [error.args[0]])[-1]
                    what = f"does not let {user} in" if refused else "cannot be reached"
                    raise OperatorError(
                        f"Kafka at {settings.kafka_bootstrap} {what}: {cause.str()}.", CHECK_LOGIN
                    ) from error
    finally:
        consumer.close()
    if found.error:
        raise OperatorError(
            f"Kafka does not show {topic} to {user}: {found.error.str()}.",
            f"see with `points app list` that {app} is registered and active.",
        )
