"""How the embedded broker runs: its Java, its log, its listeners and rights, and the limits that hold it up.

The limits, and what each means on real brokers, stand in docs/runbook.md; docker-compose.yml has the same.
"""

from pathlib import Path

from schemas.limits import BLOCK_BYTES_MAX, MIB
from stream import stack_file
from stream.stack_file import StackFile

# A connection that announces a request makes the broker set its bytes aside before they come; where
# QUEUED_BYTES_MAX are set aside, all wait, and it goes over that by one request.
REQUEST_BYTES_MAX = BLOCK_BYTES_MAX + MIB  # the largest that anybody has to send is a block
QUEUED_BYTES_MAX = 256 * MIB
CONNECTIONS_PER_IP_MAX = 10  # 170 MiB: one address cannot take all of it, blocks go on
# A connection without a password has this much; a message of a SCRAM log-in has 200 bytes.
LOG_IN_BYTES_MAX = 16_384

LIMITS = {
    "socket.request.max.bytes": REQUEST_BYTES_MAX,
    "queued.max.request.bytes": QUEUED_BYTES_MAX,
    "message.max.bytes": BLOCK_BYTES_MAX,  # topics say less where they can
    "sasl.server.max.receive.size": LOG_IN_BYTES_MAX,
    "socket.listen.backlog.size": 1_024,  # beyond it the kernel lets a client wait for a second
    "max.connections": 2_000,
    "listener.name.apps.max.connections": 1_000,  # none of them takes a place of the platform's own
    "max.connections.per.ip": CONNECTIONS_PER_IP_MAX,
    "max.connections.per.ip.overrides": "127.0.0.1:1000",  # all workers and apps of an embedded platform
    "connections.max.idle.ms": 120_000,  # clients that were silent for longer connect again by themselves
}

# Measured on 2 cores, 2.5 million records in and out: without the optimising compiler the broker is up with
# 2.9 s of CPU instead of 4.3, and then takes no more per record; the collectors do not differ.
# Heap: 273 MiB of requests, 32 MiB of log-ins, 100 MiB of its own, and room to unpack what they hold.
# The first OutOfMemoryError ends it: a broker that goes on may write an offset twice. This collector gives up
# where it finds less than 10 % five times; the serial one goes on for 20 s of CPU to find the last kilobyte.
JAVA_FLAGS = (
    "-Xmx768m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseParallelGC",
    "-XX:GCTimeLimit=80",
    "-XX:GCHeapFreeLimit=10",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.properties",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)

# What goes wrong; apart from it, who was refused what, as an app can fill that log with one request for
# 100,000 topics; and who was let write, before the broker looks at what: the last of them may have ended it.
# Each log is a few files of bounded size, `.1` before it; that of the broker begins anew with each start.
LOG4J2_PROPERTIES = """\
rootLogger.level=WARN
rootLogger.appenderRef.broker.ref=broker
logger.authorizer.name=kafka.authorizer.logger
logger.authorizer.level=DEBUG
logger.authorizer.additivity=false
logger.authorizer.appenderRef.refused.ref=refused
logger.authorizer.appenderRef.refused.level=INFO
logger.authorizer.appenderRef.writes.ref=writes

appender.broker.type=RollingFile
appender.broker.name=broker
appender.broker.fileName=../logs/kafka.log
appender.broker.filePattern=../logs/kafka.log.%i
appender.broker.layout.type=PatternLayout
appender.broker.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %p %c{1} %m%n
appender.broker.policies.type=Policies
appender.broker.policies.start.type=OnStartupTriggeringPolicy
appender.broker.policies.size.type=SizeBasedTriggeringPolicy
appender.broker.policies.size.size=4MB
appender.broker.strategy.type=DefaultRolloverStrategy
appender.broker.strategy.fileIndex=min
appender.broker.strategy.max=5

appender.refused.type=RollingFile
appender.refused.name=refused
appender.refused.fileName=../logs/kafka-refused.log
appender.refused.filePattern=../logs/kafka-refused.log.%i
appender.refused.layout.type=PatternLayout
appender.refused.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %m%n
appender.refused.policies.type=Policies
appender.refused.policies.size.type=SizeBasedTriggeringPolicy
appender.refused.policies.size.size=4MB
appender.refused.strategy.type=DefaultRolloverStrategy
appender.refused.strategy.fileIndex=min
appender.refused.strategy.max=2

appender.writes.type=RollingFile
appender.writes.name=writes
appender.writes.fileName=../logs/kafka-writes.log
appender.writes.filePattern=../logs/kafka-writes.log.%i
appender.writes.filter.write.type=StringMatchFilter
appender.writes.filter.write.text=is Allowed operation = WRITE
appender.writes.layout.type=PatternLayout
appender.writes.layout.pattern=%d{UNIX_MILLIS} %m%n
appender.writes.policies.type=Policies
appender.writes.policies.size.type=SizeBasedTriggeringPolicy
appender.writes.policies.size.size=1MB
appender.writes.strategy.type=DefaultRolloverStrategy
appender.writes.strategy.fileIndex=min
appender.writes.strategy.max=1
"""

# Nobody is anonymous: clients log in by SCRAM. The controller's listener cannot use SCRAM, because its
# users live in the metadata which only the controller can open; it has one PLAIN user, the broker itself.
# The platform has a listener of its own: acceptor, threads and places that no app's connections take.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLATFORM://127.0.0.1:{port},APPS://127.0.0.1:{apps_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLATFORM://127.0.0.1:{port},APPS://127.0.0.1:{apps_port}
listener.security.protocol.map=PLATFORM:SASL_PLAINTEXT,APPS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=PLATFORM
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=SCRAM-SHA-256
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256
sasl.mechanism.controller.protocol=PLAIN
listener.name.platform.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username="admin" password="{admin_password}";
listener.name.apps.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
username="controller" password="{controller_password}" user_controller="{controller_password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:controller
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A broker that was killed may not come back before its session has ended: with Kafka's 9 s it is up after 13.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=1000
# A flooding app's burst before its quota holds it: what it may send in one second, not in Kafka's ten.
quota.window.num=2
log.dirs={log_dir}
"""


def write_properties(path: Path, stack: StackFile, log_dir: str) -> None:
    """Writes the broker's settings. Paths in them are relative to its folder: Java reads Latin-1."""
    text = SERVER_PROPERTIES.format(
        port=stack.ports["kafka"],
        apps_port=stack.ports["kafka-apps"],
        controller_port=stack.ports["kafka-controller"],
        admin_password=stack.kafka_passwords["admin"],
        controller_password=stack.kafka_controller_password,
        log_dir=log_dir,
    )
    limits = "".join(f"{name}={value}\n" for name, value in LIMITS.items())
    stack_file.write_secret(path, (text + limits).encode())
