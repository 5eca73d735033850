"""The scheduler with a fake engine: order, slices, loss, cancellation, limits, and truth in replies."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from aios_actors.actors import ActorDied, ActorRef, Refusal
from aios_actors.config.structs import Config, SchedulerConfig
from aios_actors.engine.messages import ChatMessage, TokenPrompt
from aios_actors.kernel.agents import RunTask
from aios_actors.kernel.llm_core.messages import Generate, Outcome
from aios_actors.sdk import Agent
from aios_actors.syscalls import agent, context, memory
from aios_actors.syscalls.errors import Busy, GenerationFailed, ModelUnavailable, NotFound
from aios_actors.syscalls.llm import Chat, Embed
from tests.kernel.fakes import MODEL, SetCapacity, lost, running_kernel, said, sliced, task_of


def chat(text: str, conversation: str = "main") -> Chat:
    return Chat((ChatMessage("user", text),), model=MODEL, conversation=conversation)


async def settled(condition: Any) -> None:
    """Lets the loop run until the condition holds; the test's own time limit ends a hopeless wait."""
    while not condition():
        await asyncio.sleep(0)


async def test_an_llm_call_is_answered_with_text_and_usage(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: said("hello")) as kernel:
        reply = await kernel.scheduler.ask(chat("hi"))
    assert (reply.text, reply.finish) == ("hello", "stop")
    assert (reply.usage.tokens_in, reply.usage.tokens_out) == (3, 2)
    assert reply.usage.turnaround_s >= reply.usage.waiting_s >= 0


async def test_no_more_generations_run_than_there_are_places(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: None, places=2) as kernel:
        calls = [asyncio.ensure_future(kernel.scheduler.ask(chat(str(n)))) for n in range(5)]
        engine = kernel.engine
        await settled(lambda: len(engine.open) == 2)
        while engine.open or not all(call.done() for call in calls):
            assert len(engine.open) <= 2
            if engine.open:
                engine.open.pop(min(engine.open)).send(said("done"))
            await asyncio.sleep(0)
        assert [task_of(request) for request in engine.seen] == ["0", "1", "2", "3", "4"]


async def test_round_robin_lets_the_others_in_after_a_slice(tmp_path: Path) -> None:
    def script(request: Generate) -> Outcome:
        return sliced((7, 8)) if not request.generated else said("end", tokens=(7, 8, 9))

    config = Config(scheduler=SchedulerConfig(policy="round_robin", slice=2))
    async with running_kernel(tmp_path, script=script, places=1, config=config) as kernel:
        replies = await asyncio.gather(*(kernel.scheduler.ask(chat(name)) for name in "ab"))
        seen = kernel.engine.seen
    assert [request.id for request in seen] == [1, 2, 1, 2]
    assert all(request.slice == 2 for request in seen)
    resumed = seen[2]
    assert resumed.generated == (7, 8)
    assert isinstance(resumed.prompt, TokenPrompt) and resumed.prompt.tokens == (1, 2, 3)
    assert [reply.usage.preemptions for reply in replies] == [1, 1]
    assert [reply.usage.tokens_out for reply in replies] == [3, 3]


async def test_a_lost_generation_goes_on_from_its_tokens(tmp_path: Path) -> None:
    outcomes = iter([lost((4,)), lost((4, 5)), said("end", tokens=(4, 5, 6))])
    async with running_kernel(tmp_path, script=lambda request: next(outcomes)) as kernel:
        reply = await kernel.scheduler.ask(chat("x"))
        assert [request.generated for request in kernel.engine.seen] == [(), (4,), (4, 5)]
    assert (reply.text, reply.usage.restarts) == ("end", 2)


async def test_a_generation_that_keeps_killing_workers_fails(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: lost(())) as kernel:
        with pytest.raises(GenerationFailed, match="workers died"):
            await kernel.scheduler.ask(chat("x"))
        assert len(kernel.engine.seen) == 4


