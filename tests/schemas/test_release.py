"""Released schemas never change, versions are raised as the policy says, and released upcasters stay what they are."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas import export, release, released
from schemas.policy import Outcome, formers, judge
from schemas.released import DIRECTORY, Entry, Released, ReleasedError, load
from schemas.topics import COST_EVENTS, SOURCES, USER_EVENTS
from schemas.upcast_steps import Filled, Mapped, Renamed, Scaled, Upcaster
from schemas.upcasters import CONTRACT, Contract, digest
from schemas.versions import Version, parse_version
from tests.schemas.planted import PLANTED, UPCASTERS

EXPORTED = {topic: export.json_schema(topic) for topic in SOURCES}
V100, V110, V120 = Version(1, 0, 0), Version(1, 1, 0), Version(1, 2, 0)


def made(**versions: dict[str, dict[str, Any]]) -> Released:
    """Released versions by name (v1_0_0), without upcasters."""
    schemas = {parse_version(name[1:].replace("_", ".")): each for name, each in versions.items()}
    return Released({version: Entry({}, {}) for version in schemas}, schemas)


def changed(act: str, topic: str = USER_EVENTS) -> dict[str, dict[str, Any]]:
    """The exported schemas with one change."""
    schemas = copy.deepcopy(EXPORTED)
    fields = schemas[topic]["properties"]
    if act == "added":
        fields["brand_new"] = {"type": "integer"}
    elif act == "removed":
        del fields["user_agent"]
    else:
        fields["user_agent"]["description"] = "in other words"
    return schemas


def text(outcome: Outcome) -> str:
    return "\n".join([*outcome.problems, *(line for verdict in outcome.verdicts for line in verdict.problems)])


def test_what_is_shipped_is_accepted() -> None:
    shipped = load()
    outcome = judge(CONTRACT, EXPORTED, shipped)
    assert outcome.ok, text(outcome)
    assert {verdict.topic for verdict in outcome.verdicts} == set(SOURCES)
    assert formers(CONTRACT, shipped)[0] == shipped.versions[-1]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped releases, to be spoilt."""
    return Path(shutil.copytree(DIRECTORY, tmp_path / "released"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: (at / "1.0.0/user-events.json").write_text("{}"), "1.0.0/user-events.json: was edited"),
        (lambda at: (at / "1.0.0/user-events.json").unlink(), "1.0.0/user-events.json: is missing"),
        (lambda at: (at / "1.0.0/more.json").write_text("{}"), "1.0.0/more.json: is in no release"),
        (lambda at: (at / "manifest.json").unlink(), "manifest.json: cannot be read"),
        (
            lambda at: (at / "manifest.json").write_text('{"1.0": {"schemas": {}, "upcasters": {}}}'),
            "'1.0' is no version",
        ),
        (lambda at: (at / "manifest.json").write_text('{"1.0.0": {}}'), "missing required field"),
    ],
    ids=["edited", "missing", "added", "no manifest", "no version", "no entry"],
)
def test_released_files_never_change(copied: Path, spoil: Any, words: str) -> None:
    assert load(copied).versions == load().versions
    spoil(copied)
    with pytest.raises(ReleasedError) as caught:
        load(copied)
    assert words in str(caught.value)


def test_a_change_needs_a_new_version() -> None:
    """Of a released version only descriptions may be changed; a patch changes no more; a minor adds."""
    old = made(v1_0_0=EXPORTED)
    for current in (V100, Version(1, 0, 1)):
        contract = Contract(current, {})
        assert judge(contract, changed("described"), old).ok
        for act in ("added", "removed"):
            refused = judge(contract, changed(act), old)
            assert f"version {current}" in text(refused)
            assert "to 1.1.0" in text(refused)
    assert judge(Contract(V110, {}), changed("added"), old).ok
    (note,) = judge(Contract(V110, {}), changed("added"), old).verdicts[0].notes
    assert note.startswith("brand_new: new")
    assert "user_agent: field is gone" in text(judge(Contract(V110, {}), changed("removed"), old))


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (Version(0, 9, 0), "lower than the last"),
        (Version(1, 2, 0), "leaves a gap"),
        (Version(1, 0, 2), "leaves a gap"),
        (Version(1, 1, 1), "leaves a gap"),
        (Version(2, 0, 0), "only major version 1"),
    ],
)
def test_versions_follow_each_other(current: Version, words: str) -> None:
    assert words in text(judge(Contract(current, {}), EXPORTED, made(v1_0_0=EXPORTED)))


def test_going_back_is_refused_and_nothing_released_too() -> None:
    two = made(v1_0_0=EXPORTED, v1_1_0=EXPORTED)
    assert "older than the last" in text(judge(Contract(V100, {}), EXPORTED, two))
    assert "nothing was released" in text(judge(Contract(V100, {}), EXPORTED, Released({}, {})))


def test_both_former_versions_count_and_no_older_one() -> None:
    """1.3 reads 1.2 and 1.1: what breaks 1.1 is refused, what breaks 1.0 is not. The newest patch of each is compared."""
    added = changed("added")
    all_four = made(v1_0_0=added, v1_1_0=EXPORTED, v1_1_1=EXPORTED, v1_2_0=EXPORTED)
    contract = Contract(Version(1, 3, 0), {})
    assert formers(contract, all_four) == [V120, Version(1, 1, 1)]
    assert judge(contract, EXPORTED, all_four).ok
    assert not judge(contract, EXPORTED, made(v1_0_0=added, v1_1_0=added, v1_2_0=EXPORTED)).ok


