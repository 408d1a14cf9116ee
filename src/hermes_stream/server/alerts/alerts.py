"""The standing questions of all sessions: asked for, found, deleted; taken up again after a restart."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from typing import Any

from hermes_stream.errors import SourceError
from hermes_stream.server.alerts.alert import Alert, AlertRequest, Webhook
from hermes_stream.server.alerts.alert_looks import N_PICTURES, PICTURE, Looks
from hermes_stream.server.alerts.webhook_post import read_endpoint
from hermes_stream.server.alerts.webhooks import Delivery, Outcome, Webhooks
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError, not_found
from hermes_stream.server.pull.networks import Networks

_N_NAME_BYTES = 6
_MOST_HITS_SHOWN = N_PICTURES


class Alerts:
    """Used on the server's loop. It hears from the hub which sessions there are."""

    def __init__(self, hub: Hub, networks: Networks) -> None:
        self._journal, self._most, self._networks = hub.journal, hub.limits.max_alerts, networks
        self.webhooks = Webhooks(hub.journal, networks.connect, self._tell)
        self._looks: dict[str, Looks] = {}
        self._lives: dict[str, LiveSession] = {}
        hub.on_open.append(self._begin)
        hub.on_close.append(self._end)
        hub.on_forget.append(self._forget)
        hub.on_part.append(self.webhooks.part)

    async def add(self, live: LiveSession, request: AlertRequest) -> Alert:
        """A new standing question. Raises ApiError or UsageError for one that cannot be asked, or cannot be told."""
        self._check_room(live)
        question = request.to_question()
        if request.webhook is not None:
            await asyncio.to_thread(self._check_target, request.webhook)
        # Asked once: what the model cannot read or tell apart is refused here, and not at every look.
        await live.session.score(question.question, question.choices).aresult()
        self._check_room(live)
        alert = Alert(
            secrets.token_hex(_N_NAME_BYTES),
            request,
            time.time(),
            every_frames=request.every or live.session.chunk_frames,
            n_frames=live.session.stats.frames_seen,
        )
        self._of(live).add(alert)
        return alert

    def find(self, live: LiveSession, name: str) -> Alert:
        """Raises ApiError where there is none."""
        alert = self._of(live).alerts.get(name)
        if alert is None:
            raise not_found("standing question", name)
        return alert

    def of(self, live: LiveSession) -> list[Alert]:
        """Those of a session, oldest first."""
        return list(self._of(live).alerts.values())

    def remove(self, live: LiveSession, name: str) -> None:
        """Raises ApiError where there is none."""
        self._of(live).remove(self.find(live, name).name)

    def picture(self, live: LiveSession, name: str, number: int) -> tuple[float, bytes]:
        """What was on screen at a hit: its time and a JPEG. Raises ApiError where there is none, or none any more."""
        record = self._journal.record(PICTURE, f"{self.find(live, name).name}/{number}")
        if record is None:
            raise ApiError(404, "not_found", f"hit {number} has no picture; the newest {N_PICTURES} hits have one")
        return record["time_s"], base64.b64decode(record["jpeg"])

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """A standing question as the API gives it, with how its webhook stands."""
        target, told = alert.request.webhook, None
        if target is not None:
            address = read_endpoint(target.url).shown
            told = {"url": address, "is_signed": target.secret is not None, **self.webhooks.to_json(alert.name)}
        return {**alert.to_json(), "webhook": told}

    def details(self, live: LiveSession, alert: Alert) -> dict[str, Any]:
        """The same with its newest looks and hits."""
        entries = live.journal.entries(live.name, kinds=["alert"], newest=True)
        hits = [entry.to_json() for entry in entries if entry.data["alert"] == alert.name]
        return {
            **self.to_json(alert),
            "looks": [{"time_s": seconds, "probability": probability} for seconds, probability in alert.looks],
            "hits": hits[-_MOST_HITS_SHOWN:],
        }

    def _begin(self, live: LiveSession) -> None:
        self._lives[live.name] = live
        self._looks[live.name] = Looks(live, self.webhooks)
        self.webhooks.take_up(live.name)

    def _end(self, live: LiveSession) -> None:
        del self._lives[live.name]
        self._looks.pop(live.name).close()

    def _forget(self, live: LiveSession, start_seconds: float, end_seconds: float) -> None:
        self._looks[live.name].forget(start_seconds, end_seconds)
        self.webhooks.forget(live.name, start_seconds, end_seconds)

    def _of(self, live: LiveSession) -> Looks:
        """Raises ApiError for a session that was closed meanwhile."""
        looks = self._looks.get(live.name)
        if looks is None:
            raise not_found("session", live.name)
        return looks

    def _check_room(self, live: LiveSession) -> None:
        if len(self._of(live).alerts) >= self._most:
            raise ApiError(
                429, "too_many_alerts", f"the session has {self._most} standing questions, its limit; delete one first"
            )

    def _check_target(self, webhook: Webhook) -> None:
        """On a thread."""
        endpoint = read_endpoint(webhook.url)
        try:
            self._networks.addresses(endpoint.host, endpoint.port)
        except (SourceError, OSError) as error:
            raise ApiError(400, "invalid_webhook", f"the webhook cannot be used: {error}") from error

    def _tell(self, delivery: Delivery, outcome: Outcome) -> None:
        live = self._lives.get(delivery.session)
        if live is not None:
            live.bus.publish("webhook", {"alert": delivery.alert, "hit": delivery.hit, "outcome": outcome})
