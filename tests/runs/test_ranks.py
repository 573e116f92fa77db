"""Ranks: how they are connected, and what two of them exchange."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rank_processes import on_ranks
from torch import nn

from ctcycle.errors import ConfigError, OutputError
from ctcycle.runs import ranks
from ctcycle.runs.launch import Launch

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_a_process_alone_has_the_whole_batch_and_sends_nothing() -> None:
    tensor = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (ranks.rank(), ranks.world(), ranks.is_first()) == (0, 1, True)
    assert ranks.my_part(5) == range(5)
    assert all(ranks.is_mine(number) for number in range(3))
    assert ranks.batch_sum(tensor) is tensor
    assert torch.equal(ranks.averaged(tensor), tensor)
    assert ranks.highest(143) == 143
    assert ranks.from_first(lambda: "made") == "made"
    assert torch.equal(ranks.with_whole_batch(lambda images: images + 1, tensor), tensor + 1)
    ranks.check_batches([5])
    ranks.check_networks(nn.BatchNorm2d(1))
    with ranks.joined("cuda:7") as found:
        assert found == Launch()


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("cpu", 8, "gloo"),
        ("auto", 0, "gloo"),
        ("auto", 2, "nccl"),
        ("cuda", 2, "nccl"),
        ("cuda:1", 8, r"device=cuda:1: cannot be shared by 4 ranks; use auto, cuda or cpu"),
        ("mps", 0, r"device=mps: cannot be shared by 4 ranks"),
        ("auto", 1, r"device=auto: 2 ranks on this machine, which has 1 GPUs; start one rank per GPU"),
    ],
)
def test_the_backend_follows_the_device(device: str, gpus: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    started: list[str] = []
    monkeypatch.setattr("ignite.distributed.initialize", lambda backend, **_options: started.append(backend))
    monkeypatch.setattr("ignite.distributed.barrier", lambda: None)
    monkeypatch.setattr("ignite.distributed.finalize", lambda: started.append("ended"))
    if expected in {"gloo", "nccl"}:
        with ranks.joined(device):
            assert started == [expected]
        assert started == [expected, "ended"]
    else:
        with pytest.raises(ConfigError, match=expected), ranks.joined(device):
            pass


def exchange(rank: int) -> None:
    """What two ranks do with their halves of a batch must be what one process does with the batch."""
    with ranks.joined("cpu"):
        assert (ranks.rank(), ranks.world(), ranks.is_first()) == (rank, 2, rank == 0)
        assert [list(ranks.my_part(6)), list(ranks.my_part(4))] == [[[0, 1, 2], [0, 1]], [[3, 4, 5], [2, 3]]][rank]
        assert [ranks.is_mine(number) for number in range(3)] == [rank == 0, rank == 1, rank == 0]
        assert ranks.highest([0, 143][rank]) == 143
        mine = torch.tensor([[1.0, 2.0], [10.0, 20.0]][rank])
        assert ranks.summed(mine).tolist() == [11, 22]
        assert ranks.averaged(mine).tolist() == [5.5, 11]
        assert mine.tolist() == [[1.0, 2.0], [10.0, 20.0]][rank]
        found = ranks.average_terms({"one": mine[0], "two": mine[1]})
        assert {name: term.item() for name, term in found.items()} == {"one": 5.5, "two": 11}
        _check_images(rank)
        _check_gradients(rank)
        _check_order(rank)


def _check_images(rank: int) -> None:
    whole = torch.arange(8.0).reshape(4, 1, 1, 2)
    part = whole[2 * rank : 2 * rank + 2]
    for images in (part, part.bfloat16(), part.to(memory_format=torch.channels_last)):
        seen: list[torch.Tensor] = []

        def change(batch: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(batch)
            return batch.flip(0)

        changed = ranks.with_whole_batch(change, images)
        assert changed.dtype == seen[0].dtype == images.dtype
        assert torch.equal(seen[0].float(), whole)
        assert torch.equal(changed.float(), whole.flip(0)[2 * rank : 2 * rank + 2])
    rng = torch.Generator().manual_seed(5)
    drawn = ranks.for_my_part(lambda count: torch.randn((count, 3), generator=rng), 2)
    assert torch.equal(drawn, torch.randn((4, 3), generator=torch.Generator().manual_seed(5))[2 * rank : 2 * rank + 2])


def _check_gradients(rank: int) -> None:
    torch.manual_seed(1)
    batch = torch.randn(4, 3)
    torch.manual_seed(rank)
    net, other = nn.Linear(3, 1), nn.Linear(3, 1)
    ranks.same_on_all(net)
    other.load_state_dict(net.state_dict())
    (other(batch).square().mean() + other(batch).sum().square()).backward()
    part = batch[2 * rank : 2 * rank + 2]
    (net(part).square().mean() + ranks.batch_sum(net(part).sum()).square()).backward()
    ranks.average_gradients([*net.parameters(), nn.Parameter(torch.zeros(2))])
    for one, expected in zip(net.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(one.grad, expected.grad)


def _check_order(rank: int) -> None:
    calls: list[str] = []

    @contextmanager
    def opened() -> Iterator[int]:
        calls.append("opened")
        yield 7
        calls.append("closed")

    with ranks.opened_by_first(opened) as value:
        assert value == 7
    ranks.only_first(calls.append, "written")
    assert calls == ([] if rank else ["opened", "closed", "written"])
    assert ranks.from_first(lambda: {"state": torch.tensor([1, 2])})["state"].tolist() == [1, 2]
    when = ranks.first_before_others(lambda: (time.sleep(0.05), time.monotonic())[1])
    last = ranks.highest(int(1e6 * when))
    assert (int(1e6 * when) == last) == (rank == 1)
    with pytest.raises(ConfigError, match=r"batch_size=3: is the size over all ranks; must be a multiple of the 2 ran"):
        ranks.check_batches([4, 3])
    with pytest.raises(ConfigError, match="norm=batch: 2 ranks would each normalise"):
        ranks.check_networks(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    ranks.check_networks(nn.InstanceNorm2d(1))


def test_two_ranks_do_to_a_batch_what_one_process_does(tmp_path: Path) -> None:
    ended = on_ranks(tmp_path, exchange)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.printed for one in ended)


def refuse() -> None:
    raise OutputError("disk full")


def join_and(act: Callable[[], object]) -> None:
    with ranks.joined("cpu"):
        act()


def fail_first(rank: int) -> int:
    kind = ranks.OtherRankError if rank else OutputError
    with pytest.raises(kind, match="rank 0 failed; see its message" if rank else "disk full") as error:
        join_and(lambda: ranks.from_first(refuse))
    return error.value.exit_code


def test_all_ranks_end_with_the_exit_code_of_the_first(tmp_path: Path) -> None:
    assert [one.code for one in on_ranks(tmp_path, fail_first)] == [4, 4]


def test_a_rank_notices_that_another_has_ended(tmp_path: Path) -> None:
    assert [one.code for one in on_ranks(tmp_path, end_one)] == [8, 7]


def end_one(rank: int) -> int:
    with pytest.raises(ranks.OtherRankError, match="rank 0 of 2: the connection to another rank is lost"):
        join_and(lambda: os._exit(7) if rank == 1 else ranks.highest(0))
    return 8
