"""The ranks of a run: the processes that torchrun or srun starts, which train one model or denoise together.

All code that depends on ranks asks this module. A process that was started alone is rank 0 of 1, and nothing is sent.

In training, every rank holds the same networks, optimisers, averages and image pools, and computes its part of every
batch. So checkpoints do not depend on the number of ranks, and rank 0 alone writes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ctcycle.errors import ConfigError, CtcycleError, StoppedError
from ctcycle.runs.launch import Launch, launch

if TYPE_CHECKING:  # importing torch takes seconds, and not every task needs it
    from torch import Tensor, nn

ValueT = TypeVar("ValueT")
_PATIENCE = timedelta(hours=6)
"""How long a rank waits for the others; the launcher ends the job long before if one of them is killed."""


class OtherRankError(StoppedError):
    """Another rank has failed or was killed, so this one cannot continue."""


@contextmanager
def joined(device: str) -> Iterator[Launch]:
    """Connect the ranks for the duration of the context: by NCCL on GPUs, else by gloo.

    Args:
        device: the device of the config.

    Raises:
        ConfigError: the device cannot be shared by the ranks of this machine.
    """
    found = launch()
    if not found.several:
        yield found
        return
    backend = _backend(device, found)
    with _noticing_loss():
        _connect(backend, found)
    try:
        yield found
    except OtherRankError:
        raise
    except StoppedError:  # on all ranks
        _leave()  # the launcher ends the others as soon as one rank has ended: wait for the checkpoint of rank 0
        raise
    else:
        _leave()


def _connect(backend: str, found: Launch) -> None:
    import ignite.distributed as idist
    from torch import cuda, distributed

    if "RANK" in os.environ:
        os.environ.pop("SLURM_JOB_ID", None)  # Ignite would take the ranks of srun instead of those of torchrun
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        idist.initialize(backend, timeout=_PATIENCE)
        return
    if backend == "nccl":
        cuda.set_device(found.local_rank)
    # after a restart, the store of torchrun still has the addresses of the ranks before: each start has its own names
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, found.world, is_master=False)  # type: ignore[attr-defined]
    own = distributed.PrefixStore(f"start{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=own, rank=found.rank, world_size=found.world, timeout=_PATIENCE)
    idist.sync()


def _leave() -> None:
    import ignite.distributed as idist

    with _noticing_loss():
        idist.barrier()
        idist.finalize()


def _backend(device: str, found: Launch) -> str:
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "gloo"
    if device not in {"auto", "cuda"}:
        raise ConfigError(f"device={device}: cannot be shared by {found.world} ranks; use auto, cuda or cpu")
    gpus = torch.cuda.device_count()
    if found.local_world > gpus:
        raise ConfigError(
            f"device={device}: {found.local_world} ranks on this machine, which has {gpus} GPUs; "
            "start one rank per GPU, or use device=cpu"
        )
    return "nccl"


def rank() -> int:
    """Return the number of this rank; 0 if there is only one."""
    return launch().rank if world() > 1 else 0


def world() -> int:
    """Return the number of ranks that are connected."""
    if not launch().several:
        return 1
    import ignite.distributed as idist

    return int(idist.get_world_size())


def is_first() -> bool:
    """Return whether this is rank 0, which writes."""
    return rank() == 0


def only_first(act: Callable[..., object], *arguments: Any) -> None:
    """Call ``act`` on rank 0 only, as for writing a file."""
    if is_first():
        act(*arguments)


def from_first(make: Callable[[], ValueT]) -> ValueT:
    """Return what ``make`` returns on rank 0; the other ranks do not call it.

    Raises:
        CtcycleError: whatever ``make`` raises on rank 0.
        OtherRankError: on the other ranks, if ``make`` failed on rank 0; with the same exit code.
    """
    if world() == 1:
        return make()
    if is_first():
        try:
            value = make()
        except CtcycleError as error:
            _send([None, error.exit_code])
            raise
        return _send([value, None])[0]  # type: ignore[no-any-return]
    value, failed = _send([None, None])
    if failed is not None:
        raise OtherRankError("rank 0 failed; see its message", failed)
    return value


def _send(values: list[Any]) -> list[Any]:
    from torch import distributed

    with _noticing_loss():
        distributed.broadcast_object_list(values, src=0)
    return values


def from_all(value: ValueT) -> list[ValueT]:
    """Return the values of all ranks, by rank, on all ranks; the values can be pickled."""
    if world() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world()
    with _noticing_loss():
        distributed.all_gather_object(values, value)
    return values


@contextmanager
def opened_by_first(open_it: Callable[[], AbstractContextManager[ValueT]]) -> Iterator[ValueT]:
    """Enter a context on rank 0 only; all ranks get its value.

    Raises:
        CtcycleError: as `from_first`.
    """
    with ExitStack() as stack:
        yield from_first(lambda: stack.enter_context(open_it()))


def first_before_others(make: Callable[[], ValueT]) -> ValueT:
    """Call ``make`` on rank 0, then on the others, which find the files that rank 0 has written.

    Raises:
        CtcycleError: as `from_first`.
    """
    made: list[ValueT] = []
    from_first(lambda: made.append(make()))
    return made[0] if made else make()


def my_part(length: int) -> range:
    """Return the part of ``range(length)`` that is for this rank: equal, consecutive parts of a batch."""
    size = length // world()
    return range(rank() * size, (rank() + 1) * size)


def is_mine(number: int) -> bool:
    """Return whether item ``number`` is for this rank, where items are dealt out in turn."""
    return number % world() == rank()


def check_batches(sizes: Sequence[int]) -> None:
    """Check that batches can be divided evenly among the ranks.

    Raises:
        ConfigError: one cannot.
    """
    for size in sizes:
        if size % world():
            raise ConfigError(
                f"training.batch_size={size}: is the size over all ranks; must be a multiple of the {world()} ranks"
            )


def check_networks(networks: "nn.Module") -> None:
    """Check that no network computes statistics of its batch, which would be those of a part of it.

    Raises:
        ConfigError: one has batch normalisation.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    if world() > 1 and any(isinstance(module, _BatchNorm) for module in networks.modules()):
        raise ConfigError(
            f"norm=batch: {world()} ranks would each normalise with their own part of the batch; "
            "use norm=instance, group or none, or start one process"
        )


