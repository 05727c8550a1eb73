"""Finding the job that does the same already, or submitting it: nothing is paid for twice.

The same job is found by a label with a fingerprint of all that decides what it gives. Of several processes that find
none at once, one alone submits: it holds a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import Job, JobApi
from edge_tasks.cloud.object_lock import claimed
from edge_tasks.domain.progress import Progress

_Job = TypeVar("_Job", bound=Job)
_Prepared = TypeVar("_Prepared")


@dataclass(frozen=True)
class SameJob(Generic[_Job]):
    """How a job that does the same is known, and what is said of it.

    `usable` says whether what a job gave, or is to give, can still be had. `has_done` and `does` complete the sentence
    "training job 123 ...", and `again` tells how to have it done all the same.
    """

    api: JobApi[_Job]
    label: str
    fingerprint: str
    claim: str
    has_done: str
    does: str
    again: str
    usable: Callable[[Cloud, _Job], bool] = lambda _cloud, _job: True

    def find(self, cloud: Cloud, progress: Progress) -> _Job | None:
        """Return the newest job that does the same and is of use, or None."""
        for job in self.api.find(cloud, self.label, self.fingerprint):
            if job.state == "CANCELLING" or (job.done and job.state != "SUCCEEDED") or not self.usable(cloud, job):
                continue
            what = self.has_done if job.done else self.does
            progress.step(f"{self.api.noun} {job.job_id} {what} ({self.again})")
            return job
        return None

    def find_or_submit(
        self,
        cloud: Cloud,
        progress: Progress,
        prepare: Callable[[], _Prepared],
        create: Callable[[_Prepared], _Job],
        *,
        force: bool,
    ) -> _Job:
        """Return the job that does the same, unless `force` is set, or the one that `create` makes.

        `prepare` does what may be done twice, such as uploads, before the claim is taken; `create` gets its result.
        """
        if not force and (job := self.find(cloud, progress)) is not None:
            return job
        prepared = prepare()
        with claimed(cloud, self.claim):
            if not force and (job := self.find(cloud, progress)) is not None:
                return job  # another process was faster
            return create(prepared)
