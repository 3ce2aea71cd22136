"""The topic tree: what is formatted is parsed back, and nothing else is."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import topics
from core.topics import Address, TopicError, Uplink, is_slug, parse_uplink

SLUGS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
LEVELS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=20)
KINDS = st.sampled_from(Uplink)
SENT_FOR_A_DEVICE = st.sampled_from([kind for kind in Uplink if kind is not Uplink.RESULT])


@given(org=SLUGS, device=SLUGS, kind=KINDS)
def test_an_uplink_is_parsed_back(org: str, device: str, kind: Uplink) -> None:
    address = parse_uplink(topics.uplink(f"{org}/{device}", kind))
    assert address == Address(org, device, kind)
    assert address.path == f"{org}/{device}"


@given(org=SLUGS, device=SLUGS, kind=SENT_FOR_A_DEVICE, process=LEVELS, request=LEVELS)
def test_a_reply_address_is_parsed_back(
    org: str, device: str, kind: Uplink, process: str, request: str
) -> None:
    to = f"{process}/{request}"
    assert parse_uplink(topics.uplink_with_reply(f"{org}/{device}", kind, to)).reply == to


@given(
    st.lists(
        st.sampled_from(["v1", "v2", "acme", "one", "Acme", "", "-x", "_reply", *Uplink, "cmd", "+", "#"]),
        max_size=8,
    ).map("/".join)
    | st.text(max_size=40)
)
def test_a_topic_is_either_ours_or_refused(topic: str) -> None:
    try:
        address = parse_uplink(topic)
    except TopicError:
        return
    plain = topics.uplink(address.path, address.kind)
    assert topic == (plain if address.reply is None else f"{plain}/_reply/{address.reply}")
    assert is_slug(address.org)
    assert is_slug(address.device)


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("v2/acme/one/telemetry", "is not v1/"),
        ("v1/acme/one", "is not v1/"),
        ("v1/acme/one/telemetry/", "is not v1/"),
        ("/v1/acme/one/telemetry", "is not v1/"),
        ("v1/acme/one/telemetry/_reply/x", "is not v1/"),
        ("v1/Acme/one/telemetry", "'Acme' is not a slug"),
        ("v1/acme/one\n/telemetry", "is not a slug"),
        ("v1/acme/-one/telemetry", "'-one' is not a slug"),
        ("v1/_probe/one/telemetry", "'_probe' is not a slug"),
        ("v1//one/telemetry", "'' is not a slug"),
        (f"v1/acme/{'x' * 64}/telemetry", "is not a slug"),
        ("v1/acme/one/Telemetry", "unknown kind 'Telemetry'"),
        ("v1/acme/one/receipt", "unknown kind 'receipt'"),
        ("v1/acme/one/telemetry/reply/api/7", "only _reply/"),
        ("v1/acme/one/telemetry/_reply//7", "only _reply/"),
        ("v1/acme/one/telemetry/_reply/api/", "only _reply/"),
    ],
)
def test_a_foreign_topic_is_refused_by_its_level(topic: str, told: str) -> None:
    with pytest.raises(TopicError) as caught:
        parse_uplink(topic)
    assert told in str(caught.value)
    assert repr(topic) in str(caught.value)


@pytest.mark.parametrize("slug", ["a", "0", "a-", "x" * 63, "a--b", "42"])
def test_slugs(slug: str) -> None:
    assert is_slug(slug)


@pytest.mark.parametrize("text", ["", "-a", "A", "a_b", "a.b", "x" * 64, "é", "a/b", "a+", "a\n"])
def test_what_is_no_slug(text: str) -> None:
    assert not is_slug(text)


def test_the_filters_name_every_uplink_and_no_answer() -> None:
    assert topics.uplink_filters() == [*(f"v1/+/+/{kind}" for kind in Uplink), "v1/+/+/+/_reply/+/+"]
    assert topics.uplink_filters("crew") == [f"$share/crew/{plain}" for plain in topics.uplink_filters()]


def test_what_we_send_is_never_taken_for_an_uplink() -> None:
    sent = [
        topics.receipt("acme/one"),
        topics.error("acme/one"),
        topics.event("acme", "device.online"),
        topics.reply("api/7"),
        topics.probe("ingest-1"),
    ]
    for topic in sent:
        with pytest.raises(TopicError):
            parse_uplink(topic)
