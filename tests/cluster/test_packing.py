"""The packing of items into chunks, without a cluster: a simulated one keeps time."""

import heapq
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quacc.cluster import packing as chunks
from quacc.cluster.packing import APART, DEATHS, MOST, SHORTEST, Packing

TASK_RUN = 0.05  # s of bookkeeping for each


def simulate(packing, items, workers, deadly=(), streamed=True):
    """Run items of ``{number: (natoms, seconds)}``; return when all ended, and what happened.

    Workers compute a chunk item by item, hand back what is left after its budget, and die of
    deadly items.
    """
    packing.workers = workers
    for number, (natoms, _) in items.items():
        packing.add(number, "relax", natoms)
    log = {"chunks": [], "computed": Counter(), "blamed": [], "deaths": 0}
    free, running, queue, now = workers, [], [], 0.0
    while packing.waiting or packing.running:
        while chunk := packing.next():
            log["chunks"].append(chunk)
            queue.append(chunk)
        while free and queue:
            chunk, free = queue.pop(0), free - 1
            done, spent, died = [], TASK_RUN, False
            for item in chunk.items:
                if spent > chunk.budget:
                    break
                if item.id in deadly:
                    died = True
                    break
                spent += items[item.id][1]
                done.append(item.id)
            heapq.heappush(running, (now + spent, chunk.id, chunk, done, died))
        now, _, chunk, done, died = heapq.heappop(running)
        free += 1
        if streamed or not died:
            for number in done:
                assert packing.ended(chunk, number, items[number][1])
                log["computed"][number] += 1
        if died:
            log["deaths"] += 1
            log["blamed"] += packing.died(chunk, streamed=streamed)
        else:
            packing.closed(chunk)
    return now, log


def test_throughput_is_nearly_that_of_bare_workers():
    items = {i: (4 << (i % 4), 0.02 * 4 ** (i % 4) / 4) for i in range(4000)}
    now, log = simulate(Packing(), items, workers=8)
    ideal = sum(seconds for _, seconds in items.values()) / 8
    assert now < 1.1 * ideal
    assert log["computed"] == dict.fromkeys(items, 1)
    assert len(log["chunks"]) < len(items) / 10


def test_all_workers_end_together():
    items = dict.fromkeys(range(1000), (4, 1.0))
    now, log = simulate(Packing(), items, workers=7)
    assert now < 1000 / 7 + 5
    sizes = [len(chunk.items) for chunk in log["chunks"]]
    assert max(sizes) == chunks.SECONDS
    assert sizes[-1] == 1


def test_short_items_are_packed_by_the_hundred():
    items = dict.fromkeys(range(10000), (4, 0.005))
    now, log = simulate(Packing(), items, workers=2)
    assert max(len(chunk.items) for chunk in log["chunks"]) == MOST
    assert len(log["chunks"]) < 100
    assert now < 1.1 * 50 / 2


def test_nothing_short_waits_behind_something_long():
    items = dict.fromkeys(range(2000), (4, 0.01)) | dict.fromkeys(range(2000, 2004), (64, 60.0))
    _, log = simulate(Packing(), items, workers=4)
    for chunk in log["chunks"]:
        assert len({item.size for item in chunk.items}) == 1
        assert len(chunk.items) == 1 or chunk.items[0].id < 2000


def test_what_takes_longer_than_expected_goes_back():
    # Structures of one size, some of which take much longer: nothing tells which.
    items = {i: (8, 40.0 if i % 50 == 49 else 0.05) for i in range(500)}
    now, log = simulate(Packing(), items, workers=4)
    assert log["computed"] == dict.fromkeys(items, 1)
    assert now < 40 * 10 / 4 + 60


@pytest.mark.parametrize("count", [1, 8, APART])
def test_a_few_items_get_task_runs_of_their_own(count):
    _, log = simulate(Packing(), dict.fromkeys(range(count), (8, 0.01)), workers=2)
    assert [len(chunk.items) for chunk in log["chunks"]] == [1] * count