def summed(tensor: "Tensor") -> "Tensor":
    """Return the sum of a tensor over the ranks, without gradient; the same on all ranks."""
    if world() == 1:
        return tensor.detach()
    import ignite.distributed as idist

    with _noticing_loss():
        return idist.all_reduce(tensor.detach().clone())  # type: ignore[return-value]


def averaged(tensor: "Tensor") -> "Tensor":
    """Return the mean of a tensor over the ranks, without gradient; the same on all ranks."""
    return summed(tensor) / world()


def batch_sum(tensor: "Tensor") -> "Tensor":
    """Return the sum over the ranks of a tensor that sums over this rank's part of the batch, with gradient.

    The gradient is that of the sum after `average_gradients`, which divides it by the number of ranks.
    """
    if world() == 1:
        return tensor
    scaled = tensor * world()
    return scaled + (summed(tensor) - scaled.detach())


def average_terms(terms: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return scalar loss terms averaged over the ranks: those of the whole batch."""
    if world() == 1:
        return terms
    import torch

    means = averaged(torch.stack([term.float() for term in terms.values()]))
    return dict(zip(terms, means, strict=True))


def average_gradients(parameters: "Sequence[nn.Parameter]") -> None:
    """Replace the gradients of parameters by their mean over the ranks: those of the whole batch."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world() == 1 or not gradients:
        return
    import torch

    mean = averaged(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(mean, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def for_my_part(draw: "Callable[[int], Tensor]", length: int) -> "Tensor":
    """Draw random numbers for the whole batch, and return those for this rank's part.

    Args:
        draw: called with the number of images of the whole batch; returns (images, ...).
        length: number of images of this rank.
    """
    part = my_part(length * world())
    return draw(length * world())[part.start : part.stop]


def with_whole_batch(change: "Callable[[Tensor], Tensor]", images: "Tensor") -> "Tensor":
    """Apply ``change`` to the images (N, ...) of all ranks, on every rank, and return this rank's part."""
    if world() == 1:
        return change(images)
    import ignite.distributed as idist

    with _noticing_loss():
        whole: Tensor = idist.all_gather(images.float().contiguous())  # type: ignore[assignment]
    part = my_part(len(whole))
    return change(whole.to(images.dtype))[part.start : part.stop]


def same_on_all(networks: "nn.Module") -> None:
    """Give the networks of all ranks the weights of rank 0."""
    if world() == 1:
        return
    import ignite.distributed as idist

    with _noticing_loss():
        for tensor in networks.state_dict().values():
            tensor.copy_(idist.broadcast(tensor.contiguous(), src=0))


def highest(value: int) -> int:
    """Return the highest value of any rank, as of exit codes, so that all ranks stop at the same iteration."""
    if world() == 1:
        return value
    import ignite.distributed as idist

    with _noticing_loss():
        return int(idist.all_reduce(value, op="MAX"))


@contextmanager
def _noticing_loss() -> Iterator[None]:
    """Report the error of a broken connection.

    Raises:
        OtherRankError: another rank has ended.
    """
    try:
        yield
    except RuntimeError as error:  # torch has no class of its own for the errors of gloo
        raise OtherRankError(
            f"rank {launch().rank} of {launch().world}: the connection to another rank is lost, probably since it has "
            "ended; run the command again to resume from the last checkpoint",
            1,
        ) from error
