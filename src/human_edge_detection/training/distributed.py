"""The processes of a run: the sums that they exchange, their memory, and signals to stop."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as torch_distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from human_edge_detection.core.errors import InputError

Item = TypeVar("Item")
PATIENCE = timedelta(hours=4)
"""How long a process waits for another, which may be filling a feature cache. The end of a process
is noticed at once."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen by one of them; each method is called by all of them together.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The element-wise sum of the tensors of all processes, which have one shape."""
        if self.count > 1:
            values = values.clone()
            torch_distributed.all_reduce(values)
        return values

    def any(self, is_wanted: object) -> bool:
        """Whether it is true in any process."""
        return self.sum(torch.tensor(float(bool(is_wanted)))).item() > 0

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """The items of all processes, those of the first process first."""
        if self.count == 1:
            return list(items)
        found: list[list[Item]] = [[] for _ in range(self.count)]
        torch_distributed.all_gather_object(found, list(items))
        return [item for part in found for item in part]

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as zeros.

        The losses are sums over shares of one batch, divided by numbers of the whole batch, so
        that the sum is the batch's gradient. One message after the backward pass, unlike
        ``DistributedDataParallel``'s hooks, cannot hang on a process whose photos have no ROI.
        """
        if self.count == 1:
            return
        weights = [p for p in model.parameters() if p.requires_grad]
        own = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in weights]
        for weight, gradient in zip(weights, self._sum_all(own), strict=True):
            weight.grad = gradient

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Replace the statistics of batch norms by their mean over the processes."""
        if self.count == 1:
            return
        buffers = [b for b in model.buffers() if b.dtype.is_floating_point]
        for buffer, total in zip(buffers, self._sum_all(buffers), strict=True):
            buffer.copy_(total / self.count)

    def _sum_all(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if not tensors:
            return []
        flat = self.sum(torch.cat([t.detach().flatten() for t in tensors]))
        parts = torch.split(flat, [t.numel() for t in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process runs the block before the others, which then find its files."""
        if self.count > 1 and not self.is_first:
            torch_distributed.barrier()
        yield
        if self.count > 1 and self.is_first:
            torch_distributed.barrier()


ALONE = Processes()
"""A run of one process."""


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, joined; one process without it.

    Args:
        device: ``--device``; gradients go over NCCL on GPUs, all else over Gloo.

    Raises:
        InputError: if there are fewer GPUs than processes on this machine, or if a restart could
            not work.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    take_own_gpu(device)
    on_gpu = device != "cpu" and torch.cuda.is_available()
    _join("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    processes = Processes(torch_distributed.get_rank(), torch_distributed.get_world_size())
    if not processes.is_first:
        logging.getLogger("human_edge_detection").setLevel(logging.WARNING)
    yield processes
    torch_distributed.destroy_process_group()


def _join(backend: str) -> None:
    """Form the group, of processes that torchrun may have started again.

    torchrun's agents keep one store, in which the processes of a group that fell over left their
    addresses (pytorch#135712). On one machine each attempt has keys of its own there. Agents of
    several machines count attempts differently, so there each group needs a store of its own.

    Raises:
        InputError: if it would not have one.
    """
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        several = int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
        if several and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
            raise InputError(
                "--max-restarts on several machines needs --rdzv_backend c10d, and "
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of torchrun: restarted "
                "processes would wait for those that are gone"
            )
        if not several:
            attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
            store = PrefixStore(f"attempt_{attempt}", store)
    torch_distributed.init_process_group(
        backend, store=store, rank=rank, world_size=count, timeout=PATIENCE
    )


def take_own_gpu(device: str) -> None:
    """Let this process see one GPU only, so that torch and ONNX Runtime agree on which.

    Raises:
        InputError: if there are fewer GPUs than processes on this machine.
    """
    count = 0 if device == "cpu" else torch.cuda.device_count()
    if not count:
        return
    wanted = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if count < wanted:
        raise InputError(
            f"torchrun started {wanted} processes on this machine, but it has {count} GPUs: use "
            f"--nproc_per_node {count}, or --device cpu"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(count)]
    os.environ["CUDA_VISIBLE_DEVICES"] = names[int(os.environ.get("LOCAL_RANK", "0"))]


# From malloc.h of the GNU C library; see mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP_ALL = 2**31 - 1
_GROW_BY = 64 << 20


def keep_freed_memory() -> bool:
    """Keep freed memory for the next training step; return False if the C library is not GNU's.

    Every step takes and frees the same large blocks. By default the C library maps each of them
    anew, and the system fills it with zeros page by page, which costs a tenth to a third of the
    CPU's time. Afterwards blocks come from the heap, which is neither trimmed nor bypassed by
    mappings of their own. The process stays at its peak size until it ends; children that it forks
    do the same.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEEP_ALL), (_TOP_PAD, _GROW_BY))
    return all([mallopt(name, value) == 1 for name, value in wishes])


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that the first Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals(_worker_id: int = 0) -> None:
    """Leave Ctrl-C and SIGTERM to the main process; each loader worker calls this first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
