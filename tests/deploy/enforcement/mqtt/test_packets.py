"""Packets of MQTT are read as they were written, however they are cut."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from midhaul.deploy.enforcement.mqtt.packets import (
    MalformedPacketError,
    PacketKind,
    Prop,
    Publish,
    ReplyPacket,
    Splitter,
    packet,
    publish_packet,
    reply_packet,
    text,
    varint,
)

_MOST = 1 << 20
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_values = st.one_of(
    st.tuples(st.just(int(Prop.USER)), st.tuples(_texts, _texts)),
    st.tuples(st.just(int(Prop.CONTENT_TYPE)), _texts),
    st.tuples(st.just(int(Prop.CORRELATION_DATA)), st.binary(max_size=30)),
    st.tuples(st.just(int(Prop.MESSAGE_EXPIRY)), st.integers(0, (1 << 32) - 1)),
    st.tuples(st.just(int(Prop.TOPIC_ALIAS)), st.integers(0, 65_535)),
    st.tuples(st.just(int(Prop.PAYLOAD_FORMAT)), st.integers(0, 1)),
    st.tuples(st.just(int(Prop.SUBSCRIPTION_ID)), st.integers(1, (1 << 28) - 1)),
)


@st.composite
def messages(draw: st.DrawFn, *, is_five: bool) -> Publish:
    """Any message."""
    payload, qos = draw(st.binary(max_size=300)), draw(st.integers(0, 2))
    return Publish(
        topic=draw(_texts),
        payload=payload,
        qos=qos,
        is_retained=draw(st.booleans()),
        is_dup=draw(st.booleans()),
        mid=draw(st.integers(1, 65_535)) if qos else 0,
        properties=tuple(draw(st.lists(_values, max_size=4))) if is_five else (),
        n_bytes=len(payload),
    )


@pytest.mark.parametrize("is_five", [True, False])
@given(data=st.data())
def test_messages_are_read_as_they_were_written(
    data: st.DataObject, *, is_five: bool
) -> None:
    """In pieces of any size, with other packets between them."""
    wanted = data.draw(st.lists(messages(is_five=is_five), max_size=4))
    stream = b"".join(
        publish_packet(one, is_five=is_five) + reply_packet(PacketKind.PUBACK, 7)
        for one in wanted
    )
    size = data.draw(st.integers(1, 50))
    splitter = Splitter(_MOST, is_five=is_five)
    found: list[Publish | ReplyPacket] = []
    for begin in range(0, len(stream), size):
        found += splitter.feed(stream[begin : begin + size])
    assert [one for one in found if isinstance(one, Publish)] == wanted
    replies = [one for one in found if isinstance(one, ReplyPacket)]
    assert [(one.kind, one.mid) for one in replies] == [(PacketKind.PUBACK, 7)] * len(
        wanted
    )


@given(st.binary(max_size=200), st.booleans())
def test_other_bytes_are_refused_in_words(data: bytes, is_five: bool) -> None:  # noqa: FBT001
    """No other error, and never more packets than bytes."""
    splitter = Splitter(_MOST, is_five=is_five)
    with contextlib.suppress(MalformedPacketError):
        assert len(splitter.feed(data)) <= len(data)


def test_properties_are_those_of_another_implementation() -> None:
    """What paho has packed is read here."""
    packed = Properties(PacketTypes.PUBLISH)
    packed.ContentType = "text/plain"
    packed.MessageExpiryInterval = 70_000
    packed.UserProperty = [("k", "v"), ("k", "w")]
    packed.SubscriptionIdentifier = 300
    body = text("a/b") + packed.pack() + b"payload"
    (found,) = Splitter(_MOST, is_five=True).feed(packet(PacketKind.PUBLISH << 4, body))
    assert isinstance(found, Publish)
    assert set(found.properties) == {
        (Prop.CONTENT_TYPE, "text/plain"),
        (Prop.MESSAGE_EXPIRY, 70_000),
        (Prop.USER, ("k", "v")),
        (Prop.USER, ("k", "w")),
        (Prop.SUBSCRIPTION_ID, 300),
    }
    assert found.payload == b"payload"


@pytest.mark.parametrize("size", [1000, 70_000, 1 << 19])
def test_a_message_that_is_too_large_is_counted_and_not_held(size: int) -> None:
    """Its topic, packet id and length are known, and what follows is read."""
    large = Publish(topic="a/large", payload=bytes(1 << 20), qos=1, mid=9)
    small = Publish(topic="a", payload=b"small")
    stream = b"".join(publish_packet(one, is_five=True) for one in (large, small))
    splitter = Splitter(1000, is_five=True)
    found: list[Publish | ReplyPacket] = []
    most_held = 0
    for begin in range(0, len(stream), size):
        found += splitter.feed(stream[begin : begin + size])
        most_held = max(most_held, len(splitter._held))
    first, second = found
    assert isinstance(first, Publish)
    assert isinstance(second, Publish)
    assert (first.topic, first.mid, first.is_cut) == ("a/large", 9, True)
    assert abs(first.n_bytes - (1 << 20)) <= 1  # the length of its properties
    assert first.payload == b""
    assert second.payload == b"small"
    assert most_held < 1 << 18


@given(st.integers(0, (1 << 28) - 1))
def test_lengths_have_one_to_four_bytes(number: int) -> None:
    """Seven bits each; what has no place in them is refused."""
    raw = varint(number)
    assert sum((byte & 127) << 7 * place for place, byte in enumerate(raw)) == number
    assert len(raw) <= 4
    with pytest.raises(MalformedPacketError):
        varint(number + (1 << 28))
