"""One WebSocket-API connection, and the accounts whose user streams it carries (adapter).

It connects, subscribes every member, is cut, tells each member ``StreamDown``, waits and does it all again. One
account's refusal stops no other's stream. Sources: web-socket-api.md, "User Data Stream requests" and "session.logon".
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp

from fortctl.exchange import parsing
from fortctl.exchange.streams.reconnect import CONNECTION_ERRORS, Backoff, RequestRejectedError, read_frame, refusal
from fortctl.exchange.streams.subscription import UserSubscription

if TYPE_CHECKING:
    from fortctl.exchange.streams.user_pool import UserStreamPool

ANSWER_WITHIN_S = 10.0
MOST_MEMBERS = 1_000
SUBSCRIBE_AT_ONCE = 20
CONNECTED_WITHIN_S, SEE_OUT_S = 30.0, 5.0
_SUBSCRIBED_HERE, _NO_MORE_NUMBERS = -2035, -2042


class UserStreamConnection:
    """One connection: its members, the requests under way, which subscription number is whose."""

    def __init__(self, streams: UserStreamPool) -> None:
        self._streams = streams
        self.members: dict[UserSubscription, None] = {}
        self._numbers: dict[int, list[UserSubscription]] = {}
        self._answers: dict[int, tuple[asyncio.Future[dict[str, Any]], Callable[[dict[str, Any]], None] | None]] = {}
        self._ids = itertools.count(1)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._session: UserSubscription | None = None  # who is logged on
        self._successors: dict[
            UserSubscription, UserSubscription
        ] = {}  # logged on with a newer key → whose subscription it hears
        self._slots = asyncio.Semaphore(SUBSCRIBE_AT_ONCE)
        self._retiring = False
        self._pauses = Backoff()
        self.connected = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="user streams")

    # -- members ---------------------------------------------------------------------------------------------------

    def welcomes(self, member: UserSubscription) -> bool:
        """Return whether a member may join: there is room, and its account is not here, unless its key can log on."""
        if self._retiring or len(self.members) >= MOST_MEMBERS:
            return False
        same = [one for one in self.members if member.account and one.account == member.account]
        return not same or (len(same) == 1 and self._can_succeed(member, same[0]))

    def _can_succeed(self, member: UserSubscription, former: UserSubscription) -> bool:
        return member.logs_on and self._session is former and former.is_up and former not in self._successors

    def join(self, member: UserSubscription) -> None:
        member.line = self
        self.members[member] = None
        if self._socket is not None:
            self._streams.spawn(self._attach(member))

    def leave(self, member: UserSubscription) -> None:
        """Take a member off; the last one ends the connection."""
        member.line = None
        self.members.pop(member, None)
        heir = next((new for new, old in self._successors.items() if old is member), None)
        numbers = [number for number, members in self._numbers.items() if member in members]
        if self._session is member:
            self._session = None
        self._successors.pop(member, None)
        if not self.members:
            self.end()
        elif heir is not None:
            self._streams.spawn(self._resubscribe(heir, numbers))
        else:
            for number in numbers:
                self._numbers[number].remove(member)
                if not self._numbers[number]:
                    del self._numbers[number]
                    self._streams.spawn(self._tell("userDataStream.unsubscribe", {"subscriptionId": number}))

    def end(self) -> None:
        self._streams.dropped(self)
        self._task.cancel()

    # -- the connection --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                async with self._streams.dial() as socket:
                    await self._serve(socket)
            except RequestRejectedError as refused:
                error: BaseException = refused
            except CONNECTION_ERRORS as broken:
                error = broken
            finally:
                self._forget()
            reason = str(error) if isinstance(error, RequestRejectedError) else type(error).__name__
            if self._retiring:
                self._reassign_all(reason)
                self._streams.dropped(self)
                return
            for member in list(self.members):
                member.down(reason)
            await asyncio.sleep(self._pauses.after(error))

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.connected.set()
        for member in list(self.members):
            self._streams.spawn(self._attach(member))
        renewing = asyncio.get_running_loop().call_later(self._streams.life_s, self._renew)
        try:
            while True:
                self._take(read_frame(await socket.receive()))
        finally:
            renewing.cancel()

    def _forget(self) -> None:
        """What was true of a connection that is gone."""
        self._socket, self._session = None, None
        self.connected.clear()
        self._numbers.clear()
        self._successors.clear()
        for future, _then in self._answers.values():
            if not future.done():
                future.set_exception(RequestRejectedError(None, "the connection was cut"))
                future.exception()  # whoever waited may be gone
        self._answers.clear()

    def _take(self, message: dict[str, Any]) -> None:
        event = message.get("event")
        if isinstance(event, dict):
            self._deliver(message.get("subscriptionId"), event)
        elif message.get("id") in self._answers:
            future, then = self._answers.pop(message["id"])
            if not future.done():
                if then is not None and message.get("status", 200) == 200:
                    then(message)
                future.set_result(message)
        elif message.get("id") is None and self._session is not None:
            # A session whose key turned invalid is told once, with a null id (web-socket-api.md, "session.logon").
            refused, member = refusal(message, self._session.now_ms()), self._session
            if refused is not None:
                self._session = None
                self._lost(member, refused)

    def _deliver(self, number: Any, event: Mapping[str, Any]) -> None:
        kind = event.get("e")
        if kind == "serverShutdown" and number is None:
            self._renew()
            return
        for member in list(self._numbers.get(number, ())):
            if kind == "executionReport":
                member.tell(parsing.order_update(event))
            elif kind == "outboundAccountPosition":
                member.tell(parsing.balance_update(event))
            elif kind == "eventStreamTerminated":
                self._lost(member, RequestRejectedError(None, str(kind)))

    def _lost(self, member: UserSubscription, refused: RequestRejectedError) -> None:
        """A member's stream ended while the connection lives: say so, and subscribe again after a pause."""
        for number in [number for number, members in self._numbers.items() if member in members]:
            self._numbers[number].remove(member)
            if not self._numbers[number]:
                del self._numbers[number]
        if self._session is member:
            self._session = None
        self._successors.pop(member, None)
        member.down(str(refused), refused.code)
        self._streams.spawn(self._attach_later(member, member.pauses.after(refused)))

    async def _attach_later(self, member: UserSubscription, pause: float) -> None:
        await asyncio.sleep(pause)
        if member.line is self and self._socket is not None:
            await self._attach(member)

    # -- subscribing -----------------------------------------------------------------------------------------------

    async def _attach(self, member: UserSubscription) -> None:
        """Subscribe a member; a refusal is told to it alone, and tried again."""
        socket = self._socket
        try:
            async with self._slots:
                if member.line is not self:
                    return
                await self._subscribe(member)
        except RequestRejectedError as refused:
            if self._session is member:
                self._session = None
            if member.line is not self or self._socket is not socket:
                return  # the whole connection went; it subscribes again by itself
            if refused.code in (_SUBSCRIBED_HERE, _NO_MORE_NUMBERS):
                self.members.pop(member, None)
                self._streams.place(member, besides=self)
            else:
                self._lost(member, refused)
        except TimeoutError:
            # A connection on which a request is not answered is no good for the others either.
            if self._socket is socket and socket is not None:
                await socket.close()
        except (aiohttp.ClientError, OSError):
            pass  # the reader notices

    async def _subscribe(self, member: UserSubscription) -> None:
        former = self._session
        if former is not None and former.account == member.account and self._can_succeed(member, former):
            await self._succeed(member, former)
            return

        def heard(answer: dict[str, Any]) -> None:
            self._heard(member, answer)

        if member.logs_on and self._session is None:
            self._session = member
            await self._ask(member, "session.logon", member.signed())
            await self._ask(member, "userDataStream.subscribe", {}, heard)
        else:
            await self._ask(member, "userDataStream.subscribe.signature", member.signed(), heard)

    async def _succeed(self, member: UserSubscription, former: UserSubscription) -> None:
        """Log on with a newer key of the same account: the stream that is there goes on for both."""

        def logged_on(answer: dict[str, Any]) -> None:
            self._session = member
            self._successors[member] = former
            for members in self._numbers.values():
                if former in members:
                    members.append(member)
            member.up()

        await self._ask(member, "session.logon", member.signed(), logged_on)

    async def _resubscribe(self, member: UserSubscription, numbers: list[int]) -> None:
        """Subscribe with the newer key once the former one's stream is not wanted any more.

        What the exchange does with a stream whose key is deleted later is not documented: so it ends here. Both
        requests leave together; the member is told ``StreamUp`` again, for what may have fallen between them.
        """
        self._successors.pop(member, None)
        for number in numbers:
            self._numbers.pop(number, None)
            self._streams.spawn(self._tell("userDataStream.unsubscribe", {"subscriptionId": number}))
        await asyncio.sleep(0)
        try:
            await self._ask(
                member, "userDataStream.subscribe", {}, lambda answer: self._heard(member, answer, again=True)
            )
        except (RequestRejectedError, *CONNECTION_ERRORS) as error:
            if member.line is self and self._socket is not None:
                self._lost(
                    member,
                    error
                    if isinstance(error, RequestRejectedError)
                    else RequestRejectedError(None, type(error).__name__),
                )

    def _heard(self, member: UserSubscription, answer: dict[str, Any], *, again: bool = False) -> None:
        self._numbers[int(answer["result"]["subscriptionId"])] = [member]
        self._pauses.reset()
        member.up(again=again)

    async def _ask(
        self,
        member: UserSubscription,
        method: str,
        parameters: Mapping[str, str | int],
        then: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return its answer; ``then`` is called before the next frame is read.

        Raises:
            Refused: the exchange refuses it, or the connection is gone.
            TimeoutError: no answer came.
        """
        if self._socket is None:
            raise RequestRejectedError(None, "the connection was cut")
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = (future, then)
        try:
            await self._socket.send_json({"id": number, "method": method, "params": dict(parameters)})
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await future
        finally:
            self._answers.pop(number, None)
        refused = refusal(answer, member.now_ms())
        if refused is not None:
            raise refused
        return answer

    async def _tell(self, method: str, parameters: Mapping[str, str | int]) -> None:
        """Send a request whose answer changes nothing."""
        if self._socket is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await self._socket.send_json({"id": next(self._ids), "method": method, "params": dict(parameters)})

    # -- renewing --------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Another connection takes this one's place (24 h, or the server says that it shuts down), with no break."""
        if self._retiring:
            return
        self._retiring = True
        self._streams.spawn(self._move_on())

    async def _move_on(self) -> None:
        fresh = UserStreamConnection(self._streams)
        self._streams.lines.append(fresh)
        try:
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                await fresh.connected.wait()
        except TimeoutError:
            fresh.end()
            self._retiring = False
            asyncio.get_running_loop().call_later(CONNECTED_WITHIN_S, self._renew)
            return
        await asyncio.gather(*(fresh.adopt(member, self) for member in list(self.members)))
        # What left on this connection before the other one was heard may still be under way.
        await asyncio.sleep(SEE_OUT_S)
        self._reassign_all("the connection was replaced")
        self.end()

    async def adopt(self, member: UserSubscription, former: UserStreamConnection) -> None:
        """Subscribe another connection's member here; until that is done it is heard there."""
        with contextlib.suppress(*CONNECTION_ERRORS, RequestRejectedError):
            async with self._slots:
                if member.line is former:
                    await self._subscribe(member)
        if member in self._heard_here() and member.line is former:
            former.members.pop(member, None)
            member.line = self
            self.members[member] = None

    def _heard_here(self) -> set[UserSubscription]:
        return {member for members in self._numbers.values() for member in members}

    def _reassign_all(self, reason: str) -> None:
        """Put the members that are still here on other connections."""
        for member in list(self.members):
            self.members.pop(member)
            member.down(reason)
            self._streams.place(member, besides=self)
