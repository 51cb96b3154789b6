"""The governance page in Airflow's navigation: what serves, why, and whether the record is intact."""

from airflow.plugins_manager import AirflowPlugin

from governance_console.app import PREFIX, create_app


class GovernancePlugin(AirflowPlugin):
    name = "governance"
    fastapi_apps = [{"app": create_app(), "url_prefix": PREFIX, "name": "governance"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "Governance", "href": f"{PREFIX}/", "destination": "nav", "url_route": "governance"}
    ]