def planted_schemas(minor: int) -> dict[str, dict[str, Any]]:
    """The exported schemas as the planted contract had them in that minor."""
    schemas = copy.deepcopy(EXPORTED)
    user, cost = schemas[USER_EVENTS], schemas[COST_EVENTS]
    del user["properties"]["response_time_ms"]
    user["properties"]["response_time_s"] = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}
    cost["properties"]["component"]["enum"][-1:] = ["audio"]
    if minor == 0:
        user["properties"]["user"] = user["properties"].pop("user_id")
        user["required"] = ["user" if name == "user_id" else name for name in user["required"]]
    return schemas


def planted(contract: Contract = PLANTED, current: dict[str, dict[str, Any]] = EXPORTED) -> Outcome:
    """The planted contract's 1.2 against its 1.1 and 1.0, not released yet."""
    old = Released(
        {V100: Entry({}, {}), V110: Entry({}, {USER_EVENTS: digest(UPCASTERS[USER_EVENTS, 0])})},
        {V100: planted_schemas(0), V110: planted_schemas(1)},
    )
    return judge(contract, current, old)


def test_with_upcasters_a_field_may_be_renamed_and_moved() -> None:
    outcome = planted()
    assert outcome.ok, text(outcome)
    told = {(verdict.topic, verdict.against): verdict.not_forward for verdict in outcome.verdicts}
    assert told[USER_EVENTS, V100] == ["user"]
    assert told[COST_EVENTS, V110] == ["component"]
    assert told[COST_EVENTS, V100]
    assert not told["ops-events", V100]


@pytest.mark.parametrize(
    ("topic", "minor", "upcaster", "words"),
    [
        (USER_EVENTS, 1, None, "response_time_s: field is gone"),
        (
            USER_EVENTS,
            1,
            Upcaster((Scaled("response_time_s", "response_time_ms", 1000),)),
            "number before, now integer",
        ),
        (USER_EVENTS, 1, Upcaster((Renamed("response_s", "response_time_ms"),)), "cannot be renamed"),
        (COST_EVENTS, 1, None, 'component: the value "audio" is not allowed any more'),
        (COST_EVENTS, 1, Upcaster((Mapped("component", (("audio", "sound"),)),)), 'the value "sound"'),
        (COST_EVENTS, 1, Upcaster((Mapped("component", (("radio", "voice"),)),)), "is no enumeration with radio"),
        (USER_EVENTS, 0, Upcaster((Filled("user_id", "0"),)), "user: field is gone"),
        (
            USER_EVENTS,
            0,
            Upcaster((Renamed("user", "user_id"), Filled("kind", "1"))),
            "was released with 1.1.0 and never changes",
        ),
        (USER_EVENTS, 0, None, "was released with 1.1.0 and never changes"),
        (USER_EVENTS, 2, Upcaster(()), "is never used"),
    ],
)
def test_upcasters_that_do_not_do_it(topic: str, minor: int, upcaster: Upcaster | None, words: str) -> None:
    """None, one that fits no schema, one that gives what is not read, and a released one that was changed."""
    upcasters = {key: each for key, each in UPCASTERS.items() if key != (topic, minor)}
    if upcaster is not None:
        upcasters[topic, minor] = upcaster
    outcome = planted(Contract(V120, upcasters))
    assert words in text(outcome)


def test_a_stream_may_come_and_not_go() -> None:
    less = {topic: schema for topic, schema in EXPORTED.items() if topic != COST_EVENTS}
    assert judge(Contract(V110, {}), EXPORTED, made(v1_0_0=less)).ok
    assert "cost-events: the stream is gone" in text(judge(Contract(V110, {}), less, made(v1_0_0=EXPORTED)))


def test_release_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first release, its repetition, a version that is not current, and the next one with what led to it."""
    directory = tmp_path / "released"
    first = Contract(V100, {})
    assert len(release.release("1.0.0", directory, first)) == len(SOURCES) + 1
    assert load(directory).schemas[V100][USER_EVENTS] == EXPORTED[USER_EVENTS]
    with pytest.raises(ReleasedError, match="released before"):
        release.release("1.0.0", directory, first)
    with pytest.raises(ValueError, match=r"1\.0\.0 is current"):
        release.release("1.1.0", directory, first)
    schemas = changed("removed")
    monkeypatch.setattr(export, "json_schema", schemas.__getitem__)
    with pytest.raises(ReleasedError, match=r"user-events against 1\.0\.0: user_agent: field is gone"):
        release.release("1.1.0", directory, Contract(V110, {}))
    assert load(directory).versions == [V100]
    schemas |= {USER_EVENTS: changed("added")[USER_EVENTS]}
    upcaster = Upcaster((Filled("brand_new", "1"),))
    release.release("1.1.0", directory, Contract(V110, {(USER_EVENTS, 0): upcaster}))
    assert load(directory).entries[V110].upcasters == {USER_EVENTS: digest(upcaster)}
    assert json.loads((directory / released.MANIFEST).read_text())["1.1.0"]["upcasters"]


def test_main_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main([]) == 2
    assert release.main(["--help"]) == 2
    assert release.main(["1.x"]) == 2
    assert release.main([str(load().versions[0])]) in (1, 2)
    assert "usage" in capsys.readouterr().err