@pytest.mark.parametrize("batch", [1, 10, 64])
def test_batch_is_kept(batch):
    _, log = simulate(Packing(batch), {i: (1 + i, 0.1 * i) for i in range(640)}, workers=2)
    assert [len(chunk.items) for chunk in log["chunks"]] == [batch] * (640 // batch)
    assert all(chunk.budget == math.inf for chunk in log["chunks"])


@pytest.mark.parametrize(("count", "sizes"), [(20, [10, 10]), (8, [4, 4]), (1, [1])])
def test_what_is_computed_at_once_is_in_one_chunk(count, sizes):
    packing = Packing()
    packing.workers = 2
    for number in range(count):
        packing.add(number, "relax", 8, at_once=16)
    chunks = []
    while chunk := packing.next():
        chunks.append(chunk)
    assert [len(chunk.items) for chunk in chunks] == sizes
    assert {chunk.at_once for chunk in chunks} == {16}


def test_those_that_a_worker_computed_at_once_are_all_suspects():
    packing = Packing(batch=100)
    for number in range(100):
        packing.add(number, at_once=8)
    blamed, computed, deaths = [], [], 0
    while chunk := packing.next():
        left = [item.id for item in chunk.items]
        for start in range(0, len(left), chunk.at_once):
            now = left[start : start + chunk.at_once]
            if 53 in now:
                deaths += 1
                blamed += packing.died(chunk, streamed=True)
                break
            for number in now:
                computed.append(number)
                packing.ended(chunk, number, 1.0)
        else:
            packing.closed(chunk)
    assert blamed == [53]
    assert sorted(computed) == [number for number in range(100) if number != 53]
    assert deaths <= 3 + DEATHS


def test_what_is_in_flight_is_bounded():
    packing = Packing()
    packing.workers = 5
    for number in range(10_000):
        packing.add(number)
    while packing.next():
        pass
    assert len(packing.running) == 2 * packing.workers + 1


def test_more_workers_get_longer_chunks():
    packing = Packing()
    packing.workers = 1000
    packing.to_come = math.inf
    packing.add(0)
    packing.ended(packing.next(), 0, 1.0)
    for number in range(1, 10_000):
        packing.add(number)
    assert len(packing.next().items) == 1000 / chunks.CHUNKS_A_SECOND


def test_jobs_that_follow_others_come_first():
    packing = Packing()
    packing.workers = 10
    for number in range(3):
        packing.add(number, "relax")
    assert packing.next().items[0].kind == "relax"
    packing.add(3, "static")
    assert [packing.next().items[0].kind for _ in range(3)] == ["static", "relax", "relax"]


def test_items_to_come_keep_chunks_long():
    packing = Packing()
    packing.workers = 4
    packing.to_come = 1_000_000.0
    packing.add(0)
    packing.ended(packing.next(), 0, 0.1)
    for number in range(1, 500):
        packing.add(number)
    assert len(packing.next().items) == chunks.SECONDS / 0.1
    packing.to_come = 0.0
    assert len(packing.next().items) < chunks.SECONDS / 0.1


@pytest.mark.parametrize("to_come", [0.0, 500.0, math.inf])
def test_no_worker_gets_all_that_waits(to_come):
    packing = Packing()
    packing.workers = 2
    packing.to_come = to_come
    packing.add(0)
    packing.ended(packing.next(), 0, 0.005)
    for number in range(1, 1000):
        packing.add(number)
    assert len(packing.next().items) <= 500


@pytest.mark.parametrize("streamed", [True, False])
def test_the_item_that_kills_workers_is_found_and_blamed_alone(streamed):
    items = dict.fromkeys(range(500), (8, 0.1))
    deadly = {3, 77, 78, 400}
    _, log = simulate(Packing(), items, workers=4, deadly=deadly, streamed=streamed)
    assert sorted(log["blamed"]) == sorted(deadly)
    assert log["computed"] == dict.fromkeys(set(items) - deadly, 1)
    assert log["deaths"] <= (DEATHS if streamed else 12) * len(deadly)


def test_outcomes_that_never_left_the_worker_do_not_cost_a_death_each():
    # Nothing was heard of items that took no time before the deadly one.
    packing, deaths = Packing(batch=100), 0
    for number in range(100):
        packing.add(number)
    blamed, computed = [], []
    while chunk := packing.next():
        if any(item.id == 70 for item in chunk.items):
            deaths += 1
            blamed += packing.died(chunk, streamed=True)
            continue
        for item in chunk.items:
            computed.append(item.id)
            packing.ended(chunk, item.id, 0.0)
        packing.closed(chunk)
    assert blamed == [70]
    assert sorted(computed) == [number for number in range(100) if number != 70]
    assert deaths < 12


def test_one_death_blames_nobody():
    packing = Packing(batch=1)
    packing.add(0)
    for _ in range(DEATHS - 1):
        assert packing.died(packing.next(), streamed=True) == []
    assert packing.died(packing.next(), streamed=True) == [0]
    assert not packing.waiting


def test_a_second_outcome_does_not_count():
    packing = Packing()
    packing.add(0)
    chunk = packing.next()
    assert packing.ended(chunk, 0, 1.0)
    assert not packing.ended(chunk, 0, 1.0)
    assert not packing.ended(chunk, 99, 1.0)
    packing.closed(chunk)
    assert not packing.waiting


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(1, 300), st.floats(1e-4, 300)), min_size=1, max_size=120),
    workers=st.integers(1, 50),
    batch=st.none() | st.integers(1, 20),
    deadly=st.sets(st.integers(0, 119), max_size=6),
    streamed=st.booleans(),
)
def test_every_item_ends_once_whatever_happens(items, workers, batch, deadly, streamed):
    numbered = dict(enumerate(items))
    deadly = deadly & numbered.keys()
    packing = Packing(batch)
    _, log = simulate(packing, numbered, workers, deadly, streamed)
    assert log["computed"] == dict.fromkeys(numbered.keys() - deadly, 1)
    assert sorted(log["blamed"]) == sorted(deadly)
    assert (packing.waiting, packing.running) == (0, {})
    for chunk in log["chunks"]:
        assert chunk.budget >= 2 * SHORTEST
        assert len({(item.kind, item.size) for item in chunk.items}) == 1
