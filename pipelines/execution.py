"""Running the real Dagster jobs in this process, on a persistent instance: for the command line and the demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from assets.recordings.queue import DayRange
from pipelines.in_flight import range_of_tags, request
from pipelines.jobs import CATALOG_JOB, COMPACTION_JOB, archive_job_name, fixity_job_name, retry_job_name
from resources.dagster_archive import ArchiveResource
from resources.redaction import redact

_QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a run ended: the messages of its failures and of asset checks that did not pass, and the metadata of what it made."""

    run_id: str
    job: str
    span: DayRange | None
    failures: tuple[str, ...]
    failed_checks: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Launcher:
    """Runs jobs of ``definitions`` on ``instance``, one at a time, in this process."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    archive_resource: ArchiveResource
    runs: list[JobResult] = field(default_factory=list[JobResult])

    def archive(self, provider: str, span: DayRange, config: Mapping[str, Any] | None = None) -> JobResult:
        """Read the executions of ``span`` and archive what is due."""
        return self._launch(archive_job_name(provider), request(span, "").tags, span, self._config(provider, config))

    def retry(self, provider: str, span: DayRange, config: Mapping[str, Any] | None = None) -> JobResult:
        """Archive what is due in ``span`` without reading executions."""
        return self._launch(retry_job_name(provider), request(span, "").tags, span, self._config(provider, config))

    def audit(self, provider: str) -> JobResult:
        """Read back what is due of a provider's copies, and mend what is bad."""
        return self._launch(fixity_job_name(provider), {}, None, _QUIET)

    def compact(self) -> JobResult:
        """Fold and compact the lake."""
        return self._launch(COMPACTION_JOB, {}, None, _QUIET)

    def publish(self) -> JobResult:
        """Fold the ledger and publish the catalog."""
        return self._launch(CATALOG_JOB, {}, None, _QUIET)

    def tick_sensor(self, name: str) -> Sequence[JobResult]:
        """Evaluate a sensor as the daemon does, and run what it asks for."""
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def(name)
        given = {"archive": self.archive_resource}
        context = dg.build_sensor_context(instance=self.instance, repository_def=repository, sensor_name=name, resources=given)
        requests = sensor.evaluate_tick(context).run_requests or []
        return [self._fulfil(sensor.job_name, asked) for asked in requests]

    def tick_schedule(self, name: str, moment: datetime) -> Sequence[JobResult]:
        """Evaluate a schedule as the daemon does at ``moment`` (UTC), and run what it asks for."""
        given = {"archive": self.archive_resource}
        context = dg.build_schedule_context(instance=self.instance, scheduled_execution_time=moment, resources=given)
        schedule = self.definitions.get_repository_def().get_schedule_def(name)
        requests = schedule.evaluate_tick(context).run_requests or []
        return [self._fulfil(schedule.job_name, asked) for asked in requests]

    def _fulfil(self, job: str | None, asked: dg.RunRequest) -> JobResult:
        job = asked.job_name or job
        if job is None:
            msg = f"a request without a job: {asked.run_key}"
            raise ValueError(msg)
        tags = dict(asked.tags)
        if asked.partition_key is not None:
            tags["dagster/partition"] = asked.partition_key
        return self._launch(job, tags, range_of_tags(tags), {**_QUIET, **asked.run_config})

    @staticmethod
    def _config(provider: str, config: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if not config:
            return _QUIET
        return {**_QUIET, "ops": {f"{provider}__recordings": {"config": dict(config)}}}

    def _launch(self, job: str, tags: Mapping[str, str], span: DayRange | None, config: Mapping[str, Any]) -> JobResult:
        definition = self.definitions.resolve_job_def(job)
        partition = span.first.isoformat() if span is not None and span.first == span.last else None
        plain = {key: value for key, value in tags.items() if key != "dagster/partition"}
        done = definition.execute_in_process(
            run_config=config, instance=self.instance, partition_key=partition, tags=plain, raise_on_error=False
        )
        checks = [check for check in done.get_asset_check_evaluations() if not check.passed]
        result = JobResult(
            run_id=done.run_id,
            job=job,
            span=span,
            failures=tuple(_failure(event) for event in done.all_events if event.is_step_failure),
            failed_checks=tuple(
                f"{check.asset_key.to_user_string()}: {check.description or check.check_name}" for check in checks
            ),
            metadata={
                name: value.value
                for event in done.get_asset_materialization_events()
                for name, value in event.materialization.metadata.items()
            },
        )
        self.runs.append(result)
        return result


def _failure(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return redact(data.user_failure_data.description)
    return redact(data.error_display_string)