async def test_a_cancelled_call_frees_its_place_and_stops_its_worker(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: None, places=1) as kernel:
        first = asyncio.ensure_future(kernel.scheduler.ask(chat("1")))
        second = asyncio.ensure_future(kernel.scheduler.ask(chat("2")))
        third = asyncio.ensure_future(kernel.scheduler.ask(chat("3")))
        engine = kernel.engine
        await settled(lambda: 1 in engine.open)
        second.cancel()
        first.cancel()
        await settled(lambda: 3 in engine.open)
        assert engine.cancelled == [1]
        engine.open[3].send(said("third"))
        assert (await third).text == "third"
        assert [request.id for request in engine.seen] == [1, 3]


async def test_a_call_whose_deadline_passes_is_taken_off_its_worker(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: None) as kernel:
        with pytest.raises(Refusal):
            await kernel.scheduler.ask(chat("x"), timeout=0.01)
        await settled(lambda: kernel.engine.cancelled == [1])


async def test_an_engine_error_reaches_the_caller_and_frees_the_place(tmp_path: Path) -> None:
    outcomes = iter([GenerationFailed("prompt too long"), said("fine")])
    async with running_kernel(tmp_path, script=lambda request: next(outcomes), places=1) as kernel:
        with pytest.raises(GenerationFailed, match="prompt too long"):
            await kernel.scheduler.ask(chat("x"))
        assert (await kernel.scheduler.ask(chat("y"))).text == "fine"


async def test_an_unknown_model_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        with pytest.raises(NotFound, match=r"no model named 'qwen'.*nano"):
            await kernel.scheduler.ask(Chat((), model="qwen"))


async def test_a_full_queue_refuses_and_names_its_limit(tmp_path: Path) -> None:
    config = Config(scheduler=SchedulerConfig(queue=2))
    async with running_kernel(tmp_path, script=lambda request: None, places=1, config=config) as kernel:
        calls = [asyncio.ensure_future(kernel.scheduler.ask(chat(str(n)))) for n in range(3)]
        await settled(lambda: 1 in kernel.engine.open)
        with pytest.raises(Busy, match=r"2 LLM calls wait.*try again later") as refused:
            await kernel.scheduler.ask(chat("too many"))
        assert refused.value.estimate_s is None, "no call has ended yet"
        for call in calls:
            call.cancel()


async def test_calls_fail_when_their_model_has_lost_its_last_worker(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, places=0) as kernel:
        waiting = asyncio.ensure_future(kernel.scheduler.ask(chat("x")))
        await settled(lambda: kernel.scheduler.pending == 0)
        await kernel.actor("llm_core").ask(SetCapacity(MODEL, 0, "no worker: bad GGUF"))
        with pytest.raises(ModelUnavailable, match="bad GGUF"):
            await waiting
        with pytest.raises(ModelUnavailable, match="bad GGUF"):
            await kernel.scheduler.ask(chat("y"))


async def test_a_call_that_finds_no_place_waits_for_one_and_is_not_counted_as_lost(tmp_path: Path) -> None:
    outcomes = iter([Outcome("no_place", ()), said("fine")])
    async with running_kernel(tmp_path, script=lambda request: next(outcomes), places=1) as kernel:
        call = asyncio.ensure_future(kernel.scheduler.ask(chat("x")))
        await settled(lambda: len(kernel.engine.seen) == 1)
        await kernel.actor("llm_core").ask(SetCapacity(MODEL, 1))
        reply = await call
    assert (reply.text, reply.usage.restarts) == ("fine", 0)


async def test_a_scheduler_that_crashed_serves_again_and_answers_who_waited(tmp_path: Path) -> None:
    async with running_kernel(
        tmp_path, script=lambda request: None if task_of(request) == "x" else said("ok")
    ) as kernel:
        waiting = asyncio.ensure_future(kernel.scheduler.ask(chat("x")))
        await settled(lambda: kernel.engine.open)
        await crash(kernel.scheduler)
        with pytest.raises(ActorDied):
            await waiting
        assert (await kernel.scheduler.ask(chat("y"))).text == "ok"


