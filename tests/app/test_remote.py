"""Models on other machines: every way their servers answer, and every way they fail, over real connections."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from app.services.chat import ChatService
from app.services.inference import InferenceService
from app.services.preferences import Preferences
from app.services.remote import batch, client
from app.services.remote.engines import RemoteNews, RemoteService
from app.services.secrets import Secrets
from core import paths
from core.chat.turns import Sampling, Turn
from core.errors import UserError
from core.protocol.messages import BatchAnswer, Failed, Finished, Generate, GenerateBatch, JobEvent, TextDelta
from core.remote_engine import RemoteEngine, RemoteModel, checked_name, checked_url
from core.store.store import Store
from tests.helpers import certificates
from tests.helpers.remote_server import RemoteServer
from tests.helpers.waiting import until

pytestmark = pytest.mark.loops("asyncio")
NAME = "cluster/Qwen3-32B"
KEY = "sk-of-the-cluster"
SAMPLING = Sampling(top_k=7, min_p=0.1, seed=0, stop=("END",), max_new_tokens=50)


class MemorySecrets(Secrets):
    """As on a machine without a key ring."""

    has_keyring = False


@asynccontextmanager
async def remote(server: RemoteServer, **engine: str) -> AsyncIterator[RemoteService]:
    service = RemoteService(Preferences(), MemorySecrets())
    models = (RemoteModel("Qwen/Qwen3-32B", 40960), RemoteModel("taught"))
    kept = RemoteEngine("cluster", f"{server.address}/v1", models)
    await service.keep(kept, engine.get("key", ""))
    try:
        yield service
    finally:
        await service.close()


def asked(**fields: object) -> Generate:
    turns = (Turn("system", "Be brief."), Turn("user", "What is the moon?"))
    return Generate("job", **{"turns": turns, "sampling": SAMPLING} | fields)  # type: ignore[arg-type]


async def reply(service: RemoteService, name: str = NAME, **fields: object) -> tuple[str, str, JobEvent]:
    """thinking, text and how it ended."""
    events = [event async for event in service.generate(name, asked(**fields))]
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert sum(isinstance(event, Finished | Failed) for event in events) == 1
    thinking = "".join(delta.text for delta in deltas if delta.thinking)
    return thinking, "".join(delta.text for delta in deltas if not delta.thinking), events[-1]


def code(end: JobEvent) -> str:
    assert isinstance(end, Failed) and end.kind == "user"
    assert str(UserError(end.code, **end.params))
    return end.code


async def test_a_reply_comes_with_the_figures_of_the_server() -> None:
    with RemoteServer() as server:
        async with remote(server, key=KEY) as service:
            thinking, text, end = await reply(service)
        assert (thinking, text) == ("", "It is 好 and round.")
        assert isinstance(end, Finished) and end.reason == "stop" and end.figures is not None
        known = end.figures
        assert (known.prompt_tokens, known.new_tokens, known.reused_tokens) == (21, 8, 5)
        assert (known.context_length, known.memory_bytes, known.is_about) == (40960, 0, False)
        assert known.first_token_s > 0
        (body,) = server.bodies
        assert body["model"] == "Qwen/Qwen3-32B" and body["messages"][0] == {"role": "system", "content": "Be brief."}
        expected = {"top_k": 7, "min_p": 0.1, "seed": 0, "stop": ["END"], "max_tokens": 50, "repetition_penalty": 1.05}
        assert {name: body[name] for name in expected} == expected and "chat_template_kwargs" not in body
        assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("turn", ["thinking", "tagged"])
async def test_thinking_is_told_apart_and_can_then_be_switched(turn: str) -> None:
    with RemoteServer(plan=[turn]) as server:
        async with remote(server) as service:
            assert not service.can_think(NAME)
            thinking, text, _ = await reply(service)
            assert (thinking, text) == ("Let me see.", "It is 好 and round.")
            assert service.can_think(NAME)
            await reply(service, thinking=False)
        assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}


async def test_answers_in_other_forms() -> None:
    with RemoteServer(plan=["whole", "uncounted", "length"]) as server:
        async with remote(server) as service:
            assert (await reply(service))[:2] == ("Hm.", "All at once.")
            _, _, uncounted = await reply(service, NAME)
            _, _, cut = await reply(service, "cluster/taught")
        assert isinstance(uncounted, Finished) and uncounted.figures is not None
        assert uncounted.figures.is_about and uncounted.figures.new_tokens == 3
        assert uncounted.figures.context_length == 0, "nothing is known of how full it is"
        assert isinstance(cut, Finished) and cut.reason == "length"


@pytest.mark.parametrize(("turn", "asked_times"), [("strict", 2), ("stricter", 3)])
async def test_a_server_that_refuses_fields_is_asked_without_them_and_that_is_told_once(
    turn: str, asked_times: int
) -> None:
    told: list[RemoteNews] = []
    with RemoteServer(plan=[turn]) as server:
        async with remote(server) as service:
            service.noticed.listen(told.append)
            for _ in range(2):
                assert (await reply(service))[1] == "It is 好 and round."
        assert len(server.bodies) == asked_times + 1 and len(told) == 1
        assert told[0].notice.params["fields"] == "top_k, repetition_penalty, min_p"
        assert "top_k" not in server.bodies[-1] and server.bodies[-1]["temperature"] == SAMPLING.temperature


@pytest.mark.loops("asyncio", "qasync")
@pytest.mark.parametrize(
    ("turn", "expected", "kept"),
    [
        ("cut", "remote_lost", "It is 好"),
        ("torn", "remote_unreadable", "It is "),
        ("error", "remote_failed", "It is "),
        ("huge", "remote_unreadable", "It is "),
        ("filtered", "remote_filtered", "It is 好 and round."),
        ("html", "remote_not_openai", ""),
        ("busy", "remote_busy_for", ""),
        ("rejected", "remote_rejected", ""),
        ("status:500", "remote_failed", ""),
        ("status:404", "remote_model_unknown", ""),
        ("status:307", "remote_not_openai", ""),
    ],
)
async def test_what_came_is_kept_and_the_end_is_told(turn: str, expected: str, kept: str) -> None:
    with RemoteServer(plan=[turn]) as server:
        async with remote(server) as service:
            _, text, end = await reply(service)
    assert (code(end), text) == (expected, kept)
    if turn == "busy":
        assert isinstance(end, Failed) and end.params["seconds"] == 17


async def test_a_key_is_in_no_message_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RemoteServer(plan=["status:500"], key=KEY) as server:
        async with remote(server, key=KEY) as service:
            end = (await reply(service))[2]
            assert isinstance(end, Failed) and "•••" in str(end.params["message"])
            await service.keep(service.engines[0], "wrong-" + KEY, old="cluster")
            assert code((await reply(service))[2]) == "remote_key_refused"
            await service.keep(service.engines[0], "", old="cluster")
            assert code((await reply(service))[2]) == "remote_key_missing"
    assert KEY not in caplog.text and KEY not in paths.settings_file().read_text("utf-8")


async def test_a_key_is_sent_to_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with RemoteServer() as first, RemoteServer() as second:
        async with remote(first, key=KEY) as service:
            moved = RemoteEngine("cluster", f"{second.address}/v1", service.engines[0].models)
            await service.keep(moved, old="cluster")
            await reply(service)
            assert second.keys == [""]
            assert await service.kept_key(f"{first.address}/v1") == "", "nothing asks there any more"
            monkeypatch.setenv("QWEN_WORKBENCH_KEY_CLUSTER", "sk-of-the-environment")
            await reply(service)
            assert second.keys[-1] == "Bearer sk-of-the-environment"


@pytest.mark.loops("asyncio", "qasync")
async def test_stop_closes_the_connection_at_once_and_keeps_what_came() -> None:
    with RemoteServer(plan=["endless"]) as server:
        async with remote(server) as service:
            text, end = "", None
            async with aclosing(service.generate(NAME, asked())) as events:
                async for event in events:
                    end = event
                    text += event.text if isinstance(event, TextDelta) else ""
                    if text == "It is 好":
                        service.cancel("job")
            assert isinstance(end, Finished) and end.reason == "cancelled"
            assert end.figures is not None and end.figures.new_tokens == 2
            await until(server.left.is_set, 5)


async def test_an_address_is_checked() -> None:
    with RemoteServer(key=KEY) as server:
        async with remote(server) as service:
            found = await service.check(server.address, KEY)
            assert found.url == f"{server.address}/v1"
            assert found.models == (RemoteModel("Qwen/Qwen3-32B", 40960), RemoteModel("taught"))
            for key, expected in (
                ("", "remote_key_missing"),
                ("wrong", "remote_key_refused"),
                ("a b", "remote_key_unusable"),
            ):
                with pytest.raises(UserError) as refused:
                    await service.check(server.address, key)
                assert refused.value.code == expected
            server.key, server.root = "", ""
            assert (await service.check(server.address, "")).url == server.address
            server.models = None
            with pytest.raises(UserError) as refused:
                await service.check(server.address, "")
            assert refused.value.code == "remote_not_openai"


async def test_a_check_never_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CHECK_S", 0.3)
    _, identity = certificates.made_in(tmp_path)
    with RemoteServer(plan=["silent"]) as silent, RemoteServer(tls=identity) as strange, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = {
            "remote_slow": silent.address,
            "remote_untrusted": strange.address,
            "remote_not_tls": silent.address.replace("http", "https"),
            "remote_unreachable": f"http://127.0.0.1:{closed.getsockname()[1]}",
        }
        async with remote(silent) as service:
            for expected, address in addresses.items():
                with pytest.raises(UserError) as refused:
                    await service.check(address, "")
                assert refused.value.code in (expected, "remote_slow" if expected == "remote_not_tls" else expected)


def test_names_and_addresses_as_people_write_them() -> None:
    assert checked_url(" http://host:8000/v1/chat/completions/ ") == "http://host:8000/v1"
    assert checked_url("localhost:8000") == "http://localhost:8000" and checked_url("a.example") == "https://a.example"
    refusals = {"url_unusable": ("", "ftp://a", "http://a b", "["), "url_secret": ("http://u:p@a", "http://a/v1?key=x")}
    for expected, addresses in refusals.items():
        for wrong in addresses:
            with pytest.raises(UserError) as refused:
                checked_url(wrong)
            assert refused.value.code == f"remote_{expected}"
    assert checked_name(" 集群-1 ", ()) == "集群-1"
    for wrong, expected in (("", "empty"), ("a/b", "unusable"), ("a b", "unusable"), ("Cluster", "taken")):
        with pytest.raises(UserError) as refused:
            checked_name(wrong, ("cluster",))
        assert refused.value.code == f"remote_name_{expected}"


async def test_a_model_is_found_by_its_name_and_by_the_end_of_it() -> None:
    with RemoteServer() as server:
        async with remote(server) as service:
            assert service.names == [NAME, "cluster/taught"]
            for name in (NAME, "cluster/Qwen/Qwen3-32B", "CLUSTER/Qwen3-32B"):
                found = service.find(name)
                assert found is not None and found[1].id == "Qwen/Qwen3-32B"
            assert service.find("cluster") is None and service.find("starter") is None
            engine = service.engines[0]
            await service.remove(engine)
            assert service.find(NAME) is None and code((await reply(service))[2]) == "remote_gone"


async def test_a_conversation_with_a_remote_model_is_kept_as_any_other() -> None:
    """The same verbs, the same store: a lost connection, another version, a continuation."""

    def nothing_here(name: str) -> None:
        raise UserError("model_not_installed", name=name)

    with RemoteServer(plan=["cut", "thinking", "length", "ok"]) as server:
        async with remote(server) as service:
            store = Store(paths.database())
            inference = InferenceService(nothing_here, remote=service)  # type: ignore[arg-type]
            chat = ChatService(store, inference)
            conversation = await chat.create(NAME)

            async def last() -> object:
                await until(lambda: not chat.streaming())
                return (await chat.open(conversation.id)).messages[-1]

            lost = await chat.send(conversation.id, "What is the moon?")
            message: object = await last()
            assert (message.state, message.text, message.error_code) == ("failed", "It is 好", "remote_lost")  # type: ignore[attr-defined]
            await chat.regenerate(lost)
            message = await last()
            assert (message.state, message.thinking, message.siblings) == ("done", "Let me see.", 2)  # type: ignore[attr-defined]
            cut = await chat.send(conversation.id, "And the sun?")
            assert (await last()).state == "cut"  # type: ignore[attr-defined]
            await chat.continue_reply(cut)
            message = await last()
            assert message.text == "It is 好 and round.It is 好 and round."  # type: ignore[attr-defined]
            assert message.figures.new_tokens == 16  # type: ignore[attr-defined]
            assert (
                server.bodies[-1]["continue_final_message"] and server.bodies[-1]["messages"][-1]["role"] == "assistant"
            )
            with pytest.raises(UserError):
                inference.locate(NAME)
            assert inference.state.phase == "none", "nothing was loaded for it"
            await chat.close()
            await inference.close()
            await store.close()


async def test_one_question_of_a_file_that_is_refused_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "TOGETHER", 1)
    job = GenerateBatch("batch", ((Turn("user", "Long"),), (Turn("user", "Short"),)), SAMPLING)
    with RemoteServer(plan=["rejected", "rejected", "rejected", "ok"]) as server:  # in each of the three forms
        async with remote(server) as service:
            events = [event async for event in service.generate_batch(NAME, job)]
    answers = [event for event in events if isinstance(event, BatchAnswer)]
    assert [(answer.text, answer.error) for answer in answers] == [("", "remote_rejected"), ("It is 好 and round.", "")]
    assert answers[1].new_tokens == 8 and events[-1] == Finished("batch")


async def test_a_file_of_questions_is_answered_several_at_a_time() -> None:
    questions = tuple((Turn("user", f"Question {number}"),) for number in range(4))
    job = GenerateBatch("batch", questions, SAMPLING)
    with RemoteServer() as server:
        async with remote(server) as service:
            events = [event async for event in service.generate_batch(NAME, job)]
            answers = [event for event in events if isinstance(event, BatchAnswer)]
            assert sorted(answer.index for answer in answers) == [0, 1, 2, 3]
            assert {(answer.text, answer.error) for answer in answers} == {("It is 好 and round.", "")}
            assert events[-1] == Finished("batch")
            server.plan = ["busy"]
            events = [event async for event in service.generate_batch(NAME, job)]
            assert [code(event) for event in events] == ["remote_busy_for"], "no file of the same error"
            server.plan = ["endless"]
            ended: list[JobEvent] = []
            async with aclosing(service.generate_batch(NAME, job)) as running:
                async for event in running:
                    service.cancel("batch")
                    ended = [event]
            assert ended == [Finished("batch", "cancelled")]
