"""One WebSocket-API connection, and the user data streams that it carries (adapter).

The connection subscribes each of its streams, publishes ``StreamDown`` to all of them when it is cut, waits, and
connects again. A rejected subscription stops no other stream.

Sources: web-socket-api.md, "User Data Stream requests" and "session.logon".
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import aiohttp

from fortctl.exchange import parsing
from fortctl.exchange.decoding import Answer, UnreadableAnswerError
from fortctl.exchange.streams.reconnect import (
    CONNECTION_ERRORS,
    Backoff,
    Dial,
    RequestRejectedError,
    read_frame,
    rejection_in,
)
from fortctl.exchange.streams.subscription import UserSubscription
from fortctl.model import UserEvent

ANSWER_TIMEOUT_S = 10.0
MAX_SUBSCRIPTIONS = 1_000
MAX_CONCURRENT_REQUESTS = 20
_ALREADY_SUBSCRIBED, _NO_FREE_NUMBER = -2035, -2042


class PlaceSubscription(Protocol):
    """Puts a subscription on a connection with room, other than the one given."""

    def __call__(self, subscription: UserSubscription, *, other_than: UserStreamConnection | None = None) -> None: ...


_LOG = logging.getLogger("fortctl.exchange")
_READERS: dict[object, Callable[[object], UserEvent]] = {
    "executionReport": parsing.order_update,
    "outboundAccountPosition": parsing.balance_update,
    "balanceUpdate": parsing.funds_moved,
}


class UserStreamConnection:
    """One connection: its subscriptions, the requests under way, and which subscription number is whose.

    Args:
        dial: opens the WebSocket.
        life_s: seconds after which ``on_expiring`` is called.
        place: puts a subscription on another connection.
        spawn: runs a coroutine beside everything else.
        on_expiring: called once the connection must be replaced, while it still works.
        on_closed: called when the connection ends for good.

    Attributes:
        subscriptions: the streams that this connection carries, in the order in which they came.
        connected: set while the WebSocket is open.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        life_s: float,
        place: PlaceSubscription,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_expiring: Callable[[UserStreamConnection], None],
        on_closed: Callable[[UserStreamConnection], None],
    ) -> None:
        self._dial = dial
        self._life_s = life_s
        self._place = place
        self._spawn = spawn
        self._on_expiring = on_expiring
        self._on_closed = on_closed
        self.subscriptions: dict[UserSubscription, None] = {}
        self.connected = asyncio.Event()
        self._by_number: dict[int, list[UserSubscription]] = {}
        self._requests: dict[int, tuple[asyncio.Future[dict[str, Any]], Callable[[dict[str, Any]], None] | None]] = {}
        self._ids = itertools.count(1)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._logged_on: UserSubscription | None = None
        # Logged on with a newer key → the subscription of the older key whose events it receives.
        self._successors: dict[UserSubscription, UserSubscription] = {}
        self._request_slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._retiring = False
        self._backoff = Backoff()
        self._task = asyncio.create_task(self._run(), name="user streams")

    # -- subscriptions ---------------------------------------------------------------------------------------------

    def accepts(self, subscription: UserSubscription) -> bool:
        """Return whether there is room; one account has one stream here, unless its newer key can log on."""
        if self._retiring or len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            return False
        same = [other for other in self.subscriptions if subscription.account == other.account != ""]
        return not same or (len(same) == 1 and self._can_succeed(subscription, same[0]))

    def _can_succeed(self, subscription: UserSubscription, former: UserSubscription) -> bool:
        return subscription.can_log_on and self._logged_on is former and former.is_up and former not in self._successors

    def add(self, subscription: UserSubscription) -> None:
        """Carry a subscription from now on."""
        self.subscriptions[subscription] = None
        if self._socket is not None:
            self._spawn(self._attach(subscription))

    def remove(self, subscription: UserSubscription) -> None:
        """Stop carrying a subscription; the last one closes the connection."""
        self.subscriptions.pop(subscription, None)
        successor = next((new for new, old in self._successors.items() if old is subscription), None)
        numbers = [number for number, carried in self._by_number.items() if subscription in carried]
        if self._logged_on is subscription:
            self._logged_on = None
        self._successors.pop(subscription, None)
        if not self.subscriptions:
            self.close()
        elif successor is not None:
            self._spawn(self._resubscribe(successor, numbers))
        else:
            for number in numbers:
                self._by_number[number].remove(subscription)
                if not self._by_number[number]:
                    del self._by_number[number]
                    self._spawn(self._send("userDataStream.unsubscribe", {"subscriptionId": number}))

    def close(self) -> None:
        """End the connection for good."""
        self._on_closed(self)
        self._task.cancel()

    # -- the connection --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                async with self._dial() as socket:
                    await self._serve(socket)
            except (RequestRejectedError, *CONNECTION_ERRORS) as caught:
                error: BaseException = caught
            except Exception as caught:
                # A fault of our own: the stream must not end silently, so it reconnects as after any other.
                _LOG.exception("the user stream's connection failed")
                error = caught
            finally:
                self._reset()
            reason = str(error) if isinstance(error, RequestRejectedError) else type(error).__name__
            if self._retiring:
                self.reassign_all(reason)
                self._on_closed(self)
                return
            for subscription in list(self.subscriptions):
                subscription.mark_down(reason)
            await asyncio.sleep(self._backoff.pause_after(error))

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.connected.set()
        for subscription in list(self.subscriptions):
            self._spawn(self._attach(subscription))
        expiry = asyncio.get_running_loop().call_later(self._life_s, self._expire)
        try:
            while True:
                self._on_frame(read_frame(await socket.receive()))
        finally:
            expiry.cancel()

    def _reset(self) -> None:
        """Drop what was true of a WebSocket that is gone."""
        self._socket, self._logged_on = None, None
        self.connected.clear()
        self._by_number.clear()
        self._successors.clear()
        for future, _on_success in self._requests.values():
            if not future.done():
                future.set_exception(RequestRejectedError(None, "the connection was cut"))
                future.exception()  # the task that sent the request may be gone
        self._requests.clear()

    def _on_frame(self, message: dict[str, Any]) -> None:
        event, request_id = message.get("event"), message.get("id")
        if isinstance(event, dict):
            self._on_event(message.get("subscriptionId"), event)
        elif isinstance(request_id, int) and request_id in self._requests:
            future, on_success = self._requests.pop(request_id)
            if not future.done():
                try:
                    if on_success is not None and message.get("status", 200) == 200:
                        on_success(message)
                    future.set_result(message)
                except UnreadableAnswerError as error:
                    future.set_exception(RequestRejectedError(None, f"the answer cannot be read: {error}"))
        elif request_id is None and self._logged_on is not None:
            # When a session's key becomes invalid, Binance says so once, with a null id (web-socket-api.md,
            # "session.logon").
            subscription = self._logged_on
            rejection = rejection_in(message, subscription.now_ms())
            if rejection is not None:
                self._logged_on = None
                self._on_stream_lost(subscription, rejection)

    def _on_event(self, number: Any, event: Mapping[str, Any]) -> None:
        kind = event.get("e")
        if kind == "serverShutdown" and number is None:
            self._expire()
            return
        carried = self._by_number.get(number, ()) if isinstance(number, int) else ()
        for subscription in list(carried):
            if kind in _READERS:
                try:
                    subscription.publish(_READERS[kind](event))
                except UnreadableAnswerError as error:
                    # The robot reconciles as after a gap: what this event reported, the exchange can be asked for.
                    _LOG.warning("an event of the user stream cannot be read: %s", error)
                    subscription.mark_gap(f"an event cannot be read: {error}")
            elif kind == "eventStreamTerminated":
                self._on_stream_lost(subscription, RequestRejectedError(None, str(kind)))

    def _on_stream_lost(self, subscription: UserSubscription, rejection: RequestRejectedError) -> None:
        """Report that one stream ended while the connection lives, and subscribe it again after a pause."""
        for number in [number for number, carried in self._by_number.items() if subscription in carried]:
            self._by_number[number].remove(subscription)
            if not self._by_number[number]:
                del self._by_number[number]
        if self._logged_on is subscription:
            self._logged_on = None
        self._successors.pop(subscription, None)
        subscription.mark_down(str(rejection), rejection.code)
        self._spawn(self._attach_later(subscription, subscription.backoff.pause_after(rejection)))

    async def _attach_later(self, subscription: UserSubscription, pause: float) -> None:
        await asyncio.sleep(pause)
        if subscription in self.subscriptions and self._socket is not None:
            await self._attach(subscription)

    # -- subscribing -----------------------------------------------------------------------------------------------

    async def _attach(self, subscription: UserSubscription) -> None:
        """Subscribe; a rejection is reported to this subscription alone, and tried again after a pause."""
        socket = self._socket
        try:
            async with self._request_slots:
                if subscription not in self.subscriptions:
                    return
                await self._subscribe(subscription)
        except RequestRejectedError as rejection:
            if self._logged_on is subscription:
                self._logged_on = None
            if subscription not in self.subscriptions or self._socket is not socket:
                return  # the whole connection was cut, and subscribes again when it is back
            if rejection.code in (_ALREADY_SUBSCRIBED, _NO_FREE_NUMBER):
                self.subscriptions.pop(subscription)
                self._place(subscription, other_than=self)
            else:
                self._on_stream_lost(subscription, rejection)
        except TimeoutError:
            # A connection that leaves one request without an answer is broken for all subscriptions.
            if self._socket is socket and socket is not None:
                await socket.close()
        except (aiohttp.ClientError, OSError):
            pass  # the reader notices

    async def _subscribe(self, subscription: UserSubscription) -> None:
        former = self._logged_on
        if former is not None and former.account == subscription.account and self._can_succeed(subscription, former):
            await self._succeed(subscription, former)
            return

        def on_success(answer: dict[str, Any]) -> None:
            self._on_subscribed(subscription, answer)

        if subscription.can_log_on and self._logged_on is None:
            self._logged_on = subscription
            await self._request(subscription, "session.logon", subscription.signed_parameters())
            await self._request(subscription, "userDataStream.subscribe", {}, on_success)
        else:
            signed = subscription.signed_parameters()
            await self._request(subscription, "userDataStream.subscribe.signature", signed, on_success)

    async def _succeed(self, subscription: UserSubscription, former: UserSubscription) -> None:
        """Log on with a newer key of the same account; from then on both subscriptions receive the one stream."""

        def on_success(answer: dict[str, Any]) -> None:
            self._logged_on = subscription
            self._successors[subscription] = former
            for carried in self._by_number.values():
                if former in carried:
                    carried.append(subscription)
            subscription.mark_up()

        await self._request(subscription, "session.logon", subscription.signed_parameters(), on_success)

    async def _resubscribe(self, subscription: UserSubscription, numbers: list[int]) -> None:
        """Subscribe with the newer key once the former key's stream is no longer needed.

        Binance does not document what becomes of a stream whose key is deleted later, so that stream ends here. Both
        requests leave together; the subscription gets ``StreamUp`` again, for events that may have fallen between them.
        """
        self._successors.pop(subscription, None)
        for number in numbers:
            self._by_number.pop(number, None)
            self._spawn(self._send("userDataStream.unsubscribe", {"subscriptionId": number}))
        await asyncio.sleep(0)

        def on_success(answer: dict[str, Any]) -> None:
            self._on_subscribed(subscription, answer, may_have_missed=True)

        try:
            await self._request(subscription, "userDataStream.subscribe", {}, on_success)
        except (RequestRejectedError, *CONNECTION_ERRORS) as error:
            if subscription in self.subscriptions and self._socket is not None:
                if not isinstance(error, RequestRejectedError):
                    error = RequestRejectedError(None, type(error).__name__)
                self._on_stream_lost(subscription, error)

    def _on_subscribed(
        self, subscription: UserSubscription, answer: dict[str, Any], *, may_have_missed: bool = False
    ) -> None:
        number = Answer(answer, "answer").answer("result").integer("subscriptionId")
        self._by_number[number] = [subscription]
        self._backoff.reset()
        subscription.mark_up(may_have_missed=may_have_missed)

    async def _request(
        self,
        subscription: UserSubscription,
        method: str,
        parameters: Mapping[str, str | int],
        on_success: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return its answer; ``on_success`` is called before the next frame is read.

        Raises:
            RequestRejectedError: the exchange rejects the request, or the connection is gone.
            TimeoutError: no answer came.
        """
        if self._socket is None:
            raise RequestRejectedError(None, "the connection was cut")
        request_id = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = (future, on_success)
        try:
            await self._socket.send_json({"id": request_id, "method": method, "params": dict(parameters)})
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await future
        finally:
            self._requests.pop(request_id, None)
        rejection = rejection_in(answer, subscription.now_ms())
        if rejection is not None:
            raise rejection
        return answer

    async def _send(self, method: str, parameters: Mapping[str, str | int]) -> None:
        """Send a request whose answer changes nothing."""
        if self._socket is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await self._socket.send_json({"id": next(self._ids), "method": method, "params": dict(parameters)})

    # -- replacing -------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Ask to be replaced: Binance cuts a connection after 24 h, or has announced that its server shuts down."""
        if not self._retiring:
            self._retiring = True
            self._on_expiring(self)

    def postpone(self, seconds: float) -> None:
        """Carry on, and ask again later to be replaced: no replacement could be connected."""
        self._retiring = False
        asyncio.get_running_loop().call_later(seconds, self._expire)

    async def adopt(self, subscription: UserSubscription, former: UserStreamConnection) -> None:
        """Subscribe another connection's subscription here; until that is done the other one carries it."""
        with contextlib.suppress(*CONNECTION_ERRORS, RequestRejectedError):
            async with self._request_slots:
                if subscription in former.subscriptions:
                    await self._subscribe(subscription)
        subscribed = any(subscription in carried for carried in self._by_number.values())
        if subscribed and subscription in former.subscriptions:
            former.subscriptions.pop(subscription)
            self.subscriptions[subscription] = None

    def reassign_all(self, reason: str) -> None:
        """Put every subscription that is still here on another connection."""
        for subscription in list(self.subscriptions):
            self.subscriptions.pop(subscription)
            subscription.mark_down(reason)
            self._place(subscription, other_than=self)