async def test_an_access_actor_that_crashed_forgets_no_agent(tmp_path: Path) -> None:
    class Calculating(Agent):
        tools = ["calculator"]

        async def run(self, task: str) -> object:
            return await self.tools.call("calculator", expression=task)

    async with running_kernel(tmp_path, {"a": Calculating}) as kernel:
        await crash(kernel.actor("access"))
        finished = await kernel.actor("agents").ask(RunTask(0, "a", "6*7"))
        assert (finished.answer, finished.error) == (42, "")


async def crash(ref: ActorRef) -> None:
    """Makes an actor crash, and waits until its next incarnation serves."""
    life = ref.cell.life
    assert life is not None
    life.fail(RuntimeError("made to crash by a test"))
    await settled(lambda: ref.cell.life not in (None, life) and ref.cell.state == "running")


async def test_a_conversation_can_be_snapshot_restored_and_continued(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: said("x", prompt=(1, 2), tokens=(3, 4))) as kernel:
        await kernel.scheduler.ask(chat("x"))
        snapshot = await kernel.scheduler.ask(context.TakeSnapshot())
        assert (snapshot.tokens, snapshot.generated) == ((1, 2, 3, 4), 2)
        await kernel.scheduler.ask(context.DropContext())
        with pytest.raises(NotFound):
            await kernel.scheduler.ask(context.TakeSnapshot())
        await kernel.scheduler.ask(context.RestoreSnapshot(snapshot))
        await kernel.scheduler.ask(Chat((), model=MODEL))
        request = kernel.engine.seen[-1]
        assert isinstance(request.prompt, TokenPrompt)
        assert (request.prompt.tokens, request.generated) == ((1, 2), (3, 4))


async def test_syscalls_for_other_services_are_forwarded(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        note = await kernel.scheduler.ask(memory.Add("the sky is blue"))
        found = await kernel.scheduler.ask(memory.Search("sky"))
        assert [each.id for each in found] == [note.id]
        assert await kernel.scheduler.ask(agent.ListAgents()) == ()


async def test_the_scheduler_takes_what_syscalls_say(tmp_path: Path) -> None:
    async with running_kernel(tmp_path) as kernel:
        with pytest.raises(TypeError, match="scheduler"):
            await kernel.scheduler.ask(cast(Any, agent.Perform("x")))


async def test_texts_to_embed_pass_the_door_and_wait_in_no_line(tmp_path: Path) -> None:
    async with running_kernel(tmp_path, script=lambda request: None, places=1) as kernel:
        waiting = [asyncio.ensure_future(kernel.scheduler.ask(chat(str(n)))) for n in range(3)]
        reply = await kernel.scheduler.ask(Embed(("a", "bcd"), MODEL))
        assert (reply.vectors, reply.tokens) == (((1.0,), (3.0,)), 2)
        (request,) = kernel.engine.embedded
        assert (request.caller, request.model) == ("operator", MODEL)
        with pytest.raises(NotFound, match="no model named 'other'"):
            await kernel.scheduler.ask(Embed(("a",), "other"))
        await kernel.actor("llm_core").ask(SetCapacity(MODEL, 0, "it is gone"))
        with pytest.raises(ModelUnavailable, match="it is gone"):
            await kernel.scheduler.ask(Embed(("a",), MODEL))
        for call in waiting:
            call.cancel()


async def test_a_reply_tells_what_all_its_turns_cost_together(tmp_path: Path) -> None:
    cost = {"prefill_s": 0.5, "decode_s": 0.25, "tokens_computed": 9, "tokens_forced": 1, "tokens_drafted": 4}
    cost |= {"tokens_accepted": 3, "pages_in": 2, "pages_out": 1}

    def script(request: Generate) -> Outcome:
        outcome = sliced((7, 8)) if not request.generated else said("end", tokens=(7, 8, 9))
        assert outcome.result is not None
        return structs.replace(outcome, result=structs.replace(outcome.result, **cost))

    async with running_kernel(tmp_path, script=script) as kernel:
        usage = (await kernel.scheduler.ask(chat("hi"))).usage
    assert {name: getattr(usage, name) for name in cost} == {name: 2 * value for name, value in cost.items()}
