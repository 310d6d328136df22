"""Kind `app`: the registry of apps, and the first position of an app's topic."""

from msgspec.structs import replace

from schemas.kinds.app import AppCommand
from schemas.state import Head, Source
from schemas.topics import intake_topic
from stream.core.kinds.command_kind import Circumstances, CommandKind, Obeyed, applied, forbidden


def obey(command: AppCommand, met: Circumstances) -> Obeyed:
    """An app's topic is settled by its first command, and only an adoption changes it."""
    app = command.app
    source, known = met.head.sources.get(intake_topic(app.id)), met.head.apps.get(app.id)
    if not app.topic_id or (known and known.topic_id != app.topic_id) or (source and not known):
        return forbidden("app.topic_id: must be the intake topic's, for good")
    return applied(f"app {app.id}: {'active' if app.active else 'suspended'}")


def change(command: AppCommand, head: Head) -> Head:
    """The last command about an app stands; a source that is known stays where it is."""
    app = command.app
    sources = {intake_topic(app.id): Source(app.topic_id, 0)} | head.sources
    return replace(head, apps=head.apps | {app.id: app}, sources=sources)


KIND = CommandKind(AppCommand, obey, change)
