"""The console's FastAPI app. Airflow protects no plugin route by itself: every route needs a logged-in user."""

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI

from governance_console.routes import status

PREFIX = "/governance"


def create_app() -> FastAPI:
    app = FastAPI(title="Governance", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    app.include_router(status.router)
    return app
