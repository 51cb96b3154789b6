"""Which errors are worth another try: mapped once, for every DAG."""

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from pipeline_lib import settings

_schedules = settings.load().schedules

BY_ERROR = ExceptionRetryPolicy(
    rules=[
        # The store, or a lost swap, may answer next time.
        RetryRule(exception="pipeline_lib.errors.StoreError", action=RetryAction.RETRY),
        # Every other error of ours is a fact about data, settings or the record: trying again changes nothing. A gate
        # whose evidence went stale says which task to clear.
        RetryRule(exception="pipeline_lib.errors.PipelineError", action=RetryAction.FAIL),
    ]
)

DEFAULT_ARGS = {
    "retries": _schedules.retries,
    "retry_delay": timedelta(seconds=_schedules.retry_delay_s),
    "retry_policy": BY_ERROR,
}
